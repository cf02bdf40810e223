"""Statistics of scores and probabilities: ranking, calibration, coverage.

Each ``…_statistic`` returns a function of weights (resamples, n), as the bootstrap wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assistant.evaluation.bootstrap import Floats, Statistic

ECE_BINS = 15
"""Equal-width bins of the expected calibration error, as in Guo et al. (2017)."""

_BIN_ENDS = np.arange(1, ECE_BINS + 1) / ECE_BINS


def mean_statistic(values: ArrayLike) -> Statistic:
    """The mean of ``values`` (n,)."""
    column = np.asarray(values, dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        found: Floats = weights @ column / weights.sum(axis=1)
        return found

    return statistic


def ratio_statistic(numerator: ArrayLike, denominator: ArrayLike) -> Statistic:
    """The sum of one column by the sum of another (precision, recall); NaN where that is 0."""
    above = np.asarray(numerator, dtype=np.float64)
    below = np.asarray(denominator, dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        found: Floats = (weights @ above) / (weights @ below)
        return found

    return statistic


# --- ranking -----------------------------------------------------------------------------------


class _Ties:
    """Rows in ascending order of score, in groups of equal scores."""

    def __init__(self, scores: Floats) -> None:
        self.order: NDArray[np.intp] = np.argsort(scores, kind="stable")
        ranked = scores[self.order]
        self.starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])

    def sums(self, weights: Floats) -> Floats:
        """Sum (resamples, n) weights, given in the rows' order, within each group."""
        found: Floats = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        return found


def roc_auc_statistic(positive: ArrayLike, scores: ArrayLike) -> Statistic:
    """Area under the ROC curve: how often a positive scores above a negative, ties one half.

    ``positive`` (n,) is true for positives. NaN without both kinds. Source: Fawcett, "An
    introduction to ROC analysis" (2006).
    """
    truth, ties = np.asarray(positive, dtype=bool), _Ties(_scores(scores))

    def statistic(weights: Floats) -> Floats:
        up, down = ties.sums(weights * truth), ties.sums(weights * ~truth)
        below = np.cumsum(down, axis=1) - down / 2
        found: Floats = (up * below).sum(axis=1) / (up.sum(axis=1) * down.sum(axis=1))
        return found

    return statistic


def average_precision_statistic(positive: ArrayLike, scores: ArrayLike) -> Statistic:
    """Average precision: precision at each threshold, weighted by the recall gained there.

    No interpolation; equal scores are one threshold. NaN without positives.
    """
    truth, ties = np.asarray(positive, dtype=bool), _Ties(-_scores(scores))

    def statistic(weights: Floats) -> Floats:
        up, every = ties.sums(weights * truth), ties.sums(weights)
        taken = np.cumsum(every, axis=1)
        precision = np.cumsum(up, axis=1) / np.where(taken > 0, taken, 1)
        found: Floats = (precision * up).sum(axis=1) / up.sum(axis=1)
        return found

    return statistic


def spearman_statistic(first: ArrayLike, second: ArrayLike) -> Statistic:
    """Spearman's rank correlation; equal values share their mean rank. NaN without spread."""
    pair = [_MeanRanks(_scores(first)), _MeanRanks(_scores(second))]

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(axis=1, keepdims=True)
        a, b = (ranks(weights) for ranks in pair)
        a -= (weights * a).sum(axis=1, keepdims=True) / total
        b -= (weights * b).sum(axis=1, keepdims=True) / total
        product = (weights * a * b).sum(axis=1)
        spread = (weights * a * a).sum(axis=1) * (weights * b * b).sum(axis=1)
        found: Floats = product / np.sqrt(spread)
        return found

    return statistic


class _MeanRanks:
    """Ranks of values under weights: those of a sample in which row i stands ``weight`` times."""

    def __init__(self, values: Floats) -> None:
        self._ties = _Ties(values)
        self._group = np.empty(len(values), dtype=np.intp)
        sizes = np.diff(np.r_[self._ties.starts, len(values)])
        self._group[self._ties.order] = np.repeat(np.arange(len(sizes)), sizes)

    def __call__(self, weights: Floats) -> Floats:
        sums = self._ties.sums(weights)
        ranks: Floats = (np.cumsum(sums, axis=1) - (sums - 1) / 2)[:, self._group]
        return ranks


def _scores(values: ArrayLike) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    return scores


# --- calibration -------------------------------------------------------------------------------


def calibration_statistic(confidence: ArrayLike, correct: ArrayLike) -> Statistic:
    """Expected calibration error: |accuracy - confidence| over 15 equal-width bins.

    ``confidence`` (n,) in [0, 1]; bins are half-open on the left, (0, 1/15], (1/15, 2/15], ...
    Each bin counts by its share of rows. Source: Guo et al., "On Calibration of Modern Neural
    Networks" (ICML 2017).
    """
    held, gap = _bins(confidence, correct)

    def statistic(weights: Floats) -> Floats:
        found: Floats = np.abs(weights @ (held * gap[:, None])).sum(axis=1) / weights.sum(axis=1)
        return found

    return statistic


