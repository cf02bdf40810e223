"""From tokens back to the text: what a token covers, and where a span may begin and end.

Offsets are half-open code points of the text as it was given. Tokens see the text after NFKC, so
one character may be several tokens ("ﬁ", "㈱") and a token may begin with a blank; here both are
put right.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# What the tokeniser's normalisation turns into a blank, beside what Python calls white space.
_BLANK = frozenset("\u200b\u200c\u200d\u200e\u200f\u2581\ufeff\ufffd")
_SKIN_TONES = range(0x1F3FB, 0x1F400)


@lru_cache(maxsize=65536)
def is_blank(character: str) -> bool:
    """Return whether a character is white space, also to the tokeniser."""
    return character.isspace() or character in _BLANK


@lru_cache(maxsize=65536)
def continues(character: str) -> bool:
    """Return whether a character belongs to the one before: combining marks, variation selectors,
    skin tones."""
    return unicodedata.category(character)[0] == "M" or ord(character) in _SKIN_TONES


@lru_cache(maxsize=65536)
def is_letter(character: str) -> bool:
    """Return whether a character makes up words with its neighbours.

    Letters of scripts with capitals, and digits. Chinese, Japanese and Korean characters do not:
    there a word may end after any of them.
    """
    category = unicodedata.category(character)
    return category in ("Lu", "Ll", "Lt", "Lm", "Nd") or category[0] == "M"


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without blanks at its ends, and with the marks that belong to its last
    character; an empty one has start == end."""
    while start < end and is_blank(text[start]):
        start += 1
    while end > start and is_blank(text[end - 1]):
        end -= 1
    while start < end < len(text) and continues(text[end]):
        end += 1
    return start, end


def token_spans(text: str, offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return what each token covers without blanks; ``offsets`` int (tokens, 2)."""
    return [trimmed(text, start, end) for start, end in offsets.tolist()]


def joined_to_previous(text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.bool_]:
    """Return for each token whether no span may begin there, bool (tokens,).

    So it is inside an English word, a number, or a character that became several tokens.
    """
    joined = np.zeros(len(spans), dtype=np.bool_)
    last = -1
    for place, (start, end) in enumerate(spans):
        if start == end:
            continue
        if start < last:
            joined[place] = True
        elif start == last:
            joined[place] = _inside(text, start)
        last = max(last, end)
    return joined


def snapped(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span widened to whole words and characters, where it cuts any."""
    while 0 < start < end and _inside(text, start):
        start -= 1
    while start < end < len(text) and _inside(text, end):
        end += 1
    return start, end


def _inside(text: str, place: int) -> bool:
    """Whether what stands at ``place`` cannot be parted from what stands before it."""
    before, here = text[place - 1], text[place]
    if continues(here):
        return not is_blank(before)
    return is_letter(here) and is_letter(before)
