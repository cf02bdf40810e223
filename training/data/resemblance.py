"""One index of the texts of all sets: which are the same, which are near-duplicates.

Splits and the leak check both read it, so what a split keeps together the check never finds apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from training.data.fingerprint import folded
from training.data.minhash import Components, near_pairs
from training.data.rows import ReadingExample, Row, row_texts

Unit = Literal["text", "row"]


def compared_texts(row: Row, unit: Unit) -> tuple[str, ...]:
    """Return the texts that must not stand in two splits.

    Each text of a pair, or the pair as one (``row``). Of reading examples only the context: one
    question may rightly be asked of two paragraphs.
    """
    texts = row_texts(row)
    if isinstance(row, ReadingExample):
        return texts[1:]
    return texts if unit == "text" or len(texts) == 1 else ("\n".join(sorted(texts)),)


class Resemblance:
    """Numbers the folded texts of all rows and knows which resemble each other."""

    def __init__(
        self, rows: Iterable[Row], *, unit: Unit, near: bool, threshold: float, permutations: int
    ) -> None:
        self.unit: Unit = unit
        self._number: dict[str, int] = {}
        self._by_fold: dict[str, int] = {}
        originals: list[str] = []
        for row in rows:
            for text in compared_texts(row, unit):
                self._add(text, originals)
        self.similar: dict[int, dict[int, float]] = {}
        if near:
            self._find_similar(originals, threshold, permutations)

    def _add(self, text: str, originals: list[str]) -> None:
        if text in self._number:
            return
        fold = folded(text)
        if fold not in self._by_fold:
            self._by_fold[fold] = len(originals)
            originals.append(text)
        self._number[text] = self._by_fold[fold]

    def _find_similar(self, texts: Sequence[str], threshold: float, permutations: int) -> None:
        pairs = near_pairs(texts, threshold=threshold, permutations=permutations)
        for first, second, value in zip(pairs.first, pairs.second, pairs.similarity, strict=True):
            self.similar.setdefault(int(first), {})[int(second)] = float(value)
            self.similar.setdefault(int(second), {})[int(first)] = float(value)

    def numbers(self, row: Row) -> tuple[int, ...]:
        """Return the number of each compared text of a row; equal texts have one number."""
        return tuple(self._number[text] for text in compared_texts(row, self.unit))

    def components(self, rows: Sequence[Row], *, near: bool = True) -> list[int]:
        """Return for each row the position of the first row of its group.

        Rows are linked by their ``group``, by a text in common and, with ``near``, by
        near-duplicate texts; links of links count.
        """
        linked = Components(len(rows))
        first_of: dict[int | str, int] = {}
        for position, row in enumerate(rows):
            keys: list[int | str] = [*self.numbers(row)]
            if row.group:
                keys.append(row.group)
            for key in keys:
                linked.link(first_of.setdefault(key, position), position)
        if near:
            for number, others in self.similar.items():
                for other in others:
                    if number in first_of and other in first_of:
                        linked.link(first_of[number], first_of[other])
        return linked.roots()
