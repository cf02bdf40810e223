"""Classifiers: intent with out-of-scope, sentiment, topic, risk; one or several labels a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assistant.errors import InvalidInputError
from assistant.evaluation import classification_report, multilabel_report
from assistant.models.classifier import Classifier
from assistant.models.heads import HeadSpec
from assistant.models.plain import plain_text
from assistant.models.tokens import Tokenized, probabilities
from indexes.types import FloatArray
from training import continual, pseudo, records
from training.calibrating import rejection_threshold, sigmoid_temperature, softmax_temperature
from training.data.rows import Kind, LabelledText, Row
from training.failures import NOTHING, Outcome
from training.fitting import example, make_model, predict, train_heads
from training.job import Job, Metrics, Trained
from training.linear import start_head
from training.loop import Example
from training.losses import MultiLabel, SingleLabel, Teaching, balanced
from training.modeling import Loss, TunedModel
from training.recipe import Recipe
from training.sections import Head
from training.slips import Mistyped

KIND: Kind = "classify"
METRIC = "accuracy"
HEAD = "label"
_SAMPLE = 64
_TABLE_WEIGHT = 0.8


def default_metric(recipe: Recipe) -> str:
    """Return what gates and early stopping look at: F1 where a text may have several labels."""
    head = next(iter(recipe.heads.values()), Head())
    return "micro_f1" if head.multi_label else METRIC


def train(job: Job) -> Trained:
    """Train a head on the base by the recipe's way of tuning. Raises InvalidInputError."""
    replay = continual.replayed(job)
    head = make_head(replay.job)
    if job.recipe.pseudo.texts is None:
        result = train_once(replay.job, head)
    else:
        result = pseudo.train(replay.job, head, train_once, valid_score)
    return replace(result, notes=(*replay.notes, *result.notes))


def train_once(job: Job, head: HeadSpec) -> Trained:
    """Train on exactly the job's training rows."""
    if job.recipe.tuning.method in ("few_shot", "zero_shot"):
        # Both build on this module.
        from training import fewshot, zeroshot

        few = job.recipe.tuning.method == "few_shot"
        return fewshot.train(job, head) if few else zeroshot.train(job, head)
    return _train_in_loop(job, head)


def _train_in_loop(job: Job, head: HeadSpec) -> Trained:
    rows, valid = labelled(job.data.train), labelled(job.data.valid)
    loss = make_loss(job, head, rows, _teaching(job))
    examples = _examples(job, head, rows)
    model = make_model(job, [head], {head.name: loss}, dense=head_section(job).dense)
    start_head(job, model, head, head_section(job), examples)
    valid_items = tokenized(job, valid, head)
    pad = job.base.weights.vocabulary.pad

    def logits(fitted: TunedModel) -> FloatArray:
        found = predict(fitted, valid_items, head.name, pad, job.recipe.train)
        return np.stack(found) if found else np.zeros((0, len(head.labels)), np.float32)

    return train_heads(
        job,
        model,
        _mistyped(job, head, rows, examples),
        validate=(lambda fitted: scores(head, logits(fitted), valid)) if valid else None,
        metric=job.recipe.gate.metric or default_metric(job.recipe),
        finish=lambda fitted: [
            calibrated(
                head,
                logits(fitted),
                valid,
                head_section(job),
                calibrate=not job.recipe.records.synthetic,
            )
        ],
        sample=[row.text for row in (valid or rows)[:_SAMPLE]],
    )


def _examples(job: Job, head: HeadSpec, rows: Sequence[LabelledText]) -> list[Example]:
    """Return training rows, with a teacher's answers where the recipe asks for them."""
    if job.recipe.records.synthetic:
        return _of_records(job, head, rows)
    items = tokenized(job, rows, head)
    found = [
        example(item, labels=target)
        for item, target in zip(items, targets(head, rows), strict=True)
    ]
    old = continual.answers(job, items)
    if old is None:
        return found
    return [{**row, "teacher": own.tolist()} for row, own in zip(found, old, strict=True)]


def _mistyped(
    job: Job, head: HeadSpec, rows: Sequence[LabelledText], examples: Sequence[Example]
) -> Sequence[Example]:
    """Return the rows, a share of them with typing errors where the recipe asks for it."""
    if not job.recipe.train.slips:
        return examples
    tokenizer = job.base.model_tokenizer(job.recipe.train.max_tokens, head.pooling)
    texts = [plain_text(row.text) for row in rows]
    train = job.recipe.train
    return Mistyped(examples, texts, tokenizer.text, train.slips, job.recipe.recipe.seed)


