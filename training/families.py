"""Which texts of a set of pairs mean the same.

A positive pair links its two texts; texts linked by a chain of pairs are one family. In a batch,
among mined candidates and in a ranking, a text of the query's own family is no wrong answer.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.rows import TextPair

Ints = NDArray[np.int64]


def is_positive(pair: TextPair) -> bool:
    """Whether the pair says that its texts belong together."""
    return pair.label is None or pair.label > 0.5


class Families:
    """Numbers texts by family. Case, width and blanks at the ends do not tell texts apart."""

    def __init__(self, pairs: Iterable[TextPair], *, groups: bool = False) -> None:
        """Link the texts of the positive pairs; with ``groups``, also those of one group.

        Groups hide false negatives in training (two turns of one ticket); a ranking must not use
        them, as they need not mean the same.
        """
        self._parent: dict[str, str] = {}
        self._number: dict[str, int] = {}
        first: dict[str, str] = {}
        for pair in pairs:
            if is_positive(pair):
                self._link(_key(pair.text_a), _key(pair.text_b))
                if groups and pair.group:
                    self._link(first.setdefault(pair.group, _key(pair.text_a)), _key(pair.text_a))

    def of(self, text: str) -> int:
        """Return the number of the text's family; a text never seen is a family of its own."""
        return self._number.setdefault(self._root(_key(text)), len(self._number))

    def all_of(self, texts: Sequence[str]) -> Ints:
        """Return the families of the texts, int64 (texts,)."""
        return np.array([self.of(text) for text in texts], dtype=np.int64)

    def _link(self, a: str, b: str) -> None:
        self._parent[self._root(a)] = self._root(b)

    def _root(self, key: str) -> str:
        path = []
        while (above := self._parent.setdefault(key, key)) != key:
            path.append(key)
            key = above
        for passed in path:
            self._parent[passed] = key
        return key


def _key(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().strip()
