"""Metrics of pairs against scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from assistant.evaluation import pair_metrics


def test_every_metric_is_that_of_the_libraries() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.4).astype(int)
    scores = np.round(np.clip(labels * 0.3 + rng.random(400) * 0.7, 0, 1), 2)
    found = pair_metrics(labels, scores, threshold=0.45, samples=100)
    said = (scores >= 0.45).astype(int)
    expected = {
        "accuracy": accuracy_score(labels, said),
        "f1": f1_score(labels, said),
        "precision": precision_score(labels, said),
        "recall": recall_score(labels, said),
        "spearman": spearmanr(scores, labels).statistic,
        "roc_auc": roc_auc_score(labels, scores),
        "average_precision": average_precision_score(labels, scores),
        "log_loss": log_loss(labels, scores),
        "brier": brier_score_loss(labels, scores),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name
        assert found[name].low < value < found[name].high, name
    assert 0 < found["ece"].value < 1


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    found = pair_metrics([0, 1, 1], [-3.0, 0.2, 7.0], threshold=0.0, probabilities=False, samples=9)
    assert found["accuracy"].value == 1
    assert not {"ece", "log_loss", "brier"} & set(found)


def test_every_pair_may_have_its_own_threshold() -> None:
    found = pair_metrics([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], threshold=[1, 0, 1, 0], samples=0)
    assert found["accuracy"].value == 1
    assert np.isnan(found["spearman"].value)
    assert found["roc_auc"].value == 0.5


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1], "shape"),
        ([], [], "no rows"),
        ([0, 1], [0.1, float("nan")], "not a number"),
    ],
)
def test_what_does_not_fit_is_refused(labels: list[int], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_metrics(labels, scores)
