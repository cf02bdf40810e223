"""Gather blocks of plain text with their headings and pages, with exact offsets.

Every loader writes through ``TextBuilder``, so all documents look alike: one paragraph, list item
or table row a line; a blank line before a paragraph, a heading or the first row or item of a run.
"""

from __future__ import annotations

import re
import unicodedata

from indexes.loaders.limits import LoadLimits, check
from indexes.sentences import BULLET
from indexes.types import Heading, Page

__all__ = [
    "BULLET",
    "MAX_HEADING",
    "TextBuilder",
    "clean_characters",
    "clean_line",
    "is_contents_line",
    "without_contents_lines",
]

MAX_HEADING = 200
"""A longer "heading" is body text that someone styled as a heading."""

_CJK = r"\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff60\u201c\u201d\u2026"
_CJK_BREAK = re.compile(rf"(?<=[{_CJK}])[ \t\u3000\xa0]*[\r\n]+[ \t\u3000\xa0]*(?=[{_CJK}])")
_SPACE = re.compile(r"\s+")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    r"\u2066-\u2069\ufeff\ufff9-\ufffc\ue000-\uf8ff]"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PLAIN = re.compile(r"[!-~]+(?: [!-~]+)*")


_PAGE_NUMBER = "0123456789ivxlcS-"
_LEADERS = ".．·…_ \t\xa0"


def without_contents_lines(text: str) -> str:
    """``text`` without lines of a table of contents (``Fees ........ 12``)."""
    if not any(leader in text for leader in ("....", ". . .", "……", "____", "····")):
        return text
    return "\n".join(line for line in text.split("\n") if not is_contents_line(line))


def is_contents_line(line: str) -> bool:
    """Whether the line ends in leaders (at least four dots or the like) and a page number."""
    head = line.rstrip().rstrip(_PAGE_NUMBER)
    leaders = head[len(head.rstrip(_LEADERS)) :]
    return len(leaders) - sum(map(leaders.count, " \t\xa0")) >= 4


def clean_line(text: str) -> str:
    """``text`` as one line: NFC, no control or invisible characters, single spaces.

    A line break between two Chinese characters disappears, any other becomes a space. A lone
    surrogate becomes U+FFFD.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = clean_characters(text)
    if not text.isascii():
        text = _CJK_BREAK.sub("", text)
    return _SPACE.sub(" ", text).strip()


def clean_characters(text: str) -> str:
    """``text`` in NFC without control and invisible characters; white space is left alone."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _SURROGATE.sub("\ufffd", text))
    return _INVISIBLE.sub("", text)


class TextBuilder:
    """Collects the text of one document, in reading order.

    ``last_start`` is the offset at which the last block begins.
    """

    def __init__(self, limits: LoadLimits) -> None:
        self.headings: list[Heading] = []
        self.pages: list[Page] = []
        self.warnings: list[str] = []
        self._limits = limits
        self.last_start = 0
        self._parts: list[str] = []
        self._length = 0
        self._tight = False

    @property
    def length(self) -> int:
        """Code points written so far."""
        return self._length

    @property
    def text(self) -> str:
        """All that was written."""
        return "".join(self._parts)

    def heading(self, level: int, title: str) -> None:
        """Add a heading; one too long to be a heading goes in as a paragraph."""
        title = clean_line(title)
        if not title:
            return
        if len(title) > MAX_HEADING:
            self.paragraph(title)
            return
        start = self._append(title, gap="\n\n")
        self.headings.append(Heading(max(1, level), title, start))
        self._tight = False

    def paragraph(self, text: str) -> None:
        """Add a paragraph on one line."""
        text = clean_line(text)
        if text:
            self._append(text, gap="\n\n")
            self._tight = False

    def line(self, text: str) -> None:
        """Add a list item, a table row or another line of a run."""
        text = clean_line(text)
        if text:
            self._append(text, gap="\n" if self._tight else "\n\n")
            self._tight = True

    def verbatim(self, text: str) -> tuple[int, int]:
        """Add ``text`` as it is on the line after the last; return its offsets."""
        start = self._append(text, gap="\n")
        self._tight = False
        return start, self._length

    def end_run(self) -> None:
        """Let the next ``line`` begin a new run of lines."""
        self._tight = False

    def page(self, number: int, start: int) -> None:
        """Record that page ``number`` runs from ``start`` to the end of the text so far."""
        self.pages.append(Page(number, start, self._length))

    def _append(self, text: str, gap: str) -> int:
        if self._parts:
            self._parts.append(gap)
            self._length += len(gap)
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        self.last_start = start
        check("characters of text", self._length, self._limits.max_text, "split the file")
        return start
