"""Confident learning against cleanlab, and wrong labels put in on purpose."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from data_helpers import topic_rows

from assistant.errors import InvalidInputError
from training.data.label_errors import (
    confident_joint,
    find_label_errors,
    out_of_fold_probabilities,
    suspect_positions,
    write_suspects,
)
from training.data.rows import LabelledText


def noisy(count, classes, seed):
    """Probabilities of a fair model and labels of which a tenth are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, classes, count)
    logits = rng.normal(0, 1.2, (count, classes))
    logits[np.arange(count), true] += 2.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = np.where(rng.random(count) < 0.1, rng.integers(0, classes, count), true)
    return probabilities, given.astype(np.int64), true


@pytest.mark.parametrize(("count", "classes"), [(400, 2), (1000, 5), (2000, 20)])
def test_the_same_rows_as_cleanlab(count, classes):
    cleanlab = pytest.importorskip("cleanlab")
    probabilities, given, _ = noisy(count, classes, classes)
    ours = suspect_positions(probabilities, given)
    theirs = cleanlab.filter.find_label_issues(
        given,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    assert len(ours) > 0.02 * count
    assert ours.tolist() == theirs.tolist()
    joint = cleanlab.count.compute_confident_joint(given, probabilities, calibrate=False)
    mine = confident_joint(probabilities, given)
    off = ~np.eye(classes, dtype=bool)
    assert (mine[off] == joint[off]).all()


def test_a_perfect_model_of_right_labels_doubts_nothing():
    given = np.arange(10) % 3
    assert len(suspect_positions(np.eye(3)[given], given)) == 0


def test_labels_without_rows_are_never_suggested():
    probabilities = np.array([[0.6, 0.1, 0.3], [0.2, 0.1, 0.7], [0.1, 0.6, 0.3]])
    given = np.array([0, 0, 1])
    assert 2 not in confident_joint(probabilities, given).nonzero()[1]


def test_wrong_shapes_and_values_are_refused():
    given = np.array([0, 1])
    with pytest.raises(InvalidInputError, match=r"shape \(3, 2\) for 2 rows"):
        suspect_positions(np.ones((3, 2)), given)
    with pytest.raises(InvalidInputError, match="finite"):
        suspect_positions(np.array([[np.nan, 1], [0, 1]]), given)


def test_rows_need_one_known_label():
    rows = [LabelledText("a", ("x", "y"), source="t:1")]
    with pytest.raises(InvalidInputError, match="t:1"):
        find_label_errors(rows, np.ones((1, 2)), ["x", "y"])


def test_wrong_labels_put_in_are_found(tmp_path):
    rows = [
        LabelledText(text, (label,), source=str(i))
        for i, (text, label) in enumerate(topic_rows(40))
    ]
    labels = sorted({row.labels[0] for row in rows})
    draw = random.Random(5)
    wrong = set(draw.sample(range(len(rows)), 9))
    spoilt = [
        LabelledText(
            r.text, (draw.choice([lb for lb in labels if lb != r.labels[0]]),), source=r.source
        )
        if i in wrong
        else r
        for i, r in enumerate(rows)
    ]
    probabilities = out_of_fold_probabilities(spoilt, labels)
    assert probabilities.shape == (len(rows), 3)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    suspects = find_label_errors(spoilt, probabilities, labels)
    found = {suspect.position for suspect in suspects}
    assert len(wrong & found) >= 7, "most of the wrong labels are suspected"
    assert len(found - wrong) <= 3, "few right ones are"
    right = [
        s for s in suspects if s.position in wrong and s.suggested == rows[s.position].labels[0]
    ]
    assert len(right) == len(wrong & found)
    confidences = [suspect.confidence for suspect in suspects]
    assert confidences == sorted(confidences)
    write_suspects(suspects, tmp_path / "s.jsonl")
    first = json.loads((tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["given"] == spoilt[first["position"]].labels[0] and first["text"]


def test_the_model_never_sees_the_label_it_judges():
    """With labels drawn at random, an honest cross-validation is no better than chance."""
    draw = random.Random(2)
    rows = [LabelledText(text, (draw.choice("xy"),)) for text, _ in topic_rows(40)]
    probabilities = out_of_fold_probabilities(rows, ["x", "y"])
    given = np.array([r.labels[0] == "y" for r in rows]).astype(int)
    accuracy = float((probabilities.argmax(axis=1) == given).mean())
    assert accuracy < 0.65


def test_many_classes_take_the_narrow_features():
    words = [f"topic{i}" for i in range(25)]
    rows = [
        LabelledText(f"{word} is about {word} {n * 7919 % 997} {word[::-1]}", (word,))
        for word in words
        for n in range(8)
    ]
    probabilities = out_of_fold_probabilities(rows, words)
    given = np.array([words.index(row.labels[0]) for row in rows])
    assert (probabilities.argmax(axis=1) == given).mean() > 0.9


def test_a_label_of_one_row_cannot_be_judged():
    rows = [LabelledText("a b", ("x",)), LabelledText("c d", ("x",)), LabelledText("e", ("y",))]
    with pytest.raises(InvalidInputError, match="'y' has 1 rows"):
        out_of_fold_probabilities(rows, ["x", "y"])
