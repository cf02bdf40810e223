"""Recognise headings by their numbering where the format does not mark them."""

from __future__ import annotations

import re

_CHINESE = "一二三四五六七八九十百零〇两"
_MAX_TITLE = 60
_PATTERNS: tuple[tuple[int, re.Pattern[str]], ...] = (
    (1, re.compile(rf"第[{_CHINESE}\d]+[编篇部](?:分)?(?:\s|$|[^{_CHINESE}])")),
    (1, re.compile(r"(?:PART|Part)\s+[IVX\d]+\b")),
    (2, re.compile(rf"第[{_CHINESE}\d]+章")),
    (2, re.compile(r"(?:ARTICLE|Article|CHAPTER|Chapter)\s+[IVX\d]+\b")),
    (2, re.compile(r"(?:ITEM|Item)\s+\d{1,2}[A-C]?\.?(?:\d\d)?\b")),
    (3, re.compile(rf"第[{_CHINESE}\d]+节")),
    (4, re.compile(rf"[{_CHINESE}]{{1,3}}、")),
    (5, re.compile(rf"[（(][{_CHINESE}]{{1,3}}[）)]")),
    (6, re.compile(r"\d{1,2}、")),
)
_DECIMAL = re.compile(r"(\d{1,2}(?:\.\d{1,2}){1,3}\.?|\d{1,2}\.)\s+[A-Z\u3400-\u9fff]")
_SENTENCE_END = re.compile(r"[。；;，,：:.!?！？]$")


def outline_level(line: str) -> int | None:
    """The level of a numbered heading (第二章, Item 1A., 3.2 Fees), or ``None`` for other lines.

    A line that ends like a sentence or is longer than a title is body text.
    """
    line = line.strip()
    if not line or len(line) > _MAX_TITLE or _SENTENCE_END.search(line):
        return None
    for level, pattern in _PATTERNS:
        if pattern.match(line):
            return level
    match = _DECIMAL.match(line)
    return 3 + match.group(1).rstrip(".").count(".") if match else None
