"""Semi-supervised training: texts without labels that the model is sure of join the training rows.

Self-training (Scudder 1965; for deep models Lee 2013, "Pseudo-Label"): train, label, keep what is
sure by calibrated probabilities, at most so many of a label that the frequent ones do not take
over, and train again from the base. Validation rows decide whether it helped; test rows are never
looked at, and texts that stand in either are left out.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from assistant.errors import InvalidInputError
from assistant.models.heads import HeadSpec
from assistant.models.session import Outputs
from assistant.models.tokens import ModelTokenizer, probabilities
from training.data.pipeline import prepare
from training.data.rows import LabelledText, PlainText
from training.data.spec import DataSpec
from training.extra_rows import held_out, with_rows, without_leaks
from training.job import Job, Trained

_AT_ONCE = 64
Train = Callable[[Job, HeadSpec], Trained]
Validate = Callable[[Job, Trained], float]


@dataclass(frozen=True, slots=True)
class Sure:
    """A text the model is sure of, with the labels it gives and the least of its certainties."""

    text: str
    labels: tuple[str, ...]
    confidence: float


def train(job: Job, head: HeadSpec, train_once: Train, validate: Validate) -> Trained:
    """Train with ``train_once`` in rounds; return the best by ``validate`` on validation rows.

    Raises InvalidInputError without validation rows or without a single usable text.
    """
    if not job.data.valid:
        raise InvalidInputError("pseudo needs validation rows, to tell whether it helps.")
    texts, dropped = unlabelled(job)
    notes = [f"{len(texts)} texts without labels; {dropped} left out that stand in held-out rows"]
    best = train_once(replace(job, folder=job.folder / "round-0"), head)
    score = first = validate(job, best)
    notes.append(f"labelled rows alone: {first:.4f} on valid")
    teacher, seconds = best, best.seconds
    for number in range(1, job.recipe.pseudo.rounds + 1):
        job.reporter.stage(f"labelling {len(texts)} texts, round {number}")
        sure = chosen(confident(job, teacher, texts), balanced=head.activation == "softmax")
        notes.append(f"round {number}: {len(sure)} texts joined, of {_labels(sure)} labels")
        if not sure:
            break
        rows = [LabelledText(one.text, one.labels, source="pseudo") for one in sure]
        own = [row for row in job.data.train if isinstance(row, LabelledText)]
        folder = job.folder / f"round-{number}"
        teacher = train_once(replace(with_rows(job, [*own, *rows]), folder=folder), head)
        seconds += teacher.seconds
        reached = validate(job, teacher)
        notes[-1] += f": {reached:.4f} on valid ({reached - first:+.4f})"
        if reached > score:
            best, score = teacher, reached
    notes.append(
        f"the texts gained {score - first:+.4f} on valid"
        if score > first
        else "the texts gained nothing on valid; the model is that of the labelled rows alone"
    )
    figures = {**best.figures, "pseudo_gain_on_valid": score - first}
    return replace(best, seconds=seconds, notes=(*best.notes, *notes), figures=figures)


def unlabelled(job: Job) -> tuple[list[PlainText], int]:
    """Return the texts of ``pseudo.texts``, and how many were left out as they are held out or
    stand in the training rows already."""
    spec = job.recipe.pseudo.texts
    if spec is None:
        raise InvalidInputError("pseudo.texts names no texts.")
    whole = {"split": {**spec.split.model_dump(), "valid": 0.0, "test": 0.0}}
    spec = DataSpec.model_validate({**spec.model_dump(), **whole})
    found = prepare(spec, "text", job.folder / "texts")
    rows = [row for row in found.train if isinstance(row, PlainText)]
    return without_leaks(rows, {**held_out(job), "train rows": job.data.train}, spec)


def confident(job: Job, trained: Trained, texts: Sequence[PlainText]) -> list[Sure]:
    """Return the texts whose label the model is sure of, by its calibrated probabilities.

    A multi-label head must be sure of every label, that it holds or that it does not.
    """
    head = next(head for head in trained.tuned.heads if head.kind == "sequence")
    tokenizer = job.base.model_tokenizer(trained.tuned.max_tokens, head.pooling)
    least = job.recipe.pseudo.confidence
    found = []
    order = sorted(texts, key=lambda row: len(row.text))
    for start in range(0, len(order), _AT_ONCE):
        part = order[start : start + _AT_ONCE]
        for row, values in zip(part, _shares(trained, tokenizer, head, part), strict=True):
            sure = sure_of(row.text, values, head, least)
            if sure is not None:
                found.append(sure)
    return found


def chosen(sure: Sequence[Sure], *, balanced: bool = True) -> list[Sure]:
    """Return the surest of each label, at most as many as the median label has.

    Without ``balanced`` all are returned: labels of a multi-label set are not a choice of one.
    """
    if not balanced:
        return list(sure)
    by_label: dict[str, list[Sure]] = defaultdict(list)
    for one in sorted(sure, key=lambda one: (-one.confidence, one.text)):
        by_label[one.labels[0]].append(one)
    if not by_label:
        return []
    most = math.ceil(statistics.median(len(found) for found in by_label.values()))
    return [one for label in sorted(by_label) for one in by_label[label][:most]]


def _shares(
    trained: Trained, tokenizer: ModelTokenizer, head: HeadSpec, rows: Sequence[PlainText]
) -> Sequence[Mapping[str, float]]:
    outputs: list[Outputs] = trained.reference(tokenizer.texts([row.text for row in rows]))
    logits = np.stack([values[head.name][0] for values in outputs])
    return [
        dict(zip(head.labels, row.tolist(), strict=True)) for row in probabilities(head, logits)
    ]


def sure_of(text: str, shares: Mapping[str, float], head: HeadSpec, least: float) -> Sure | None:
    """Return the text with the labels it gets, or None below ``least``."""
    if head.activation == "softmax":
        label = max(shares, key=lambda name: shares[name])
        return Sure(text, (label,), shares[label]) if shares[label] >= least else None
    certainty = min(max(share, 1 - share) for share in shares.values())
    labels = tuple(label for label, share in shares.items() if share >= least)
    return Sure(text, labels, certainty) if certainty >= least else None


def _labels(sure: Sequence[Sure]) -> int:
    return len({label for one in sure for label in one.labels})
