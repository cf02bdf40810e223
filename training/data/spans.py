"""Places in a text: find an answer again, cut text into tokens."""

from __future__ import annotations

import re
from collections.abc import Collection

Span = tuple[int, int]
"""Start and end, half-open code points."""

_HAN_CLASS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_TOKEN = re.compile(rf"[{_HAN_CLASS}]|[^\W\d_{_HAN_CLASS}]+|\d+|[^\s]")


def find_nearest(context: str, text: str, start: int) -> int | None:
    """Return where ``text`` stands in ``context``, the place nearest to ``start``; or None."""
    if not text:
        return None
    best: int | None = None
    position = context.find(text)
    while position >= 0:
        if best is not None and abs(position - start) >= abs(best - start):
            break  # places come in order: from here on they only get farther
        best = position
        position = context.find(text, position + 1)
    return best


def cut_tokens(text: str, borders: Collection[int] = ()) -> list[Span]:
    """Cut a text into single Han characters, words, numbers and marks; blanks are no tokens.

    A token never crosses one of the ``borders``, so that entities begin and end with tokens.
    """
    cuts = sorted(set(borders))
    spans: list[Span] = []
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        for cut in cuts:
            if start < cut < end:
                spans.append((start, cut))
                start = cut
        spans.append((start, end))
    return spans
