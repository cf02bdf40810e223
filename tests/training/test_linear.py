"""A head starts from what the untuned encoder can tell already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import tiny_rows
from sklearn.linear_model import LogisticRegression

from assistant.models.heads import HeadSpec
from training import linear
from training.fitting import embed, make_model, predict
from training.job import Job
from training.linear import start_head
from training.reporting import Silent
from training.run import make_job
from training.sections import Head
from training.tasks import classifier


@pytest.fixture
def job(tmp_path: Path) -> Job:
    data = {"train": str(tiny.intent_csv(tmp_path / "t.csv")), "licence": "MIT"}
    recipe = tiny.recipe(
        tiny.base_folder(tmp_path / "base"), data={**data, "columns": {"label": "intent"}}
    )
    return make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")


def started(job: Job, head: HeadSpec, section: Head) -> tuple[Any, Any, Any]:
    """The model, the training rows as examples, and whether the head was started."""
    rows = classifier.labelled(job.data.train)
    loss = classifier.make_loss(job, head, rows, classifier._teaching(job))
    model = make_model(job, [head], {head.name: loss}, dense=section.dense)
    examples = classifier._examples(job, head, rows)
    return model, examples, start_head(job, model, head, section, examples)


def logits(job: Job, model: Any, head: HeadSpec, examples: Any) -> Any:
    pad = job.base.weights.vocabulary.pad
    return np.stack(predict(model, [e["item"] for e in examples], head.name, pad, job.recipe.train))


@pytest.mark.parametrize("normalise", [False, True])
def test_the_head_is_the_regression_on_the_vectors_it_will_read(job: Job, normalise: bool) -> None:
    head = replace(classifier.make_head(job), normalise=normalise)
    model, examples, done = started(job, head, Head())
    assert done
    pad = job.base.weights.vocabulary.pad
    vectors = embed(model, [e["item"] for e in examples], "mean", pad, job.recipe.train)
    if normalise:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    scale = np.sqrt(np.square(vectors).sum(axis=1).mean())
    truth = np.array([e["labels"] for e in examples])
    own = LogisticRegression(C=7.0, max_iter=1000).fit(vectors / scale, truth)
    found = logits(job, model, head, examples)
    shares = np.exp(found) / np.exp(found).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, own.predict_proba(vectors / scale), atol=5e-3)
    assert (found.argmax(axis=1) == truth).mean() > 0.9


def test_what_does_not_start_from_a_regression(job: Job) -> None:
    head = classifier.make_head(job)
    for section in (Head(start="random"), Head(dense=True)):
        model, examples, done = started(job, head, section)
        assert not done
        right = logits(job, model, head, examples).argmax(axis=1)
        assert (right == [e["labels"] for e in examples]).mean() < 0.8


def test_labels_that_no_row_looked_at_has_are_unlikely(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = classifier.make_head(job)
    wider = replace(head, labels=(*head.labels, "never"))
    model, examples, done = started(job, wider, Head())
    assert done
    assert "never" not in [wider.labels[i] for i in logits(job, model, wider, examples).argmax(1)]
    # One label alone among the rows looked at tells nothing.
    monkeypatch.setattr(linear, "_ROWS", 1)
    assert not started(job, head, Head())[2]


def test_several_labels_a_text(job: Job) -> None:
    rows = [
        replace(row, labels=(*row.labels, "card") if "card" in row.text else row.labels)
        for row in classifier.labelled(job.data.train)
    ]
    several = replace(job, data=replace(job.data, train=tuple(rows)))
    recipe = several.recipe.model_copy(update={"heads": {"label": Head(multi_label=True)}})
    several = replace(several, recipe=recipe)
    head = classifier.make_head(several)
    model, examples, done = started(several, head, recipe.heads["label"])
    assert done
    found = logits(several, model, head, examples) > 0
    wanted = np.array([e["labels"] for e in examples]) > 0
    assert (found == wanted).mean() > 0.85


def test_a_tagger_starts_from_its_tokens(tmp_path: Path) -> None:
    from training.tasks import tagger

    scores = {}
    for start in ("logistic", "random"):
        recipe = tiny.recipe(
            tiny.base_folder(tmp_path / "base"),
            "tagger",
            data={"train": str(tiny_rows.tagged(tmp_path / "t.jsonl")), "licence": "MIT"},
            heads={"tagger": {"kind": "tag", "start": start}},
            train={"max_steps": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9},
        )
        folder = tmp_path / start
        job = make_job(recipe, tiny.settings(tmp_path), Silent(), folder)
        trained = tagger.train(job)
        scores[start] = max(line["eval_f1"] for line in trained.history if "eval_f1" in line)
    assert scores["logistic"] > scores["random"] + 0.3


def test_new_labels_start_beside_the_old_ones_as_they_are() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 6)) * 2
    truth = np.arange(120) % 4
    vectors = (centres[truth] + random.normal(size=(120, 6)) * 0.6).astype(np.float32)
    own = LogisticRegression(C=3.0, max_iter=5000, tol=1e-9).fit(vectors, truth)
    kept = own.coef_[:2].astype(np.float32), own.intercept_[:2].astype(np.float32)
    weights, bias = linear.beside(vectors, truth, kept, 2, 3.0)
    np.testing.assert_array_equal(weights[:2], kept[0])
    np.testing.assert_array_equal(bias[:2], kept[1])
    # What is best for all together is best for the rest, the old ones given.
    np.testing.assert_allclose(weights[2:], own.coef_[2:], atol=2e-2)
    assert ((vectors @ weights.T + bias).argmax(1) == truth).mean() > 0.95
    # Without a row of the old labels the new ones are still told apart.
    only = truth >= 2
    weights, bias = linear.beside(vectors[only], truth[only], kept, 2, 3.0)
    assert ((vectors[only] @ weights.T + bias).argmax(1) == truth[only]).mean() > 0.95
