"""Precision, recall and F1 from counts: what was right, what was expected, what was given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from assistant.evaluation.bootstrap import Floats, Statistic

Average = Literal["micro", "macro", "weighted"]


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
        sums = (weights @ columns).reshape(len(weights), 3, count)
        hits, both = sums[:, 0], sums[:, 1] + sums[:, 2]
        if average == "micro":
            found: Floats = 2 * hits.sum(axis=1) / both.sum(axis=1)
            return found
        f1 = 2 * hits / np.where(both > 0, both, 1)
        share = (both > 0).astype(np.float64) if average == "macro" else sums[:, 1]
        found = (f1 * share).sum(axis=1) / share.sum(axis=1)
        return found

    return statistic
