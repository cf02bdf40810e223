"""Metrics of classifiers: one label a row, or several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from assistant.evaluation.bootstrap import SAMPLES, Floats, Metric, Statistic, bootstrap_all
from assistant.evaluation.counts import (
    ClassCounts,
    LabelScores,
    Places,
    f1_statistic,
    label_scores,
)
from assistant.evaluation.scores import (
    area_statistic,
    average_precision_statistic,
    brier_losses,
    calibration_statistic,
    log_losses,
    mean_statistic,
    ratio_statistic,
    roc_auc_statistic,
)

OUT_OF_SCOPE = "out_of_scope"
USUAL_NAMES = {
    **dict.fromkeys(("oos", "out-of-scope", "out of scope", "oos_intent"), OUT_OF_SCOPE),
    "bearish": "negative",
    "bullish": "positive",
}
"""What public sets call labels of ours."""
TOP_CONFUSIONS = 20


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often rows of label ``expected`` were given ``predicted``."""

    expected: str
    predicted: str
    count: int


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """What an evaluation of a classifier found.

    ``unknown_labels``: labels of the data that the model cannot give, with their rows; such rows
    count as wrong, and have no part in log loss and Brier score, which need a probability.
    """

    metrics: Mapping[str, Metric]
    labels: tuple[LabelScores, ...]
    confusions: tuple[Confusion, ...] = ()
    unknown_labels: Mapping[str, int] | None = None
    positive_label: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        return {
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "labels": [asdict(scores) for scores in self.labels],
            "confusions": [asdict(confusion) for confusion in self.confusions],
            "unknown_labels": dict(self.unknown_labels or {}),
            "positive_label": self.positive_label,
        }


# --- one label a row ---------------------------------------------------------------------------


def classification_report(
    expected: Sequence[str],
    predicted: Sequence[str],
    *,
    labels: Sequence[str] = (),
    probabilities: ArrayLike | None = None,
    positive: str | None = None,
    reject: str = "",
    seed: int = 0,
    samples: int = SAMPLES,
) -> ClassificationReport:
    """Measure predictions of one label a row.

    ``labels``: what the model can give; ``probabilities``: float (n, len(labels)), rows summing
    to 1, from which come calibration, log loss, Brier score and, with two labels, ROC AUC and
    average precision of ``positive`` (default: the rarer label of the data). ``reject``: what the
    model says when it is too unsure of every label, if that is none of them; its confidence is
    then 1 minus the best probability. F1 averages run over the labels that occur among expected
    or predicted ones, in each resample anew. Where the data have rows of ``out_of_scope``, they
    are measured apart. Raises ValueError when the lengths differ or there are no rows.
    """
    _check_lengths(expected, predicted)
    names = sorted({*expected, *predicted})
    place = {name: number for number, name in enumerate(names)}
    truth = np.array([place[label] for label in expected], dtype=np.intp)
    given = np.array([place[label] for label in predicted], dtype=np.intp)
    statistics = _label_statistics(truth, given, len(names))
    if OUT_OF_SCOPE in set(expected):
        statistics |= _scope_statistics(truth, given, place[OUT_OF_SCOPE])
    known = {*labels, reject} if labels else set(names)
    unknown = Counter(label for label in expected if label not in known)
    metrics = bootstrap_all(statistics, len(truth), seed=seed, samples=samples)
    if probabilities is not None:
        table = _checked(probabilities, len(truth), labels)
        positive = _positive(positive, expected, labels)
        groups = (
            (_confidence_statistics(expected, predicted, table, labels, reject), len(truth)),
            _probability_statistics(expected, table, labels, positive),
        )
        for found, rows in groups:
            if rows:
                metrics |= bootstrap_all(found, rows, seed=seed, samples=samples)
    return ClassificationReport(
        metrics,
        label_scores(names, *_counts(truth, given, len(names))),
        _confusions(expected, predicted),
        dict(unknown.most_common()),
        positive if probabilities is not None else None,
    )


