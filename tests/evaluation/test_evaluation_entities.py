"""Entity metrics against seqeval, token metrics against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report as seqeval_report
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from sklearn.metrics import precision_recall_fscore_support

from assistant.evaluation import entity_report, entity_spans, iob2_tags
from assistant.evaluation.entities import EntitySpan

IOB = ["O", "B-ORG", "I-ORG", "B-PER", "I-PER", "B-PER-NAM", "I-PER-NAM"]
IOBES = [*IOB, "E-ORG", "S-ORG", "E-PER", "S-PER", "B", "I"]
SENTENCES = st.lists(
    st.lists(st.tuples(st.sampled_from(IOB), st.sampled_from(IOB)), min_size=1, max_size=12),
    min_size=1,
    max_size=8,
)


@settings(max_examples=400)
@given(st.lists(st.sampled_from(IOBES), max_size=15))
def test_entities_are_those_of_seqeval_whatever_the_scheme(tags: list[str]) -> None:
    theirs = [(label, start, end + 1) for label, start, end in get_entities(tags)]
    assert [tuple(span) for span in entity_spans(tags)] == theirs


def test_schemes_give_the_same_entities() -> None:
    iob1 = ["I-ORG", "I-ORG", "B-ORG", "O", "I-PER"]
    iob2 = ["B-ORG", "I-ORG", "B-ORG", "O", "B-PER"]
    iobes = ["B-ORG", "E-ORG", "S-ORG", "O", "S-PER"]
    assert entity_spans(iob1) == entity_spans(iob2) == entity_spans(iobes)
    assert iob2_tags(entity_spans(iob1), 5) == iob2


@settings(max_examples=200)
@given(SENTENCES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_scores_are_those_of_seqeval(sentences: list[list[tuple[str, str]]]) -> None:
    expected = [[a for a, _ in row] for row in sentences]
    predicted = [[b for _, b in row] for row in sentences]
    found = entity_report(expected, predicted, samples=0)
    for name, theirs in (
        ("precision", precision_score),
        ("recall", recall_score),
        ("f1", f1_score),
    ):
        ours = found.metrics[name].value
        reference = theirs(expected, predicted, zero_division=0)
        assert (0 if np.isnan(ours) else ours) == pytest.approx(reference), name
    if not found.types:
        return
    by_type = seqeval_report(expected, predicted, output_dict=True, zero_division=0)
    assert found.metrics["macro_f1"].value == pytest.approx(by_type["macro avg"]["f1-score"])
    for scores in found.types:
        reference = by_type[scores.label]
        assert scores.precision == pytest.approx(reference["precision"])
        assert scores.recall == pytest.approx(reference["recall"])
        assert scores.f1 == pytest.approx(reference["f1-score"])
        assert scores.support == reference["support"]


@settings(max_examples=100)
@given(SENTENCES)
def test_the_tags_are_scored_one_by_one(sentences: list[list[tuple[str, str]]]) -> None:
    expected = [[a for a, _ in row] for row in sentences]
    predicted = [[b for _, b in row] for row in sentences]
    found = entity_report(expected, predicted, samples=0)
    truth = [t for row in expected for t in iob2_tags(entity_spans(row), len(row))]
    said = [t for row in predicted for t in iob2_tags(entity_spans(row), len(row))]
    names = [scores.label for scores in found.tags]
    assert names == sorted({*truth, *said})
    theirs = precision_recall_fscore_support(truth, said, labels=names, zero_division=0)
    for place, scores in enumerate(found.tags):
        ours = (scores.precision, scores.recall, scores.f1, scores.support)
        assert ours == pytest.approx([column[place] for column in theirs])
    micro = precision_recall_fscore_support(truth, said, average="micro", zero_division=0)
    assert found.metrics["token_accuracy"].value == pytest.approx(micro[2])
    assert found.metrics["token_macro_f1"].value == pytest.approx(theirs[2].mean())


def test_the_interval_is_over_sentences() -> None:
    """One long wrong sentence among many right ones moves the bounds as a whole."""
    right = [["B-ORG", "O"]] * 30
    wrong = [["B-ORG", "O"] * 10]
    found = entity_report(right + wrong, right + [["O"] * 20], samples=2000, seed=1)
    assert found.metrics["recall"].value == 30 / 40
    rng = np.random.default_rng(1)
    drawn = (rng.integers(0, 31, (4000, 31)) == 30).sum(axis=1)
    recalls = (31 - drawn) / (31 - drawn + 10 * drawn)
    bounds = np.quantile(recalls, [0.025, 0.975])
    assert (found.metrics["recall"].low, found.metrics["recall"].high) == pytest.approx(bounds)
    assert found.metrics["sentence_accuracy"].value == pytest.approx(30 / 31)


def test_types_the_model_does_not_know_are_counted() -> None:
    expected = [["B-TITLE", "I-TITLE", "B-ORG"], ["B-TITLE", "O", "O"]]
    predicted = [["O", "O", "B-ORG"], ["O", "O", "O"]]
    found = entity_report(expected, predicted, labels=("ORG", "PER"), samples=5)
    assert found.unknown_labels == {"TITLE": 2}
    assert found.metrics["recall"].value == pytest.approx(1 / 3)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["unknown_labels"]["TITLE"] == 2


def test_overlapping_spans_keep_the_earlier() -> None:
    spans = [EntitySpan("PER", 1, 3), EntitySpan("ORG", 0, 2), EntitySpan("LOC", 3, 9)]
    assert iob2_tags(spans, 4) == ["B-ORG", "I-ORG", "O", "B-LOC"]


@pytest.mark.parametrize(
    ("expected", "predicted", "message"),
    [
        ([], [], "no sentences"),
        ([["O"]], [], "0 tagged sentences for 1"),
        ([["O"], ["O", "O"]], [["O"], ["O"]], "sentence 1: 1 tags for 2 tokens"),
    ],
)
def test_what_does_not_pair_up_is_refused(
    expected: list[list[str]], predicted: list[list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        entity_report(expected, predicted)
