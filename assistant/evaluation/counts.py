"""Precision, recall and F1 from counts: what was right, what was expected, what was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assistant.evaluation.bootstrap import Floats, Statistic

Average = Literal["micro", "macro", "weighted"]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How one label (class, type of entity, tag) fares.

    ``precision`` is 0 when it is never predicted, ``recall`` 0 when it never occurs; ``support``:
    how often it occurs; ``predicted``: how often it is predicted.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def label_scores(
    names: Sequence[str], right: ArrayLike, expected: ArrayLike, given: ArrayLike
) -> tuple[LabelScores, ...]:
    """Return the scores of each label from its three counts (labels,)."""
    found = []
    columns = (np.asarray(part).astype(int).tolist() for part in (right, expected, given))
    for name, hit, there, said in zip(names, *columns, strict=True):
        precision, recall = hit / max(said, 1), hit / max(there, 1)
        found.append(LabelScores(name, precision, recall, 2 * hit / (there + said), there, said))
    return tuple(found)


def f1_statistic(right: Floats, expected: Floats, given: Floats, average: Average) -> Statistic:
    """F1 of counts (n, labels) in each row, averaged over labels.

    Micro: of the sums over all labels; macro: the mean over the labels that a resample holds,
    expected or given; weighted: by how often each is expected.
    """
    columns = np.hstack([right, expected, given])
    count = right.shape[1]

    def statistic(weights: Floats) -> Floats:
        return _averaged((weights @ columns).reshape(len(weights), 3, count), average)

    return statistic


class ClassCounts:
    """Counts of one class a row, given as places (n,) among ``count`` classes.

    Memory does not grow with rows times classes, as a table of counts would. The sums of the last
    weights are kept, since several averages are taken of each block of resamples.
    """

    def __init__(self, truth: Places, given: Places, count: int) -> None:
        self._columns = (truth, given)
        self._right = truth == given
        self._count = count
        self._last: tuple[Floats, Floats] | None = None

    def f1(self, average: Average) -> Statistic:
        """F1 averaged over classes, as ``f1_statistic``."""
        return lambda weights: _averaged(self._sums(weights), average)

    def _sums(self, weights: Floats) -> Floats:
        if self._last is None or self._last[0] is not weights:
            self._last = weights, np.stack([self._of(row) for row in weights])
        return self._last[1]

    def _of(self, weights: Floats) -> Floats:
        truth, given = self._columns
        parts = ((truth[self._right], weights[self._right]), (truth, weights), (given, weights))
        return np.stack([np.bincount(place, part, self._count) for place, part in parts])


def _averaged(sums: Floats, average: Average) -> Floats:
    """Return F1 (resamples,) from sums (resamples, 3, labels) of right, expected and given."""
    hits, both = sums[:, 0], sums[:, 1] + sums[:, 2]
    if average == "micro":
        found: Floats = 2 * hits.sum(axis=1) / both.sum(axis=1)
        return found
    f1 = 2 * hits / np.where(both > 0, both, 1)
    share = (both > 0).astype(np.float64) if average == "macro" else sums[:, 1]
    found = (f1 * share).sum(axis=1) / share.sum(axis=1)
    return found
