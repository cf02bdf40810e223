"""Mend UTF-8 that was read as Windows-1252 (``weâ€™ve`` for ``we’ve``), only where it is certain.

A run of such characters is turned back when its bytes are exactly one valid UTF-8 character: a lead
byte and as many continuation bytes as it announces. Text written so on purpose is all but unknown.
"""

from __future__ import annotations

import re
from functools import cache


@cache
def _to_byte() -> dict[str, int]:
    """Windows-1252 characters to their byte; the five bytes it leaves open stand for themselves."""
    table = {}
    for byte in range(0x80, 0x100):
        try:
            table[bytes([byte]).decode("cp1252")] = byte
        except UnicodeDecodeError:
            table[chr(byte)] = byte
    return table


@cache
def _pattern() -> re.Pattern[str]:
    table = _to_byte()

    def group(low: int, high: int) -> str:
        return "[" + "".join(re.escape(c) for c, b in table.items() if low <= b <= high) + "]"

    tail = group(0x80, 0xBF)
    return re.compile(
        f"{group(0xC2, 0xDF)}{tail}|{group(0xE0, 0xEF)}{tail}{{2}}|{group(0xF0, 0xF4)}{tail}{{3}}"
    )


# The closing quote’s last byte (0x9D) has no Windows-1252 character and is often lost on the way.
_LOST_QUOTE = re.compile("â€(?![\u0080-\u00ff\u0152-\u0192\u02c6\u02dc\u2013-\u2122])")
MAX_ROUNDS = 3
_HINT = re.compile("[\u00c2-\u00f4]")


def mend_mojibake(text: str) -> tuple[str, int]:
    """Return the mended text and how many characters were mended; text garbled twice, too."""
    mended = 0
    for _ in range(MAX_ROUNDS):
        if not _HINT.search(text):
            break
        text, found = _mend_once(text)
        mended += found
        if not found:
            break
    return text, mended


def _mend_once(text: str) -> tuple[str, int]:
    table = _to_byte()
    mended = 0

    def back(match: re.Match[str]) -> str:
        nonlocal mended
        try:
            character = bytes(table[c] for c in match.group()).decode("utf-8")
        except UnicodeDecodeError:
            return match.group()
        mended += 1
        return character

    text = _pattern().sub(back, text)
    text, quotes = _LOST_QUOTE.subn("”", text)
    return text, mended + quotes