def _bins(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """Return membership (n, bins) of 0 and 1, and correct minus confidence (n,)."""
    sure = _scores(confidence)
    right = np.asarray(correct, dtype=np.float64)
    place = np.minimum(np.searchsorted(_BIN_ENDS, sure), ECE_BINS - 1)
    return np.eye(ECE_BINS)[place], right - sure


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows whose confidence lies in (``low``, ``high``]: their number and two means."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: ArrayLike, correct: ArrayLike) -> tuple[CalibrationBin, ...]:
    """Return the bins that hold rows, in order: the reliability diagram."""
    held, _ = _bins(confidence, correct)
    counts = held.sum(axis=0)
    sure = _scores(confidence) @ held
    right = np.asarray(correct, dtype=np.float64) @ held
    return tuple(
        CalibrationBin(
            low=place / ECE_BINS,
            high=(place + 1) / ECE_BINS,
            count=int(count),
            confidence=float(sure[place] / count),
            accuracy=float(right[place] / count),
        )
        for place, count in enumerate(counts)
        if count
    )


def log_losses(probability_of_truth: ArrayLike) -> Floats:
    """Return minus the natural logarithm of each probability (n,), kept from infinity."""
    tiny = float(np.finfo(np.float64).eps)
    losses: Floats = -np.log(np.clip(np.asarray(probability_of_truth, dtype=np.float64), tiny, 1))
    return losses


def brier_losses(probabilities: ArrayLike, truth: ArrayLike) -> Floats:
    """Return the squared error of each row's distribution (n, classes), summed over classes.

    ``truth`` (n,) is the column of the right class. With two classes the sum is halved, as usual,
    which leaves the squared error of the positive class. Source: Brier (1950).
    """
    errors = np.array(probabilities, dtype=np.float64)
    errors[np.arange(len(errors)), np.asarray(truth, dtype=np.intp)] -= 1
    losses: Floats = (errors**2).sum(axis=1) / (2 if errors.shape[1] == 2 else 1)
    return losses


# --- coverage ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """What answering only above a confidence buys. Arrays (points,), by falling threshold.

    ``coverage``: share of rows at or above ``threshold``; ``risk``: share of those that are wrong.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats

    def coverage_at(self, risk: float) -> float:
        """The largest share of rows answerable with at most this risk; 0 when none is."""
        reached = self.coverage[self.risk <= risk]
        return float(reached.max()) if len(reached) else 0.0

    def risk_at(self, coverage: float) -> float:
        """The risk at the smallest coverage that is at least ``coverage``."""
        return float(self.risk[np.searchsorted(self.coverage, coverage - 1e-12)])


def risk_coverage(correct: ArrayLike, confidence: ArrayLike) -> RiskCoverage:
    """Return the risk-coverage curve; equal confidences enter together.

    Source: El-Yaniv and Wiener, "On the Foundations of Noise-free Selective Classification"
    (JMLR 2010).
    """
    sure = _scores(confidence)
    ties = _Ties(-sure)
    wrong = 1 - np.asarray(correct, dtype=np.float64)
    counts = np.cumsum(ties.sums(np.ones((1, len(sure))))[0])
    errors = np.cumsum(ties.sums(wrong[None])[0])
    return RiskCoverage(sure[ties.order][ties.starts], counts / len(sure), errors / counts)


def area_statistic(correct: ArrayLike, confidence: ArrayLike) -> Statistic:
    """Area under the risk-coverage curve (AURC): the mean risk over coverages, less is better.

    Rows of equal confidence share the risk at the end of their group. Source: Geifman et al.,
    "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers" (ICLR 2019).
    """
    ties = _Ties(-_scores(confidence))
    wrong = 1 - np.asarray(correct, dtype=np.float64)

    def statistic(weights: Floats) -> Floats:
        sizes, errors = ties.sums(weights), ties.sums(weights * wrong)
        taken = np.cumsum(sizes, axis=1)
        risk = np.cumsum(errors, axis=1) / np.where(taken > 0, taken, 1)
        found: Floats = (risk * sizes).sum(axis=1) / sizes.sum(axis=1)
        return found

    return statistic


def best_threshold(positive: Sequence[bool] | ArrayLike, scores: ArrayLike, by: str) -> float:
    """Return the score from which on to say yes, best by "accuracy" or "f1".

    Choose it on validation rows, never on the rows it is then measured on. Halfway between two
    neighbouring scores; of equally good ones the highest. Raises ValueError without both kinds.
    """
    truth, ties = np.asarray(positive, dtype=bool), _Ties(-_scores(scores))
    if truth.all() or not truth.any():
        raise ValueError("a threshold needs both matching and non-matching rows")
    levels = _scores(scores)[ties.order][ties.starts]
    hits = np.cumsum(ties.sums(truth[None].astype(np.float64))[0])
    said = np.cumsum(ties.sums(np.ones((1, len(truth))))[0])
    wanted = truth.sum()
    quality = {
        "accuracy": (hits + (len(truth) - wanted) - (said - hits)) / len(truth),
        "f1": 2 * hits / (said + wanted),
    }[by]
    best = int(np.argmax(quality))
    after = levels[best + 1] if best + 1 < len(levels) else levels[best]
    return float((levels[best] + after) / 2)
