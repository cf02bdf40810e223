"""Taggers: companies, people, places, products, amounts and dates, in Chinese and English."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from assistant.errors import InvalidInputError
from assistant.evaluation import entity_report
from assistant.evaluation.sentences import tags_of_spans
from assistant.models.heads import HeadSpec
from assistant.models.tagger import Tagger
from training import tagging
from training.calibrating import softmax_temperature
from training.data.rows import Kind, Row, TaggedText
from training.failures import Outcome, span_outcomes
from training.fitting import make_model, predict, train_heads
from training.job import Job, Metrics, Trained
from training.linear import start_head
from training.loop import Example
from training.losses import balanced
from training.modeling import TunedModel
from training.sections import Head
from training.serving import headed, refuse_label_methods, room
from training.token_losses import TokenLabels

KIND: Kind = "tag"
METRIC = "f1"
HEAD = "tagger"
_SAMPLE = 64
_CALIBRATION_TOKENS = 50_000


def train(job: Job) -> Trained:
    """Train a token head on the base by the recipe's way of tuning. Raises InvalidInputError."""
    refuse_label_methods(job)
    rows, valid = tagging.tagged(job.data.train), tagging.tagged(job.data.valid)
    head = tagging.make_head(_name(job), rows, _parent_labels(job))
    tokenizer = job.base.model_tokenizer(room(job))
    examples = tagging.examples(tokenizer, rows, head)
    checks = tagging.examples(tokenizer, valid, head)
    losses = {head.name: make_loss(job, examples, head)}
    section = next(iter(job.recipe.heads.values()), Head())
    model = make_model(job, [head], losses, dense=section.dense)
    start_head(job, model, head, section, examples)
    result = train_heads(
        job,
        model,
        examples,
        validate=(lambda fitted: scores(fitted, head, valid, job)) if valid else None,
        metric=job.recipe.gate.metric or METRIC,
        finish=lambda fitted: [calibrated(fitted, head, checks, job)],
        sample=[row.text for row in (valid or rows)[:_SAMPLE]],
        batches=tagging.collate(job.base.weights.vocabulary.pad),
    )
    return _with_ceiling(result, tagging.ceiling(tokenizer, valid or rows, head))


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served tagger on raw texts; its entities are counted over the rows' tokens."""
    from assistant.models.loading import open_tagger

    with closing(open_tagger(job.settings, str(model))) as served:
        return measured(served, tagging.tagged(rows))


def outcomes(model: Path, rows: Sequence[Row], job: Job) -> Iterator[Outcome]:
    """Yield what was right and what the served tagger says of each entity."""
    from assistant.models.loading import open_tagger

    wanted = tagging.tagged(rows)
    with closing(open_tagger(job.settings, str(model))) as served:
        found = served.tag([row.text for row in wanted])
    for row, entities in zip(wanted, found, strict=True):
        said = tagging.spans_of(entities)
        yield from span_outcomes(row.text, tagging.character_spans(row), said)


def measured(served: Tagger, rows: Sequence[TaggedText]) -> Metrics:
    """Return entity and token scores of a tagger. Types it cannot give count as missed.

    Raises InvalidInputError without rows.
    """
    if not rows:
        raise InvalidInputError("There are no tagged rows to measure the tagger on.")
    found = served.tag([row.text for row in rows])
    predicted = [
        tags_of_spans(tagging.spans_of(entities), row.offsets)
        for row, entities in zip(rows, found, strict=True)
    ]
    types = list(tagging.known_types(served.head))
    return entity_report([row.tags for row in rows], predicted, labels=types).metrics


def make_loss(job: Job, examples: Sequence[Example], head: HeadSpec) -> TokenLabels:
    """Return the loss of a tagger. Balanced weights are taken by their square root.

    Nearly all tokens are O; in full, the weights would make every doubtful token an entity.
    """
    smoothing = job.recipe.train.label_smoothing
    if job.recipe.train.class_weights != "balanced":
        return TokenLabels(smoothing=smoothing)
    return TokenLabels(balanced(tagging.counts(examples, head)).sqrt(), smoothing)


def scores(
    model: TunedModel, head: HeadSpec, rows: Sequence[TaggedText], job: Job
) -> Mapping[str, float]:
    """Return the scores of a tagger in training, decoded as when served."""
    with closing(Tagger(headed(model, head, job))) as served:
        found = [tagging.spans_of(entities) for entities in served.tag([r.text for r in rows])]
    result = tagging.micro_scores([tagging.character_spans(row) for row in rows], found)
    return {"precision": result.precision, "recall": result.recall, "f1": result.f1}


def calibrated(model: TunedModel, head: HeadSpec, checks: Sequence[Example], job: Job) -> HeadSpec:
    """Return the head with its temperature set on the tokens of rows not trained on."""
    if not checks:
        return head
    pad = job.base.weights.vocabulary.pad
    found = predict(model, [row["item"] for row in checks], head.name, pad, job.recipe.train)
    labels = np.concatenate([row["labels"] for row in checks])
    own = np.flatnonzero(labels != tagging.IGNORED)[:_CALIBRATION_TOKENS]
    temperature = softmax_temperature(np.concatenate(found)[own], labels[own])
    return replace(head, temperature=temperature)


def _name(job: Job) -> str:
    return next(iter(job.recipe.heads), HEAD)


def _parent_labels(job: Job) -> tuple[str, ...]:
    heads = job.base.parent.heads if job.base.parent else ()
    return next((h.labels for h in heads if h.name == _name(job) and h.kind == "token"), ())


def _with_ceiling(result: Trained, best: tagging.Scores) -> Trained:
    notes = list(result.notes)
    if best.f1 < 1:
        notes.append(
            f"Entities that begin or end inside a sub-token bound F1 at {best.f1:.4f} "
            "on the validation rows."
        )
    return replace(
        result, notes=notes, figures={**result.figures, "reachable_f1": round(best.f1, 5)}
    )
