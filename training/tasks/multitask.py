"""Several heads on one encoder, so that intent, sentiment, topic and entities cost one pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import InvalidInputError
from assistant.evaluation import Metric
from assistant.models.classifier import Classifier
from assistant.models.heads import HeadSpec
from assistant.models.tagger import Tagger
from training import fitting, several, tagging
from training.data.pipeline import prepare as prepare_rows
from training.data.rows import Kind, Row, row_texts
from training.data.storage import Prepared
from training.job import Job, Metrics, Trained
from training.linear import start_head
from training.loop import Example
from training.losses import Teaching
from training.mixing import HeadBatches
from training.modeling import Loss, TunedModel
from training.recipe import Recipe
from training.reporting import Reporter
from training.sections import Head
from training.serving import refuse_label_methods, room
from training.tasks import classifier, tagger

KIND: Kind = "classify"
METRIC = "mean"
_SAMPLE = 32


@dataclass(frozen=True)
class _Part:
    """One head's share: ``job`` sees nothing but this head and its rows."""

    job: Job
    head: HeadSpec
    loss: Loss
    examples: Sequence[Example]
    scores: Callable[[TunedModel], Mapping[str, float]]
    calibrated: Callable[[TunedModel], HeadSpec]

    @property
    def section(self) -> Head:
        return next(iter(self.job.recipe.heads.values()))

    @property
    def metric(self) -> str:
        return main_metric(self.section)


def prepare(recipe: Recipe, folder: Path, reporter: Reporter) -> Prepared:
    """Return the rows of all heads; each head has its own table. Raises InvalidInputError."""
    if len(recipe.heads) < 2:
        raise InvalidInputError(
            f"A multi-task recipe needs at least two [heads.NAME] sections; {recipe.recipe.name} "
            f"has {len(recipe.heads)}. For one head take the classifier or the tagger."
        )
    poolings = {head.pooling for head in recipe.heads.values() if head.kind == "classify"}
    if len(poolings) > 1:
        raise InvalidInputError("Heads on one encoder must share their pooling, mean or first.")
    parts = {}
    for name, head in recipe.heads.items():
        if head.data is None:
            raise InvalidInputError(f"heads.{name} has no data: say [heads.{name}.data] train.")
        reporter.stage(f"preparing the rows of head {name}")
        parts[name] = prepare_rows(head.data, head.kind, folder / name)
    return several.together(parts, folder, recipe.recipe.seed)


