"""A quote in its surroundings: what the evidence panel and the passage endpoint show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assistant.errors import InvalidInputError
from indexes.types import Heading, Language, Page

# Characters shown on each side of a quote: about three lines of the panel in either script.
_CONTEXT: Mapping[Language, int] = {"en": 220, "zh": 100}
MAX_CONTEXT = 5000
# A passage is widened by at most this many characters to begin and end at a line or sentence.
_SNAP = 80
_STOPS = frozenset("\n。！？!?；;")


class SourceText(Protocol):
    """What a passage is cut from: a stored document."""

    @property
    def document_id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def language(self) -> Language: ...
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def headings(self) -> Sequence[Heading]: ...
    @property
    def pages(self) -> Sequence[Page]: ...


@dataclass(frozen=True, slots=True)
class Passage:
    """A quote with its surroundings, and where in the document they stand.

    ``text`` begins at ``start`` of the document; ``text[quote_start:quote_end]`` is the quote.
    """

    document_id: str
    title: str
    source: str
    heading_path: tuple[str, ...]
    page: int | None
    start: int
    text: str
    quote_start: int
    quote_end: int
    cut_before: bool
    cut_after: bool


def heading_path_at(headings: Sequence[Heading], offset: int) -> tuple[str, ...]:
    """Titles of the headings that ``offset`` stands under, outermost first."""
    path: list[Heading] = []
    for heading in headings:
        if heading.start > offset:
            break
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
    return tuple(heading.title for heading in path)


def page_at(pages: Sequence[Page], offset: int) -> int | None:
    """The number of the page that holds ``offset``, None where there are no pages."""
    found = None
    for page in pages:
        if page.start > offset:
            break
        found = page.number
    return found


def usual_context(language: Language) -> int:
    """How many characters of surroundings to show where none are asked for."""
    return _CONTEXT[language]


def passage_of(document: SourceText, start: int, end: int, context: int | None = None) -> Passage:
    """Cut the quote ``document.text[start:end]`` with ``context`` characters on each side.

    The edges move to the nearest end of a sentence. Of an FAQ only the quote's own entry is shown:
    its neighbours are other questions. Raises InvalidInputError when the range does not lie in
    the document.
    """
    size = len(document.text)
    if not 0 <= start <= end <= size:
        raise InvalidInputError(
            f"The range {start} to {end} does not lie in the document of {size} characters; "
            f"give 0 <= start <= end <= {size}."
        )
    around = usual_context(document.language) if context is None else context
    lowest, highest = _entry(document, start, end) if document.kind == "faq" else (0, size)
    first = max(lowest, _snap_back(document.text, max(0, start - around)))
    last = min(highest, _snap_forward(document.text, min(size, end + around)))
    return Passage(
        document_id=document.document_id,
        title=document.title,
        source=document.source,
        heading_path=heading_path_at(document.headings, start),
        page=page_at(document.pages, start),
        start=first,
        text=document.text[first:last],
        quote_start=start - first,
        quote_end=end - first,
        cut_before=first > lowest,
        cut_after=last < highest,
    )


def _entry(document: SourceText, start: int, end: int) -> tuple[int, int]:
    """From the heading above ``start`` to the one below ``end``."""
    starts = [heading.start for heading in document.headings]
    before = [place for place in starts if place <= start]
    after = [place for place in starts if place >= end]
    return max(before, default=0), min(after, default=len(document.text))


def _snap_back(text: str, offset: int) -> int:
    for position in range(offset, max(0, offset - _SNAP), -1):
        if _ends_sentence(text, position - 1):
            return position
    return offset if offset > _SNAP else 0


def _snap_forward(text: str, offset: int) -> int:
    for position in range(offset, min(len(text), offset + _SNAP)):
        if _ends_sentence(text, position):
            return position + 1
    return offset if offset + _SNAP < len(text) else len(text)


def _ends_sentence(text: str, position: int) -> bool:
    if text[position] == ".":
        # The point of 0.5 or v1.2 ends nothing.
        return text[position + 1 : position + 2].isspace()
    return text[position] in _STOPS
