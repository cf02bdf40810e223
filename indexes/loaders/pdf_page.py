"""The lines of a PDF page with their places, sizes and weights, read through PDFium."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_WORD = re.compile(r"\S+")
_LINE = re.compile(r"[^\r\n]+")
# PDFium puts these for a hyphen at the end of a line and goes on with the next line.
BREAK_HYPHEN = "\ufffe"
_HYPHENS = str.maketrans({"\x02": BREAK_HYPHEN, "\ufffe": BREAK_HYPHEN})
_PRESENTATION = re.compile(r"[\u2e80-\u2fdf\ufb00-\ufb06]")
_CJK_EDGE = re.compile(r"[\u2e80-\u30ff\u3400-\u9fff\uff01-\uff60]")
_CELL_GAP = 1.3
_BOLD_WEIGHT = 600
_BOLD_NAME = re.compile(rb"bold|black|heavy|simhei", re.I)


@dataclass(frozen=True, slots=True)
class Word:
    """A run without spaces; ``left`` and ``right`` in points from the page's left edge."""

    text: str
    left: float
    right: float


@dataclass(frozen=True)
class Line:
    """A line as set on the page; heights in points from the page's lower edge."""

    words: tuple[Word, ...]
    baseline: float
    bottom: float
    top: float
    size: float
    is_bold: bool

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return self.words[-1].right

    @cached_property
    def text(self) -> str:
        return join_words(self.words, self.size)

    @cached_property
    def cells(self) -> tuple[tuple[Word, ...], ...]:
        """The words in groups that wide gaps part, as the cells of a table row are."""
        groups: list[list[Word]] = [[]]
        for word in self.words:
            if groups[-1] and word.left - groups[-1][-1].right > _CELL_GAP * self.size:
                groups.append([])
            groups[-1].append(word)
        return tuple(tuple(group) for group in groups)


@dataclass
class PageLines:
    """The lines of one page in reading order. ``number`` counts from 1; sizes in points."""

    number: int
    width: float
    height: float
    lines: list[Line] = field(default_factory=list)

    @cached_property
    def lowest(self) -> float:
        """Baseline of the line next to the lower edge."""
        return min((line.baseline for line in self.lines), default=0.0)

    @cached_property
    def highest(self) -> float:
        """Baseline of the line next to the upper edge."""
        return max((line.baseline for line in self.lines), default=0.0)


def join_words(words: tuple[Word, ...], size: float) -> str:
    """The words as running text: no space between Chinese characters set close together."""
    parts: list[str] = []
    for index, word in enumerate(words):
        if index:
            before = words[index - 1]
            tight = word.left - before.right < 0.6 * size
            chinese = _CJK_EDGE.match(before.text[-1]) and _CJK_EDGE.match(word.text[0])
            parts.append("" if tight and chinese else " ")
        parts.append(word.text)
    return "".join(parts)


def read_page(page: Any, number: int) -> PageLines:
    """The lines of an open ``pypdfium2.PdfPage``."""
    width, height = page.get_size()
    result = PageLines(number, width, height)
    text_page = page.get_textpage()
    try:
        reader = _Reader(text_page)
        for match in _LINE.finditer(reader.text):
            line = reader.line(match.start(), match.end())
            if line is None:
                continue
            last = result.lines[-1] if result.lines else None
            if last is not None and _same_row(last, line):
                result.lines[-1] = Line(
                    last.words + line.words,
                    last.baseline,
                    min(last.bottom, line.bottom),
                    max(last.top, line.top),
                    last.size,
                    last.is_bold and line.is_bold,
                )
            else:
                result.lines.append(line)
    finally:
        text_page.close()
    return result


def _same_row(last: Line, line: Line) -> bool:
    return line.left > last.right and abs(last.baseline - line.baseline) < 0.3 * last.size


class _Reader:
    """Text and boxes of a text page; PDFium's calls take one character at a time."""

    def __init__(self, text_page: Any) -> None:
        from pypdfium2 import raw

        self._raw = raw
        self._page = text_page.raw
        count = text_page.count_chars()
        text: str = text_page.get_text_range() if count > 0 else ""
        if len(text) != count:
            # Some characters are left out of the text: then its places are not theirs.
            codes = (raw.FPDFText_GetUnicode(self._page, index) for index in range(count))
            text = "".join(map(chr, codes))
        self.text = text.translate(_HYPHENS)
        self._box = [ctypes.c_double() for _ in range(4)]
        self._refs = [ctypes.byref(value) for value in self._box]
        self._loose = raw.FS_RECTF()
        self._name = ctypes.create_string_buffer(128)
        self._flags = ctypes.c_int()

    def line(self, start: int, end: int) -> Line | None:
        words = []
        bottom, top = float("inf"), float("-inf")
        for match in _WORD.finditer(self.text, start, end):
            left, right, low, high = self._word_box(match.start(), match.end() - 1)
            text = _PRESENTATION.sub(_unified, match.group())
            words.append(Word(text, left, right))
            bottom, top = min(bottom, low), max(top, high)
        if not words:
            return None
        first = _WORD.search(self.text, start, end)
        index = first.start() if first else start
        size = self._size(index) or max(top - bottom, 1.0)
        last_index = end - 1 - (len(self.text[start:end]) - len(self.text[start:end].rstrip()))
        is_bold = self._is_bold(index) and self._is_bold(last_index)
        return Line(tuple(words), self._baseline(index), bottom, top, size, is_bold)

    def _word_box(self, first: int, last: int) -> tuple[float, float, float, float]:
        left, right, bottom, top = self._char_box(first)
        if last > first:
            other = self._char_box(last)
            left, right = min(left, other[0]), max(right, other[1])
            bottom, top = min(bottom, other[2]), max(top, other[3])
        return left, right, bottom, top

    def _char_box(self, index: int) -> tuple[float, float, float, float]:
        self._raw.FPDFText_GetCharBox(self._page, index, *self._refs)
        left, right, bottom, top = self._box
        return left.value, right.value, bottom.value, top.value

    def _baseline(self, index: int) -> float:
        self._raw.FPDFText_GetCharOrigin(self._page, index, *self._refs[:2])
        return self._box[1].value

    def _size(self, index: int) -> float:
        """Font size in points as seen on the page (the loose box is one em high)."""
        self._raw.FPDFText_GetLooseCharBox(self._page, index, ctypes.byref(self._loose))
        height: float = self._loose.top - self._loose.bottom
        return round(abs(height), 1)

    def _is_bold(self, index: int) -> bool:
        if self._raw.FPDFText_GetFontWeight(self._page, index) >= _BOLD_WEIGHT:
            return True
        length = self._raw.FPDFText_GetFontInfo(
            self._page, index, self._name, len(self._name), ctypes.byref(self._flags)
        )
        return _BOLD_NAME.search(self._name.raw[: max(0, length)]) is not None


def _unified(match: re.Match[str]) -> str:
    # Radicals and ligatures that fonts put in place of the ordinary characters.
    return unicodedata.normalize("NFKC", match.group())
