"""The numbers that Word shows before paragraphs but does not store in their text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexes.loaders.text import BULLET

if TYPE_CHECKING:
    from lxml.etree import _Element

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_CHINESE = "零一二三四五六七八九"
_ROMAN = ((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))


@dataclass(frozen=True, slots=True)
class _Level:
    form: str
    text: str
    start: int


class Numbering:
    """Counts the numbered paragraphs of one document, in order."""

    def __init__(self, root: _Element | None) -> None:
        self._levels: dict[str, dict[int, _Level]] = {}
        self._lists: dict[str, str] = {}
        self._counters: dict[str, dict[int, int]] = {}
        if root is not None:
            self._read(root)

    def _read(self, root: _Element) -> None:
        for abstract in root.iter(f"{W}abstractNum"):
            levels = {}
            for level in abstract.iter(f"{W}lvl"):
                depth = int(level.get(f"{W}ilvl", "0"))
                start = value_of(level.find(f"{W}start"), "1")
                levels[depth] = _Level(
                    value_of(level.find(f"{W}numFmt"), "decimal"),
                    value_of(level.find(f"{W}lvlText"), ""),
                    int(start) if start.isdecimal() else 1,
                )
            self._levels[abstract.get(f"{W}abstractNumId", "")] = levels
        for num in root.iter(f"{W}num"):
            abstract_id = value_of(num.find(f"{W}abstractNumId"), "")
            self._lists[num.get(f"{W}numId", "")] = abstract_id

    def label(self, properties: Any) -> str:
        """What Word shows before the paragraph with these ``w:numPr``, with a space; or ""."""
        if properties is None:
            return ""
        number = value_of(properties.find(f"{W}numId"), "0")
        depth_text = value_of(properties.find(f"{W}ilvl"), "0")
        depth = int(depth_text) if depth_text.isdecimal() else 0
        abstract = self._lists.get(number, "")
        level = self._levels.get(abstract, {}).get(depth)
        if number == "0" or level is None or level.form == "none":
            return ""
        if level.form == "bullet":
            return BULLET
        counts = self._counters.setdefault(abstract, {})
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper in [other for other in counts if other > depth]:
            del counts[deeper]
        return self._format(level, self._levels[abstract], counts)

    def _format(
        self, level: _Level, levels: Mapping[int, _Level], counts: Mapping[int, int]
    ) -> str:
        text = level.text
        for depth in range(9):
            mark = f"%{depth + 1}"
            if mark in text:
                form = levels[depth].form if depth in levels else "decimal"
                text = text.replace(mark, _number(counts.get(depth, 1), form))
        return f"{text} " if text.strip() else ""


def value_of(element: Any, default: str) -> str:
    """The ``w:val`` of an element, ``default`` without one."""
    return default if element is None else str(element.get(f"{W}val", default))


def _number(value: int, form: str) -> str:
    if form in ("lowerLetter", "upperLetter"):
        letter = chr(ord("a") + (value - 1) % 26) * ((value - 1) // 26 + 1)
        return letter.upper() if form == "upperLetter" else letter
    if form in ("lowerRoman", "upperRoman"):
        roman = _roman(value)
        return roman.upper() if form == "upperRoman" else roman
    if form.startswith(("chinese", "japanese", "ideograph", "taiwanese")):
        return _chinese(value)
    return str(value)


def _roman(value: int) -> str:
    parts = []
    for size, letters in _ROMAN:
        while value >= size:
            parts.append(letters)
            value -= size
    return "".join(parts)


def _chinese(value: int) -> str:
    if not 0 < value < 100:
        return str(value)
    tens, ones = divmod(value, 10)
    head = "" if tens == 0 else ("十" if tens == 1 else _CHINESE[tens] + "十")
    return head + (_CHINESE[ones] if ones or not tens else "")