def train(job: Job) -> Trained:
    """Train all heads and the encoder together by the recipe's way of tuning."""
    refuse_label_methods(job)
    parts = [_part(job, name, section) for name, section in job.recipe.heads.items()]
    model = fitting.make_model(
        job,
        [part.head for part in parts],
        {part.head.name: part.loss for part in parts},
        dense=True,
    )
    for part in parts:
        _shape(model, part)
        start_head(job, model, part.head, part.section, part.examples)
    examples = [row for part in parts for row in part.examples]
    sampler = _sampler(job, parts)
    valid = bool(job.data.valid)
    result = fitting.train_heads(
        job,
        model,
        examples,
        validate=(lambda fitted: _scores(fitted, parts)) if valid else None,
        metric=job.recipe.gate.metric or METRIC,
        finish=lambda fitted: [part.calibrated(fitted) for part in parts],
        sample=_sample(job),
        batches=_collate(job.base.weights.vocabulary.pad),
        sampler=lambda: sampler,
    )
    drawn = {
        f"batches_{part.head.name}": float(count)
        for part, count in zip(parts, sampler.batches, strict=True)
    }
    return replace(result, figures={**result.figures, **drawn})


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure every head of the served model on its own rows, and their mean.

    Metrics are named ``HEAD.METRIC``; ``mean`` is that of each head's main one (accuracy, F1).
    """
    from assistant.models.loading import model_from
    from assistant.models.registry import read_verified

    manifest = read_verified(model)
    found: dict[str, Metric] = {}
    mains = []
    with closing(model_from(model, manifest, job.settings)) as served:
        for name, section in job.recipe.heads.items():
            own = several.of_head(rows, name)
            if not own:
                continue
            if section.kind == "tag":
                metrics = tagger.measured(Tagger(served, name), tagging.tagged(own))
            else:
                metrics = classifier.measured(
                    Classifier(served, name),
                    classifier.labelled(own),
                    multi_label=section.multi_label,
                )
            mains.append(metrics[main_metric(section)])
            found |= {f"{name}.{metric}": value for metric, value in metrics.items()}
    if not mains:
        raise InvalidInputError("There are no rows to measure any head on.")
    return {"mean": mean_of(mains), **found}


def mean_of(metrics: Sequence[Metric]) -> Metric:
    """Return the mean of metrics measured on different rows; their errors add up in squares."""
    count = len(metrics)
    value = sum(m.value for m in metrics) / count
    below = math.sqrt(sum((m.value - m.low) ** 2 for m in metrics)) / count
    above = math.sqrt(sum((m.high - m.value) ** 2 for m in metrics)) / count
    return Metric(value, value - below, value + above, sum(m.n for m in metrics))


def main_metric(section: Head) -> str:
    """Return the metric a head is judged by."""
    if section.kind == "tag":
        return tagger.METRIC
    return "micro_f1" if section.multi_label else classifier.METRIC


def _part(job: Job, name: str, section: Head) -> _Part:
    data = replace(
        job.data,
        train=several.of_head(job.data.train, name),
        valid=several.of_head(job.data.valid, name),
        test=several.of_head(job.data.test, name),
    )
    recipe = job.recipe.model_copy(update={"heads": {name: section}})
    own = replace(job, recipe=recipe, data=data)
    return _tag_part(own, name) if section.kind == "tag" else _classify_part(own)


def _tag_part(job: Job, name: str) -> _Part:
    rows, valid = tagging.tagged(job.data.train), tagging.tagged(job.data.valid)
    head = tagging.make_head(name, rows)
    tokenizer = job.base.model_tokenizer(room(job))
    examples = tagging.examples(tokenizer, rows, head, mark=name)
    checks = tagging.examples(tokenizer, valid, head)
    return _Part(
        job,
        head,
        tagger.make_loss(job, examples, head),
        examples,
        lambda fitted: tagger.scores(fitted, head, valid, job),
        lambda fitted: tagger.calibrated(fitted, head, checks, job),
    )


def _classify_part(job: Job) -> _Part:
    head = classifier.make_head(job)
    rows, valid = classifier.labelled(job.data.train), classifier.labelled(job.data.valid)
    items = classifier.tokenized(job, rows, head)
    checks = classifier.tokenized(job, valid, head)
    pad = job.base.weights.vocabulary.pad

    def logits(fitted: TunedModel) -> Any:
        found = fitting.predict(fitted, checks, head.name, pad, job.recipe.train)
        return np.stack(found) if found else np.zeros((0, len(head.labels)), np.float32)

    examples = [
        fitting.example(item, labels=target, head=head.name)
        for item, target in zip(items, classifier.targets(head, rows), strict=True)
    ]
    return _Part(
        job,
        head,
        classifier.make_loss(job, head, rows, Teaching()),
        examples,
        lambda fitted: classifier.scores(head, logits(fitted), valid),
        lambda fitted: classifier.calibrated(
            head, logits(fitted), valid, classifier.head_section(job)
        ),
    )


def _shape(model: TunedModel, part: _Part) -> None:
    """Take the dense layer off a head that is to have none; one taken over keeps its shape."""
    if (
        not part.section.dense
        and f"head.{part.head.name}.out.w" not in part.job.base.weights.tensors
    ):
        module: Any = model.heads[part.head.name]
        module.dense = None


def _scores(model: TunedModel, parts: Sequence[_Part]) -> Mapping[str, float]:
    found: dict[str, float] = {}
    mains = []
    for part in parts:
        if not part.job.data.valid:
            continue
        own = part.scores(model)
        mains.append(own[part.metric])
        found |= {f"{part.head.name}.{name}": value for name, value in own.items()}
    return {"mean": sum(mains) / len(mains), **found}


def _sampler(job: Job, parts: Sequence[_Part]) -> HeadBatches:
    lengths = [len(row["input_ids"]) for part in parts for row in part.examples]
    return HeadBatches(
        [len(part.examples) for part in parts],
        [part.section.weight for part in parts],
        job.recipe.train.batch_size,
        job.recipe.recipe.seed,
        lengths if job.recipe.train.group_by_length else None,
    )


def _collate(pad: int) -> Callable[[list[Example]], dict[str, Any]]:
    texts, tokens = fitting.collate(pad), tagging.collate(pad)

    def batch(rows: list[Example]) -> dict[str, Any]:
        # Labels of a token head are an array, one a token.
        return (tokens if isinstance(rows[0]["labels"], np.ndarray) else texts)(rows)

    return batch


def _sample(job: Job) -> list[str]:
    rows = job.data.valid or job.data.train
    chosen = [row for name in job.recipe.heads for row in several.of_head(rows, name)[:_SAMPLE]]
    return [row_texts(row)[0] for row in chosen]
