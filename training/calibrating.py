"""Temperature scaling: probabilities that mean what they say, without changing the answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexes.types import FloatArray

_GRID = np.exp(np.linspace(np.log(0.25), np.log(8.0), 121))


def softmax_temperature(logits: FloatArray, labels: NDArray[np.int64]) -> float:
    """Return the temperature of least negative log-likelihood on rows not trained on.

    ``logits`` float (rows, labels), ``labels`` int (rows,). Guo et al. 2017 (arXiv:1706.04599);
    sought on a grid of 1/4 to 8, so that a few rows cannot lead it astray. 1 without rows.
    """
    if not len(logits):
        return 1.0
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        top = scaled.max(axis=1)
        total = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float((total - scaled[rows, labels]).mean())

    return round(float(min(_GRID, key=loss)), 4)


def sigmoid_temperature(logits: FloatArray, labels: FloatArray) -> float:
    """Return the temperature of least binary cross entropy; both arrays are of one shape."""
    if not logits.size:
        return 1.0

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        return float((np.logaddexp(0, scaled) - labels * scaled).mean())

    return round(float(min(_GRID, key=loss)), 4)


def rejection_threshold(right: FloatArray, cost: float) -> float:
    """Return the highest bar for a probability that rejects at most ``cost`` of right answers.

    ``right``: probabilities of the answers that were right, on rows not trained on (a chosen error
    rate of selective classification, Geifman & El-Yaniv 2017, arXiv:1705.08500). 0 without any.
    """
    if not len(right):
        return 0.0
    ordered = np.sort(right)
    return round(float(ordered[int(cost * len(ordered))]), 4)
