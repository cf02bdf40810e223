"""Metrics of classifiers against scikit-learn."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.metrics import (
    classification_report as sklearn_report,
)
from sklearn.preprocessing import MultiLabelBinarizer

from assistant.evaluation import accuracy, classification_report, macro_f1, multilabel_report

LABELS = ("balance", "card", "fees", "out_of_scope")
ROWS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=60
)
# Two labels or more: scikit-learn takes a single column for one label a row.
SETS = st.lists(
    st.tuples(st.sets(st.sampled_from(LABELS)), st.sets(st.sampled_from(LABELS))),
    min_size=1,
    max_size=40,
).filter(lambda rows: len(set().union(*(a | b for a, b in rows))) > 1)


@settings(max_examples=200)
@given(ROWS)
def test_the_averages_are_those_of_scikit_learn(rows: list[tuple[str, str]]) -> None:
    expected, predicted = [a for a, _ in rows], [b for _, b in rows]
    report = classification_report(expected, predicted, samples=0)
    for average in ("macro", "micro", "weighted"):
        theirs = f1_score(expected, predicted, average=average, zero_division=0)
        assert report.metrics[f"{average}_f1"].value == pytest.approx(theirs)
    names = sorted({*expected, *predicted})
    theirs = precision_recall_fscore_support(expected, predicted, labels=names, zero_division=0)
    for place, label in enumerate(report.labels):
        assert label.label == names[place]
        ours = (label.precision, label.recall, label.f1, label.support)
        assert ours == pytest.approx([column[place] for column in theirs])


@settings(max_examples=100)
@given(ROWS, st.integers(0, 1000))
def test_an_interval_is_that_of_scikit_learn_over_the_same_resamples(
    rows: list[tuple[str, str]], seed: int
) -> None:
    """The vectorised bootstrap gives what scoring each resample with scikit-learn gives."""
    expected, predicted = np.array([a for a, _ in rows]), np.array([b for _, b in rows])
    found = classification_report(list(expected), list(predicted), seed=seed, samples=25)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(rows), (25, len(rows)))
    theirs = [f1_score(expected[i], predicted[i], average="macro", zero_division=0) for i in drawn]
    low, high = np.quantile(theirs, [0.025, 0.975])
    metric = found.metrics["macro_f1"]
    assert (metric.low, metric.high) == pytest.approx((low, high))


def test_scope_is_measured_apart() -> None:
    expected = ["card", "card", "fees", "out_of_scope", "out_of_scope", "out_of_scope"]
    predicted = ["card", "out_of_scope", "card", "out_of_scope", "out_of_scope", "fees"]
    found = classification_report(expected, predicted, samples=50).metrics
    assert found["in_scope_accuracy"].value == pytest.approx(1 / 3)
    outside = [label == "out_of_scope" for label in expected]
    said = [label == "out_of_scope" for label in predicted]
    assert found["out_of_scope_recall"].value == pytest.approx(recall_score(outside, said))
    assert found["out_of_scope_precision"].value == pytest.approx(precision_score(outside, said))
    assert found["out_of_scope_f1"].value == pytest.approx(f1_score(outside, said))
    inside = classification_report(["card"], ["card"], samples=0).metrics
    assert not any("scope" in name for name in inside)


def test_confusions_are_listed_most_frequent_first() -> None:
    rng = np.random.default_rng(0)
    expected = [LABELS[i] for i in rng.integers(0, 4, 300)]
    predicted = [LABELS[i] for i in rng.integers(0, 4, 300)]
    matrix = confusion_matrix(expected, predicted, labels=list(LABELS))
    found = classification_report(expected, predicted, samples=0).confusions
    counts = [confusion.count for confusion in found]
    assert counts == sorted(counts, reverse=True)
    assert sum(counts) == matrix.sum() - matrix.trace()
    for confusion in found:
        row, column = LABELS.index(confusion.expected), LABELS.index(confusion.predicted)
        assert confusion.count == matrix[row, column]


def test_two_labels_are_ranked_by_the_rarer_one() -> None:
    rng = np.random.default_rng(1)
    bad = rng.random(200) < 0.3
    score = np.clip(bad * 0.3 + rng.random(200) * 0.7, 0, 1)
    expected = ["bad" if one else "good" for one in bad]
    table = np.stack([1 - score, score], axis=1)
    predicted = ["bad" if one > 0.5 else "good" for one in score]
    found = classification_report(
        expected, predicted, labels=("good", "bad"), probabilities=table, samples=50
    )
    assert found.positive_label == "bad"
    assert found.metrics["roc_auc"].value == pytest.approx(roc_auc_score(bad, score))
    theirs = average_precision_score(bad, score)
    assert found.metrics["average_precision"].value == pytest.approx(theirs)
    other = classification_report(
        expected, predicted, labels=("good", "bad"), probabilities=table, positive="good", samples=0
    )
    theirs = average_precision_score(~bad, 1 - score)
    assert other.metrics["average_precision"].value == pytest.approx(theirs)


def test_labels_the_model_does_not_know_are_wrong_and_counted() -> None:
    expected = ["card", "fees", "fees", "new", "new", "newer"]
    predicted = ["card", "fees", "card", "card", "fees", "fees"]
    table = np.full((6, 2), 0.5)
    found = classification_report(
        expected, predicted, labels=("card", "fees"), probabilities=table, samples=20
    )
    assert found.unknown_labels == {"new": 2, "newer": 1}
    assert found.metrics["accuracy"].value == pytest.approx(2 / 6)
    assert found.metrics["accuracy"].n == 6
    assert found.metrics["log_loss"].n == 3
    assert found.metrics["log_loss"].value == pytest.approx(
        log_loss(["card", "fees", "fees"], table[:3], labels=["card", "fees"])
    )
    none = classification_report(
        ["new"], ["card"], labels=("card", "fees"), probabilities=table[:1], samples=0
    )
    assert "log_loss" not in none.metrics
    assert none.metrics["accuracy"].value == 0


@settings(max_examples=150)
@given(SETS)
def test_several_labels_are_scored_as_by_scikit_learn(
    rows: list[tuple[set[str], set[str]]],
) -> None:
    expected, predicted = [a for a, _ in rows], [b for _, b in rows]
    names = sorted(set().union(*expected, *predicted))
    binary = MultiLabelBinarizer(classes=names)
    truth, given_table = binary.fit_transform(expected), binary.transform(predicted)
    report = multilabel_report(expected, predicted, samples=0)
    for average in ("micro", "macro"):
        theirs = f1_score(truth, given_table, average=average, zero_division=0)
        assert report.metrics[f"{average}_f1"].value == pytest.approx(theirs)
    exact = (truth == given_table).all(axis=1).mean()
    assert report.metrics["exact_match"].value == pytest.approx(exact)
    theirs = sklearn_report(
        truth, given_table, target_names=names, output_dict=True, zero_division=0
    )
    for label in report.labels:
        assert label.f1 == pytest.approx(theirs[label.label]["f1-score"])
        assert label.support == theirs[label.label]["support"]


def test_several_labels_with_probabilities_and_unknown_ones() -> None:
    report = multilabel_report(
        [{"a", "x"}, set(), {"b"}],
        [{"a"}, {"b"}, {"b"}],
        labels=("a", "b"),
        probabilities=[[0.9, 0.2], [0.1, 0.6], [0.0, 1.0]],
        samples=30,
    )
    assert report.unknown_labels == {"x": 1}
    assert report.metrics["brier"].value == pytest.approx((0.01 + 0.04 + 0.01 + 0.36 + 0 + 0) / 6)
    assert report.metrics["exact_match"].value == pytest.approx(1 / 3)


def test_reports_are_plain_json() -> None:
    report = classification_report(["a", "b"], ["b", "b"], samples=10)
    copy = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert copy["metrics"]["accuracy"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 2}
    assert copy["confusions"] == [{"expected": "a", "predicted": "b", "count": 1}]
    assert json.dumps(multilabel_report([["a"]], [["b"]], samples=0).to_json(), allow_nan=False)


def test_quick_figures_without_intervals() -> None:
    expected, predicted = ["a", "b", "b"], ["a", "b", "a"]
    assert accuracy(expected, predicted) == pytest.approx(2 / 3)
    assert macro_f1(expected, predicted) == pytest.approx(
        f1_score(expected, predicted, average="macro")
    )


def test_ten_thousand_rows_of_150_labels_take_seconds() -> None:
    rng = np.random.default_rng(0)
    names = [f"intent {n}" for n in range(150)]
    truth = rng.integers(0, 150, 10_000)
    said = np.where(rng.random(10_000) < 0.8, truth, rng.integers(0, 150, 10_000))
    started = time.process_time()
    classification_report([names[i] for i in truth], [names[i] for i in said])
    # 1 s of processor time on one machine.
    assert time.process_time() - started < 8


@pytest.mark.parametrize(
    ("expected", "predicted", "extra", "message"),
    [
        ([], [], {}, "no rows"),
        (["a"], [], {}, "0 predictions for 1 rows"),
        (["a"], ["a"], {"labels": ("a", "b"), "probabilities": [[1.0]]}, r"want \(1, 2\)"),
        (["a"], ["c"], {"labels": ("a", "b"), "probabilities": [[1.0, 0]]}, "'c'"),
    ],
)
def test_what_does_not_fit_is_refused(
    expected: list[str], predicted: list[str], extra: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        classification_report(expected, predicted, **extra)  # type: ignore[arg-type]