def accuracy(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """The share of rows that are right, without an interval."""
    _check_lengths(expected, predicted)
    return sum(a == b for a, b in zip(expected, predicted, strict=True)) / len(expected)


def macro_f1(expected: Sequence[str], predicted: Sequence[str]) -> float:
    """The mean F1 over the labels that occur among expected or predicted ones; no interval."""
    report = classification_report(expected, predicted, samples=0)
    return report.metrics["macro_f1"].value


def _label_statistics(truth: Places, given: Places, count: int) -> dict[str, Statistic]:
    """Accuracy and the F1 averages (with one label a row, micro F1 is accuracy)."""
    counts = ClassCounts(truth, given, count)
    return {
        "accuracy": mean_statistic(truth == given),
        "micro_f1": mean_statistic(truth == given),
        "macro_f1": counts.f1("macro"),
        "weighted_f1": counts.f1("weighted"),
    }


def _scope_statistics(truth: Places, given: Places, outside: int) -> dict[str, Statistic]:
    is_out, said_out = truth == outside, given == outside
    hit = is_out & said_out
    return {
        "in_scope_accuracy": ratio_statistic((truth == given) & ~is_out, ~is_out),
        "out_of_scope_recall": ratio_statistic(hit, is_out),
        "out_of_scope_precision": ratio_statistic(hit, said_out),
        "out_of_scope_f1": ratio_statistic(2.0 * hit, is_out.astype(np.float64) + said_out),
    }


def _confidence_statistics(
    expected: Sequence[str],
    predicted: Sequence[str],
    table: Floats,
    labels: Sequence[str],
    reject: str,
) -> dict[str, Statistic]:
    """What the model's sureness is worth, over all rows."""
    place = {label: number for number, label in enumerate(labels)}
    strange = next((label for label in predicted if label not in {*place, reject}), None)
    if strange is not None:
        raise ValueError(f"the prediction {strange!r} is none of the model's labels")
    doubt = 1 - table.max(axis=1)
    sure = [
        table[row, place[label]] if label in place else doubt[row]
        for row, label in enumerate(predicted)
    ]
    right = [a == b for a, b in zip(expected, predicted, strict=True)]
    found = {"ece": calibration_statistic(sure, right), "aurc": area_statistic(right, sure)}
    if OUT_OF_SCOPE in expected:
        outside = [label == OUT_OF_SCOPE for label in expected]
        score = table[:, place[OUT_OF_SCOPE]] if OUT_OF_SCOPE in place else doubt
        found["out_of_scope_auc"] = roc_auc_statistic(outside, score)
    return found


def _probability_statistics(
    expected: Sequence[str], table: Floats, labels: Sequence[str], positive: str | None
) -> tuple[dict[str, Statistic], int]:
    """Log loss, Brier score and, of two labels, ranking, over the rows whose label is known.

    Returns the statistics and the number of those rows.
    """
    place = {label: number for number, label in enumerate(labels)}
    table = table[[label in place for label in expected]]
    truth = np.array([place[label] for label in expected if label in place], dtype=np.intp)
    statistics: dict[str, Statistic] = {
        "log_loss": mean_statistic(log_losses(table[np.arange(len(truth)), truth])),
        "brier": mean_statistic(brier_losses(table, truth)),
    }
    if positive is not None and len(truth):
        is_positive, score = truth == place[positive], table[:, place[positive]]
        statistics["roc_auc"] = roc_auc_statistic(is_positive, score)
        statistics["average_precision"] = average_precision_statistic(is_positive, score)
    return statistics, len(truth)


# --- several labels a row ----------------------------------------------------------------------


def multilabel_report(
    expected: Sequence[Iterable[str]],
    predicted: Sequence[Iterable[str]],
    *,
    labels: Sequence[str] = (),
    probabilities: ArrayLike | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> ClassificationReport:
    """Measure predictions of a set of labels a row: exact match, micro and macro F1.

    ``probabilities``: float (n, len(labels)), each in [0, 1] on its own; adds the Brier score, the
    mean over labels of the squared error. F1 averages run over the labels that occur, as in
    ``classification_report``. Raises ValueError when the lengths differ or there are no rows.
    """
    _check_lengths(expected, predicted)
    wanted, said = [frozenset(row) for row in expected], [frozenset(row) for row in predicted]
    names = sorted(frozenset().union(*wanted, *said))
    is_label, is_given = _indicator(wanted, names), _indicator(said, names)
    hit = is_label * is_given
    exact = np.array([a == b for a, b in zip(wanted, said, strict=True)])
    statistics: dict[str, Statistic] = {
        "exact_match": mean_statistic(exact),
        "micro_f1": f1_statistic(hit, is_label, is_given, "micro"),
        "macro_f1": f1_statistic(hit, is_label, is_given, "macro"),
        "micro_precision": ratio_statistic(hit.sum(axis=1), is_given.sum(axis=1)),
        "micro_recall": ratio_statistic(hit.sum(axis=1), is_label.sum(axis=1)),
    }
    if probabilities is not None:
        table = _checked(probabilities, len(wanted), labels)
        truth = _indicator(wanted, labels)
        statistics["brier"] = mean_statistic(((table - truth) ** 2).mean(axis=1))
    known = set(labels) or set(names)
    unknown = Counter(label for row in wanted for label in row if label not in known)
    return ClassificationReport(
        bootstrap_all(statistics, len(wanted), seed=seed, samples=samples),
        label_scores(names, hit.sum(axis=0), is_label.sum(axis=0), is_given.sum(axis=0)),
        unknown_labels=dict(unknown.most_common()),
    )


def _indicator(rows: Sequence[frozenset[str]], names: Sequence[str]) -> Floats:
    table = np.zeros((len(rows), len(names)))
    place = {name: number for number, name in enumerate(names)}
    for number, row in enumerate(rows):
        for label in row & place.keys():
            table[number, place[label]] = 1
    return table


# --- shared ------------------------------------------------------------------------------------


def _check_lengths(expected: Sequence[object], predicted: Sequence[object]) -> None:
    if len(expected) != len(predicted):
        raise ValueError(f"{len(predicted)} predictions for {len(expected)} rows")
    if not expected:
        raise ValueError("nothing to measure: there are no rows")


def _checked(probabilities: ArrayLike, rows: int, labels: Sequence[str]) -> Floats:
    table = np.asarray(probabilities, dtype=np.float64)
    if table.shape != (rows, len(labels)):
        raise ValueError(f"probabilities of shape {table.shape}; want ({rows}, {len(labels)})")
    return table


def _positive(positive: str | None, expected: Sequence[str], labels: Sequence[str]) -> str | None:
    """Return the label to rank by: of two, the one asked for or the rarer; else none."""
    if positive is not None and positive not in labels:
        raise ValueError(f"positive is {positive!r}; the labels are {', '.join(labels)}")
    if len(labels) != 2:
        return None
    counts = Counter(expected)
    return positive or min(labels, key=lambda label: (counts[label], label))


def _counts(truth: Places, given: Places, count: int) -> tuple[Places, Places, Places]:
    return (
        np.bincount(truth[truth == given], minlength=count),
        np.bincount(truth, minlength=count),
        np.bincount(given, minlength=count),
    )


def _confusions(expected: Sequence[str], predicted: Sequence[str]) -> tuple[Confusion, ...]:
    pairs = Counter((a, b) for a, b in zip(expected, predicted, strict=True) if a != b)
    ranked = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(*pair, count) for pair, count in ranked[:TOP_CONFUSIONS])
