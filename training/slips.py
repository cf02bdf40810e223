"""Typing errors for training rows, so that a model meets them before its users make them.

A share of the rows is read mistyped, with other slips every time. Noise of the kind people make
teaches more than random letters do (Belinkov & Bisk 2018, arXiv:1711.02173).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import overload

from assistant.models.tokens import Tokenized
from training.loop import Example

WORDS_A_SLIP, HAN_A_SLIP = 8, 12
HAN = "[\u3400-\u4dbf\u4e00-\u9fff]"
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


class Mistyped(Sequence[Example]):
    """Training rows of which every reading is mistyped with probability ``share``.

    ``examples`` are the rows as they stand, ``texts`` what they say, ``tokenized`` reads a text.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        texts: Sequence[str],
        tokenized: Callable[[str], Tokenized],
        share: float,
        seed: int,
    ) -> None:
        self._examples, self._texts, self._tokenized = examples, texts, tokenized
        self._share, self._random = share, Random(seed)

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | Sequence[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        row = self._examples[place]
        if self._random.random() >= self._share:
            return row
        item = self._tokenized(typing_errors(self._texts[place], self._random))
        return {**row, "input_ids": item.tokens.ids, "item": item}


def typing_errors(text: str, rng: Random) -> str:
    """Return ``text`` with a slip in one of 8 Latin words and at one of 12 Han characters."""
    latin = re.sub("[A-Za-z]{3,}", lambda word: _slip(word[0], rng), text)
    return re.sub(f"{HAN}{{2,}}", lambda run: _stumble(run[0], rng), latin)


def _slip(word: str, rng: Random) -> str:
    if rng.randrange(WORDS_A_SLIP):
        return word
    at, kind = rng.randrange(len(word) - 1), rng.choice(("dropped", "swapped", "beside"))
    if kind == "dropped":
        return word[:at] + word[at + 1 :]
    if kind == "swapped" and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    keys = next(keys for keys in _KEYS if word[at].lower() in keys)
    key = keys.index(word[at].lower())
    near = rng.choice(keys[max(key - 1, 0) : key] + keys[key + 1 : key + 2])
    return word[:at] + (near.upper() if word[at].isupper() else near) + word[at + 1 :]


def _stumble(run: str, rng: Random) -> str:
    kept, at = "", 0
    while at < len(run):
        pair = run[at : at + 2]
        if rng.randrange(HAN_A_SLIP):
            kept, at = kept + run[at], at + 1
        elif rng.randrange(2) and len(set(pair)) == 2:
            kept, at = kept + pair[::-1], at + 2
        else:
            at += 1
    return kept
