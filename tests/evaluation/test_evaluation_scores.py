"""Ranking, calibration and coverage against scikit-learn and SciPy, on any scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from assistant.evaluation.bootstrap import Statistic, bootstrap, plain
from assistant.evaluation.scores import (
    area_statistic,
    average_precision_statistic,
    best_threshold,
    brier_losses,
    calibration_statistic,
    log_losses,
    reliability,
    risk_coverage,
    roc_auc_statistic,
    spearman_statistic,
)

Arrays = tuple[NDArray[np.bool_], NDArray[np.float64]]
Make = Callable[[NDArray[np.bool_], NDArray[np.float64]], Statistic]


@st.composite
def scored(draw: st.DrawFn) -> Arrays:
    """Labels of both kinds, and scores from a coarse grid, so that many are equal."""
    n = draw(st.integers(2, 60))
    labels = draw(st.lists(st.booleans(), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < n))
    scores = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    return np.array(labels), np.array(scores) / 12


def resample(n: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng(seed).integers(0, n, n)


def weighted(statistic: Statistic, rows: NDArray[np.intp], n: int) -> float:
    """The statistic where row i stands as often as in ``rows``."""
    with np.errstate(all="ignore"):
        return float(statistic(np.bincount(rows, minlength=n)[None].astype(float))[0])


@settings(max_examples=200)
@given(scored(), st.integers(0, 1000))
@pytest.mark.parametrize(
    ("make", "reference"),
    [
        (roc_auc_statistic, roc_auc_score),
        (average_precision_statistic, average_precision_score),
        (spearman_statistic, lambda y, s: spearmanr(y, s).statistic),
    ],
    ids=["roc_auc", "average_precision", "spearman"],
)
def test_ranking_is_that_of_the_libraries_also_under_weights(
    make: Make, reference: Callable[..., float], data: Arrays, seed: int
) -> None:
    labels, scores = data
    n = len(labels)
    for rows in (np.arange(n), resample(n, seed)):
        if labels[rows].all() or not labels[rows].any() or len(set(scores[rows])) == 1:
            continue
        expected = reference(labels[rows], scores[rows])
        assert weighted(make(labels, scores), rows, n) == pytest.approx(expected, abs=1e-9)


def test_undefined_ranking_is_not_a_number() -> None:
    assert np.isnan(plain(roc_auc_statistic([1, 1], [0.1, 0.2]), 2))
    assert np.isnan(plain(average_precision_statistic([0, 0], [0.1, 0.2]), 2))
    assert np.isnan(plain(spearman_statistic([1, 1], [0.1, 0.2]), 2))


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        roc_auc_statistic([1, 0], [0.1, float("nan")])


# --- calibration -------------------------------------------------------------------------------


def error_by_hand(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> float:
    """Guo et al. (2017), equation 3, with 15 bins (0, 1/15], (1/15, 2/15], ..."""
    total = 0.0
    edges = np.array([k / 15 for k in range(16)])
    for place in range(15):
        inside = (confidence > edges[place]) & (confidence <= edges[place + 1])
        if place == 0:
            inside |= confidence == 0
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1), st.integers(0, 15).map(lambda k: k / 15)), st.booleans()
        ),
        min_size=1,
        max_size=80,
    ),
    st.integers(0, 1000),
)
def test_calibration_error_is_that_of_the_paper(rows: list[tuple[float, bool]], seed: int) -> None:
    confidence, correct = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    statistic = calibration_statistic(confidence, correct)
    assert plain(statistic, len(rows)) == pytest.approx(error_by_hand(confidence, correct))
    drawn = resample(len(rows), seed)
    expected = error_by_hand(confidence[drawn], correct[drawn])
    assert weighted(statistic, drawn, len(rows)) == pytest.approx(expected, abs=1e-12)


def test_the_reliability_diagram_adds_up() -> None:
    rng = np.random.default_rng(0)
    sure = rng.random(500)
    right = rng.random(500) < sure**2
    bins = reliability(sure, right)
    assert sum(part.count for part in bins) == 500
    error = sum(part.count * abs(part.accuracy - part.confidence) for part in bins) / 500
    assert error == pytest.approx(plain(calibration_statistic(sure, right), 500))
    assert all(part.low < part.confidence <= part.high for part in bins)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_log_loss_and_brier_score_are_those_of_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    table = rng.dirichlet(np.ones(classes), 300)
    truth = rng.integers(0, classes, 300)
    names = list(range(classes))
    assert log_losses(table[np.arange(300), truth]).mean() == pytest.approx(
        log_loss(truth, table, labels=names)
    )
    given_table = table[:, 1] if classes == 2 else table
    assert brier_losses(table, truth).mean() == pytest.approx(
        brier_score_loss(truth, given_table, labels=names)
    )


def test_an_impossible_truth_costs_much_but_not_infinity() -> None:
    assert log_losses([0.0])[0] == pytest.approx(36.04, abs=0.01)


# --- coverage ----------------------------------------------------------------------------------


@settings(max_examples=100)
@given(scored(), st.integers(0, 1000))
def test_risk_coverage_is_that_of_a_plain_loop(data: Arrays, seed: int) -> None:
    correct, confidence = data
    curve = risk_coverage(correct, confidence)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        taken = confidence >= threshold
        assert coverage == pytest.approx(taken.mean())
        assert risk == pytest.approx(1 - correct[taken].mean())
    for rows in (np.arange(len(correct)), resample(len(correct), seed)):
        right, sure = correct[rows], confidence[rows]
        expected = np.mean([1 - right[sure >= one].mean() for one in sure])
        found = weighted(area_statistic(correct, confidence), rows, len(correct))
        assert found == pytest.approx(expected)


def test_coverage_at_a_risk_and_risk_at_a_coverage() -> None:
    curve = risk_coverage([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], np.arange(10, 0, -1) / 10)
    assert curve.coverage_at(0.0) == pytest.approx(0.3)
    assert curve.coverage_at(0.2) == pytest.approx(0.5)
    assert curve.risk_at(0.5) == pytest.approx(0.2)
    assert curve.risk_at(1.0) == pytest.approx(0.6)
    assert risk_coverage([0, 0], [0.5, 0.6]).coverage_at(0.1) == 0


@settings(max_examples=150)
@given(scored())
@pytest.mark.parametrize("by", ["accuracy", "f1"])
def test_no_threshold_is_better_than_the_best(by: str, data: Arrays) -> None:
    labels, scores = data

    def quality(threshold: float) -> float:
        said = scores >= threshold
        if by == "accuracy":
            return float((said == labels).mean())
        return float(2 * (said & labels).sum() / (said.sum() + labels.sum()))

    best = quality(best_threshold(labels, scores, by))
    assert best >= max(quality(threshold) for threshold in set(scores)) - 1e-12


def test_a_threshold_needs_both_kinds() -> None:
    with pytest.raises(ValueError, match="both"):
        best_threshold([1, 1], [0.2, 0.3], "f1")


def test_intervals_of_a_ranking_hold_its_value() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    scores = labels * 0.5 + rng.random(500)
    found = bootstrap(
        np.stack([labels, scores], axis=1),
        lambda columns, weights: roc_auc_statistic(columns[:, 0], columns[:, 1])(weights),
        samples=300,
    )
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(roc_auc_score(labels, scores))
