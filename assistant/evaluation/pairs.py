"""Metrics of pair matching: two texts, a score, and whether they match."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from assistant.evaluation.bootstrap import SAMPLES, Metric, Statistic, bootstrap_all
from assistant.evaluation.scores import (
    average_precision_statistic,
    brier_losses,
    calibration_statistic,
    log_losses,
    mean_statistic,
    ratio_statistic,
    roc_auc_statistic,
    spearman_statistic,
)


def pair_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: float | ArrayLike = 0.5,
    probabilities: bool = True,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Mapping[str, Metric]:
    """Measure scores (n,) of pairs whose ``labels`` (n,) are 1 for a match and 0 otherwise.

    A pair is said to match from ``threshold`` on (one number, or one for each pair). F1 is that
    of matching pairs. ``probabilities`` says that scores are calibrated probabilities in [0, 1];
    then log loss, Brier score and calibration error are measured too. Raises ValueError for labels
    other than 0 and 1, other lengths, or no rows.
    """
    truth, score = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if truth.shape != score.shape or truth.ndim != 1:
        raise ValueError(f"scores of shape {score.shape} for labels of shape {truth.shape}")
    if not np.isin(truth, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    positive = truth.astype(bool)
    said = score >= np.asarray(threshold, dtype=np.float64)
    hit = positive & said
    statistics: dict[str, Statistic] = {
        "accuracy": mean_statistic(positive == said),
        "f1": ratio_statistic(2.0 * hit, positive.astype(np.float64) + said),
        "precision": ratio_statistic(hit, said),
        "recall": ratio_statistic(hit, positive),
        "spearman": spearman_statistic(score, positive),
        "roc_auc": roc_auc_statistic(positive, score),
        "average_precision": average_precision_statistic(positive, score),
    }
    if probabilities:
        both = np.stack([1 - score, score], axis=1)
        index = positive.astype(np.intp)
        statistics |= {
            "ece": calibration_statistic(score, positive),
            "log_loss": mean_statistic(log_losses(both[np.arange(len(index)), index])),
            "brier": mean_statistic(brier_losses(both, index)),
        }
    return bootstrap_all(statistics, len(score), seed=seed, samples=samples)