def _of_records(job: Job, head: HeadSpec, rows: Sequence[LabelledText]) -> list[Example]:
    """Return rows and made-up records, each with what the table models say of it."""
    own, texts, shares = records.taught(
        rows, head.labels, job.recipe.records, job.recipe.recipe.seed
    )
    tokenizer = job.base.model_tokenizer(job.recipe.train.max_tokens, head.pooling)
    random = np.random.default_rng(job.recipe.recipe.seed)
    drawn = [int(random.choice(len(head.labels), p=share / share.sum())) for share in shares]
    items = [*tokenized(job, rows, head), *tokenizer.texts(texts)]
    labels = [*targets(head, rows), *drawn]
    return [
        example(item, labels=label, teacher=np.log(share).tolist())
        for item, label, share in zip(items, labels, [*own, *shares], strict=True)
    ]


def valid_score(job: Job, trained: Trained) -> float:
    """Return the gate's metric of a trained model on the validation rows, unrounded."""
    head = trained.tuned.heads[0]
    rows = labelled(job.data.valid)
    items = tokenized(job, rows, head)
    found: list[FloatArray] = []
    for start in range(0, len(items), _SAMPLE):
        outputs = trained.reference(items[start : start + _SAMPLE])
        found += [values[head.name][0] for values in outputs]
    return scores(head, np.stack(found), rows)[job.recipe.gate.metric or default_metric(job.recipe)]


def more_splits(job: Job) -> Mapping[str, Sequence[Row]]:
    """Return further rows to measure a version on: what an update must not forget."""
    old = continual.old_test(job)
    return {continual.OLD_TEST: old} if old else {}


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served classifier on labelled rows."""
    from assistant.models.loading import open_classifier

    with closing(open_classifier(job.settings, job.recipe.registry_task, str(model))) as served:
        return measured(served, labelled(rows), multi_label=head_section(job).multi_label)


def outcomes(model: Path, rows: Sequence[Row], job: Job) -> Iterator[Outcome]:
    """Yield what was right and what the served classifier says, of each label where there are
    several."""
    from assistant.models.loading import open_classifier

    wanted = labelled(rows)
    with closing(open_classifier(job.settings, job.recipe.registry_task, str(model))) as served:
        predictions = served.classify([row.text for row in wanted])
    several = head_section(job).multi_label
    for row, said in zip(wanted, predictions, strict=True):
        if not several:
            yield Outcome(row.labels[0], said.label, row.text)
            continue
        for label in row.labels:
            yield Outcome(label, label if label in said.labels else NOTHING, row.text)
        for label in said.labels:
            if label not in row.labels:
                yield Outcome(NOTHING, label, row.text)


def measured(served: Classifier, wanted: Sequence[LabelledText], *, multi_label: bool) -> Metrics:
    """Return the scores of a classifier on labelled texts."""
    predictions = served.classify([row.text for row in wanted])
    labels = served.head.labels
    given = np.array([[p.probabilities[label] for label in labels] for p in predictions])
    if multi_label:
        return multilabel_report(
            [row.labels for row in wanted],
            [p.labels for p in predictions],
            labels=labels,
            probabilities=given,
        ).metrics
    return classification_report(
        [row.labels[0] for row in wanted],
        [p.label for p in predictions],
        labels=labels,
        probabilities=given,
        reject=served.head.reject_label,
    ).metrics


def make_head(job: Job) -> HeadSpec:
    """Return the head for the labels of the training rows; a parent's labels keep their places.

    Raises InvalidInputError when there are fewer than two labels.
    """
    section, name = head_section(job), head_name(job)
    counts = Counter(label for row in labelled(job.data.train) for label in row.labels)
    earlier = job.base.parent.heads if job.base.parent else ()
    known = next((h.labels for h in earlier if h.name == name), ())
    labels = (*known, *sorted(set(counts) - set(known)))
    if len(labels) < (1 if section.multi_label else 2):
        raise InvalidInputError(
            f"The training rows have {len(labels)} label ({', '.join(labels) or 'none'}); a "
            "classifier needs at least 2. Check data.columns.label."
        )
    return HeadSpec(
        name=name,
        kind="sequence",
        labels=labels,
        activation="sigmoid" if section.multi_label else "softmax",
        pooling=section.pooling,
        threshold=section.reject_below or 0.5,
        reject_label=section.reject_label,
    )


def head_section(job: Job) -> Head:
    """Return the recipe's only head, or the default one."""
    return next(iter(job.recipe.heads.values()), Head())


