"""Logistic calibration with its risk-coverage curve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

Floats = NDArray[np.float64]
CURVE_POINTS = 60
ECE_BINS = 10
FULL_SET = 200
LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Samples:
    """``features``: float64 (n, f); ``right``: bool (n,); ``sets``: (n,) names of origin."""

    features: Floats
    right: NDArray[np.bool_]
    sets: NDArray[np.str_]

    def only(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Samples:
        return Samples(self.features[rows], self.right[rows], self.sets[rows])

    @property
    def weights(self) -> Floats:
        """Weights that let sets of ``FULL_SET`` and more count the same, smaller ones less."""
        _, inverse, counts = np.unique(self.sets, return_inverse=True, return_counts=True)
        weights = (np.minimum(counts, FULL_SET) / counts)[inverse]
        scaled: Floats = weights * (weights.size / weights.sum())
        return scaled


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted calibrator in its stored form, and how it did on the half held aside."""

    stored: dict[str, object]
    report: dict[str, dict[str, float]]


def halves(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row numbers of two random halves."""
    order = np.random.default_rng(seed).permutation(n)
    return order[: n // 2], order[n // 2 :]


def expected_calibration_error(p: Floats, right: NDArray[np.bool_], weights: Floats) -> float:
    """Return the weighted gap between confidence and accuracy over equal-width bins.

    Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning" (2015).
    """
    bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = 0.0
    for b in range(ECE_BINS):
        inside = bins == b
        if inside.any():
            w = weights[inside]
            gap += abs(np.average(p[inside], weights=w) - np.average(right[inside], weights=w)) * (
                w.sum() / weights.sum()
            )
    return float(gap)


def risk_coverage(p: Floats, right: NDArray[np.bool_], weights: Floats) -> list[dict[str, float]]:
    """Return risk and coverage at thresholds spread over the confidences seen.

    El-Yaniv & Wiener, "On the Foundations of Noise-free Selective Classification" (2010).
    The curve starts where ``LEAST_SHARE`` is answered, since the risk of a handful is chance. It
    never falls as more is answered: errors are first smoothed to rise with falling confidence
    (isotonic regression, Zadrozny & Elkan 2002), so that chance neither lowers nor lifts a
    threshold.
    """
    order = np.argsort(-p, kind="stable")
    w, wrong = weights[order], (~right[order]).astype(np.float64)
    covered = np.cumsum(w)
    first = int(np.searchsorted(covered / weights.sum(), LEAST_SHARE))
    rising = IsotonicRegression().fit_transform(np.arange(p.size), wrong, sample_weight=w)
    risk = np.cumsum(rising * w) / covered
    at = np.unique(np.linspace(first, p.size - 1, CURVE_POINTS).astype(int))
    return [
        {
            "threshold": round(float(p[order][i]), 4),
            "coverage": round(float(covered[i] / weights.sum()), 4),
            "risk": round(float(risk[i]), 4),
        }
        for i in at
    ]


def fit(samples: Samples, features: Sequence[str], seed: int) -> Fitted:
    """Fit on one half; take the curve and the report from the other."""
    first, second = halves(samples.right.size, seed)
    train, held = samples.only(first), samples.only(second)
    model = LogisticRegression(C=10.0, max_iter=2000)
    model.fit(train.features, train.right, sample_weight=train.weights)
    p = model.predict_proba(held.features)[:, 1]
    stored = {
        "features": list(features),
        "weights": [round(float(w), 5) for w in model.coef_[0]],
        "bias": round(float(model.intercept_[0]), 5),
        "curve": risk_coverage(p, held.right, held.weights),
    }
    report = {"all": _report(p, held.right, held.weights)}
    for name in np.unique(held.sets):
        rows = held.sets == name
        report[str(name)] = _report(p[rows], held.right[rows], held.weights[rows])
    return Fitted(stored, report)


def _report(p: Floats, right: NDArray[np.bool_], weights: Floats) -> dict[str, float]:
    both = 0 < right.sum() < right.size
    return {
        "questions": int(right.size),
        "right": round(float(right.mean()), 3),
        "auroc": round(float(roc_auc_score(right, p)), 3) if both else float("nan"),
        "ece": round(expected_calibration_error(p, right, weights), 3),
    }
