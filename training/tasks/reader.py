"""Readers: the answer to a question word for word out of a passage, or that it is not there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from assistant.errors import InvalidInputError
from assistant.evaluation import f1_score, reading_report
from assistant.evaluation.reading import best_no_answer
from assistant.models.heads import HeadSpec
from assistant.models.reader import Reader, Reading
from indexes.types import Language
from training import reading
from training.calibrating import sigmoid_temperature
from training.data.ledger import Ledger
from training.data.readers import find_sources, read_source
from training.data.rows import Kind, PlainText, ReadingExample, Row
from training.data.spec import DataSpec
from training.failures import NOTHING, Outcome
from training.fitting import make_model, train_heads
from training.job import Job, Metrics, Trained
from training.modeling import TunedModel
from training.serving import headed, refuse_label_methods, room
from training.table_questions import made_questions
from training.token_losses import SpanEnds

KIND: Kind = "read"
METRIC = "f1"
HEAD = "reader"
_SAMPLE = 32
# Scores are read back from probabilities; at this temperature none of them rounds to 0 or 1.
_SOFT = 16.0


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a reader says: the best span of each question whatever its score, and the score of
    the span over "no answer", float (rows,)."""

    spans: tuple[str, ...]
    scores: NDArray[np.float64]


def train(job: Job) -> Trained:
    """Train start and end of answers by the recipe's way of tuning. Raises InvalidInputError."""
    refuse_label_methods(job)
    settings, seed = job.recipe.reading, job.recipe.recipe.seed
    own, valid = reading.questions(job.data.train), reading.questions(job.data.valid)
    if not any(row.answers for row in own):
        raise InvalidInputError(
            f"None of the {len(own)} training questions has an answer in its context, so there is "
            "nothing to learn. Check data.columns.answers."
        )
    elsewhere = reading.elsewhere(own, settings.elsewhere, seed)
    cloze = reading.cloze(_documents(job), settings.cloze_questions, seed)
    tables = made_questions(settings.table_questions, seed)
    tokenizer = job.base.model_tokenizer(room(job))
    made = reading.windows(
        tokenizer, [*own, *elsewhere, *cloze, *tables], settings.stride, settings.answer_tokens
    )
    head = HeadSpec(name=HEAD, kind="token", labels=("start", "end"))
    model = make_model(job, [head], {HEAD: SpanEnds()}, dense=False)
    result = train_heads(
        job,
        model,
        made.examples,
        validate=(lambda fitted: scores(fitted, head, valid, job)) if valid else None,
        metric=job.recipe.gate.metric or METRIC,
        finish=lambda fitted: [calibrated(fitted, head, valid, job)],
        sample=[(row.question, row.context) for row in (valid or own)[:_SAMPLE]],
        batches=reading.collate(job.base.weights.vocabulary.pad),
    )
    extra = {
        "cloze_questions": len(cloze),
        "elsewhere_questions": len(elsewhere),
        "table_questions": len(tables),
    }
    return replace(
        result, notes=[*result.notes, *_notes(made, valid)], figures={**result.figures, **extra}
    )


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served reader: exact match and F1, by language where there are both."""
    from assistant.models.loading import open_reader

    with closing(open_reader(job.settings, str(model))) as served:
        return measured(served, reading.questions(rows))


def outcomes(model: Path, rows: Sequence[Row], job: Job) -> Iterator[Outcome]:
    """Yield what was right and what the served reader does with each question."""
    from assistant.models.loading import open_reader

    wanted = reading.questions(rows)
    with closing(open_reader(job.settings, str(model))) as served:
        found = served.read_pairs([(row.question, row.context) for row in wanted])
    for row, said in zip(wanted, found, strict=True):
        answers = [answer.text for answer in row.answers]
        right = "the answer" if answers else NOTHING
        share = f1_score(said.text, answers, reading.language_of(row)) if answers else 0.0
        if said.no_answer:
            told = NOTHING
        elif share == 1:
            told = right
        else:
            told = "the answer, cut otherwise" if share else "other words"
        yield Outcome(right, told, row.question)


def measured(served: Reader, rows: Sequence[ReadingExample]) -> Metrics:
    """Return the scores of a reader. Raises InvalidInputError without rows."""
    if not rows:
        raise InvalidInputError("There are no questions to measure the reader on.")
    found = served.read_pairs([(row.question, row.context) for row in rows])
    languages = [reading.language_of(row) for row in rows]
    metrics = dict(_report(found, rows, languages))
    for language in sorted(set(languages)) if len(set(languages)) > 1 else ():
        places = [i for i, other in enumerate(languages) if other == language]
        own = _report(
            [found[i] for i in places], [rows[i] for i in places], [language] * len(places)
        )
        metrics |= {f"{name}_{language}": metric for name, metric in own.items()}
    return metrics


def scores(
    model: TunedModel, head: HeadSpec, rows: Sequence[ReadingExample], job: Job
) -> Mapping[str, float]:
    """Return the scores of a reader in training at its best threshold, read as when served."""
    found = _answers(model, head, rows, job)
    f1 = _f1(found, rows)
    answerable = np.array([bool(row.answers) for row in rows])
    best = (
        float(f1.mean()) if answerable.all() else best_no_answer(f1, answerable, -found.scores)[1]
    )
    return {"f1": best, "has_answer_f1": float(f1[answerable].mean()) if answerable.any() else 0.0}


def calibrated(
    model: TunedModel, head: HeadSpec, rows: Sequence[ReadingExample], job: Job
) -> HeadSpec:
    """Return the head with the temperature and threshold that suit rows not trained on.

    Without questions that lack an answer there is nothing to choose by: it always answers.
    """
    answerable = np.array([bool(row.answers) for row in rows])
    if not len(rows) or answerable.all():
        return replace(head, threshold=0.0)
    found = _answers(model, head, rows, job)
    highest, _ = best_no_answer(_f1(found, rows), answerable, -found.scores)
    temperature = sigmoid_temperature(
        found.scores.astype(np.float32), answerable.astype(np.float32)
    )
    return replace(head, temperature=temperature, threshold=_sigmoid(-highest / temperature))


def _answers(
    model: TunedModel, head: HeadSpec, rows: Sequence[ReadingExample], job: Job
) -> _Answers:
    soft = replace(head, temperature=_SOFT, threshold=0.0)
    with closing(Reader(headed(model, soft, job))) as served:
        found = served.read_pairs([(row.question, row.context) for row in rows])
    odds = [_SOFT * _logit(answer.probability) for answer in found]
    return _Answers(tuple(answer.text for answer in found), np.array(odds, dtype=np.float64))


def _f1(found: _Answers, rows: Sequence[ReadingExample]) -> NDArray[np.float64]:
    return np.array(
        [
            f1_score(span, [a.text for a in row.answers], reading.language_of(row))
            for span, row in zip(found.spans, rows, strict=True)
        ]
    )


def _report(
    found: Sequence[Reading],
    rows: Sequence[ReadingExample],
    languages: Sequence[Language] | Language,
) -> Metrics:
    return reading_report(
        ["" if answer.no_answer else answer.text for answer in found],
        [[a.text for a in row.answers] for row in rows],
        languages=languages,
    ).metrics


def _documents(job: Job) -> list[PlainText]:
    """Return the documents to make cloze questions of."""
    settings, data = job.recipe.reading, job.recipe.data
    if not (settings.cloze and settings.cloze_questions and data):
        return []
    spec = DataSpec(root=data.root, train=settings.cloze)
    with Ledger(job.folder / "cloze-rejected.jsonl") as ledger:
        rows = [
            row
            for source in find_sources(spec.train, "text", spec)
            for row in read_source(source, "text", ledger)
        ]
    return [row for row in rows if isinstance(row, PlainText)]


def _notes(made: reading.Windows, valid: Sequence[ReadingExample]) -> list[str]:
    notes = []
    if made.missing:
        notes.append(f"{made.missing} training questions left out: their context lacks the answer.")
    if made.long:
        notes.append(f"{made.long} training questions left out: answer over reading.answer_tokens.")
    if valid and all(row.answers for row in valid):
        notes.append("Every validation question has an answer, so the reader always answers.")
    return notes


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-min(max(value, -60.0), 60.0)))


def _logit(probability: float) -> float:
    tiny = 1e-15
    bounded = min(max(probability, tiny), 1 - tiny)
    return math.log(bounded / (1 - bounded))