def head_name(job: Job) -> str:
    """Return the name of the recipe's only head."""
    return next(iter(job.recipe.heads), HEAD)


def labelled(rows: Sequence[Row]) -> list[LabelledText]:
    """Return the rows that are labelled texts."""
    return [row for row in rows if isinstance(row, LabelledText)]


def tokenized(job: Job, rows: Sequence[LabelledText], head: HeadSpec) -> list[Tokenized]:
    """Return the rows' texts as they will be served."""
    tokenizer = job.base.model_tokenizer(job.recipe.train.max_tokens, head.pooling)
    return tokenizer.texts([plain_text(row.text) for row in rows])


def targets(head: HeadSpec, rows: Sequence[LabelledText]) -> list[object]:
    """Return what the loss expects of each row: a label's place, or a vector of 0 and 1."""
    places = {label: place for place, label in enumerate(head.labels)}
    if head.activation == "softmax":
        return [places[row.labels[0]] for row in rows]
    vectors = []
    for row in rows:
        vector = [0.0] * len(head.labels)
        for label in row.labels:
            vector[places[label]] = 1.0
        vectors.append(vector)
    return list(vectors)


def scores(head: HeadSpec, logits: FloatArray, rows: Sequence[LabelledText]) -> Mapping[str, float]:
    """Return accuracy and F1 of raw logits, for early stopping. Labels unseen count as wrong."""
    if head.activation == "sigmoid":
        given = [tuple(head.labels[i] for i in np.flatnonzero(row > 0)) for row in logits]
        report = multilabel_report(
            [row.labels for row in rows], given, labels=head.labels, samples=0
        )
    else:
        best = [head.labels[i] for i in logits.argmax(axis=1)]
        report = classification_report(
            [row.labels[0] for row in rows],
            best,
            labels=head.labels,
            probabilities=probabilities(head, logits),
            samples=0,
        )
    return {name: metric.value for name, metric in report.metrics.items()}


def calibrated(
    head: HeadSpec,
    logits: FloatArray,
    rows: Sequence[LabelledText],
    section: Head,
    *,
    calibrate: bool = True,
) -> HeadSpec:
    """Return the head with temperature, and what it rejects, set on rows it was not trained on.

    ``calibrate`` False leaves the temperature: the probabilities are a teacher's, which say more
    than a handful of validation rows.
    """
    places = {label: place for place, label in enumerate(head.labels)}
    known = [i for i, row in enumerate(rows) if set(row.labels) <= set(places)]
    if not known:
        return head
    own = logits[known]
    if head.activation == "sigmoid":
        truth = np.array(targets(head, [rows[i] for i in known]), dtype=np.float32)
        return replace(head, temperature=sigmoid_temperature(own, truth))
    labels: NDArray[np.int64] = np.array([places[rows[i].labels[0]] for i in known])
    if calibrate:
        head = replace(head, temperature=softmax_temperature(own, labels))
    if not head.reject_label or section.reject_below:
        return head
    shares = probabilities(head, own)
    in_scope = labels != places.get(head.reject_label, -1)
    right = shares.max(axis=1)[in_scope & (shares.argmax(axis=1) == labels)]
    return replace(head, threshold=rejection_threshold(right, section.reject_cost))


def _teaching(job: Job) -> Teaching:
    distil, continual = job.recipe.distil, job.recipe.continual
    if job.recipe.records.synthetic:
        return Teaching(_TABLE_WEIGHT, temperature=1.0)
    if distil.teacher:
        return Teaching(distil.alpha, distil.temperature)
    return Teaching(min(continual.distil, 1.0))


def make_loss(job: Job, head: HeadSpec, rows: Sequence[LabelledText], teaching: Teaching) -> Loss:
    """Return the loss of a head, its labels weighed as the recipe says."""
    counts = Counter(label for row in rows for label in row.labels)
    numbers = [counts[label] for label in head.labels]
    weighted = job.recipe.train.class_weights == "balanced"
    if head.activation == "softmax":
        weights = balanced(numbers) if weighted else None
        return SingleLabel(weights, job.recipe.train.label_smoothing, teaching)
    import torch

    rare = torch.tensor([min((len(rows) - n) / max(n, 1), 20.0) for n in numbers])
    return MultiLabel(rare.sqrt() if weighted else None, teaching)
