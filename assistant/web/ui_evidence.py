"""The evidence panel: each cited passage in its document, with the quote marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assistant.errors import AssistantError
from assistant.types import Scope
from assistant.web.passages import Passage, SourceText, passage_of, usual_context
from assistant.web.ui_render import escape, escape_lines, icon, paragraphs
from assistant.web.ui_strings import Strings

if TYPE_CHECKING:
    from assistant.runtime import Runtime

_SHOWN_QUESTION = 200


def empty_panel(strings: Strings) -> str:
    """Before the first answer."""
    return _panel(strings, None, f'<p class="hint">{escape(strings.evidence_hint)}</p>')


def evidence_panel(
    runtime: Runtime, scope: Scope, turn: int, asked: Mapping[str, Any], strings: Strings
) -> str:
    """The passages that turn ``turn`` cites, numbered as in the answer.

    ``asked`` holds the turn's ``question`` and its ``answer`` (the contract's JSON). Quotes that
    stand close together in a document share a card.
    """
    citations = [_Cited(n, c) for n, c in enumerate(asked["answer"]["citations"], 1)]
    ids = {cited.document_id for cited in citations}
    documents = {document_id: _document(runtime, scope, document_id) for document_id in ids}
    cards = "".join(
        _card(group, documents[group[0].document_id], strings)
        for group in _grouped(citations, documents)
    )
    body = cards or f'<p class="hint">{escape(strings.evidence_none)}</p>'
    about = escape(strings.evidence_for.format(question="").strip())
    question = escape(asked["question"][:_SHOWN_QUESTION])
    about = f'<p class="about" dir="auto">{about} <b>{question}</b></p>'
    return _panel(strings, turn, about + body)


class _Cited:
    """A citation with its number in the answer."""

    def __init__(self, number: int, citation: Mapping[str, Any]) -> None:
        self.number = number
        self.document_id = str(citation["document_id"])
        self.title, self.source = str(citation["title"]), str(citation["source"])
        self.start, self.end = int(citation["start"]), int(citation["end"])
        self.quote = str(citation["quote"])

    def stands_in(self, document: SourceText | None) -> bool:
        """Whether the document still reads as it was quoted."""
        return document is not None and document.text[self.start : self.end] == self.quote


def _grouped(
    citations: Sequence[_Cited], documents: Mapping[str, SourceText | None]
) -> list[list[_Cited]]:
    """Citations by card: those of one passage together, in the order first cited."""
    groups: list[list[_Cited]] = []
    for cited in sorted(citations, key=lambda c: (c.document_id, c.start)):
        document = documents[cited.document_id]
        if groups and _shares_passage(groups[-1][-1], cited, document):
            groups[-1].append(cited)
        else:
            groups.append([cited])
    return sorted(groups, key=lambda group: min(cited.number for cited in group))


def _shares_passage(last: _Cited, cited: _Cited, document: SourceText | None) -> bool:
    if document is None or last.document_id != cited.document_id or document.kind == "faq":
        return False
    near = cited.start - last.end <= usual_context(document.language)
    return near and last.stands_in(document) and cited.stands_in(document)


def _panel(strings: Strings, turn: int | None, body: str) -> str:
    shown = "" if turn is None else f' data-turn="{turn}"'
    return (
        f'<section class="evidence"{shown} aria-label="{escape(strings.evidence)}">'
        f'<header><h2>{escape(strings.evidence)}</h2><button type="button" class="square back" '
        f'data-back aria-label="{escape(strings.back_to_chat)}">{icon("arrow")}</button></header>'
        f'<div class="cards">{body}</div></section>'
    )


def _document(runtime: Runtime, scope: Scope, document_id: str) -> SourceText | None:
    try:
        return runtime.document(scope, document_id)
    except AssistantError:
        # Deleted since: the quote itself is still in the answer.
        return None


def _card(group: Sequence[_Cited], document: SourceText | None, strings: Strings) -> str:
    first = group[0]
    crumbs = ""
    if document is None or not first.stands_in(document):
        gone = f'<p class="gone">{escape(strings.evidence_gone)}</p>'
        text = f"<mark>{escape_lines(first.quote)}</mark>"
    else:
        passage = passage_of(document, first.start, max(cited.end for cited in group))
        crumbs, text, gone = _crumbs(passage, strings), _marked(passage, group), ""
    numbers = sorted(cited.number for cited in group)
    badges = "".join(f'<span class="number">{number}</span>' for number in numbers)
    return (
        f'<article class="card" data-evidence="{" ".join(map(str, numbers))}" tabindex="-1">'
        f'<h3>{badges}<span dir="auto">{escape(first.title)}</span></h3>'
        f'<p class="source" dir="auto">{icon("file")}{escape(first.source)}</p>'
        f'{crumbs}<blockquote dir="auto">{paragraphs(text)}</blockquote>{gone}</article>'
    )


def _crumbs(passage: Passage, strings: Strings) -> str:
    path = [part for part in passage.heading_path if part != passage.title]
    parts = [f"<span>{escape(part)}</span>" for part in path]
    if passage.page is not None:
        number = escape(strings.page_number.format(number=passage.page))
        parts.append(f'<span class="page">{number}</span>')
    return f'<p class="path" dir="auto">{"".join(parts)}</p>' if parts else ""


def _marked(passage: Passage, group: Sequence[_Cited]) -> str:
    """The passage with each quote marked; quotes are in order, overlaps are marked once."""
    pieces = ["… "] if passage.cut_before else []
    at = 0
    for cited in group:
        start, end = cited.start - passage.start, cited.end - passage.start
        before = passage.text[at : max(at, start)]
        pieces.append(escape_lines(before if at else before.lstrip()))
        quote = passage.text[max(at, start) : end]
        if quote:
            pieces.append(f'<mark data-mark="{cited.number}">{escape_lines(quote)}</mark>')
        at = max(at, end)
    pieces.append(escape_lines(passage.text[at:].rstrip()))
    return "".join([*pieces, " …" if passage.cut_after else ""])
