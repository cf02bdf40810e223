"""Rerankers and pair matching: does a passage answer a question, do two questions mean the same.

Pairs with a label are learnt as they are. Pairs without one are known to match; what does not match
is then found by the encoder, and the model is measured by how it reorders the encoder's results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from assistant.errors import InvalidInputError
from assistant.evaluation import best_threshold, pair_metrics
from assistant.models.heads import HeadSpec
from assistant.models.plain import plain_pair
from assistant.models.reranker import Reranker
from assistant.models.tokens import probabilities
from indexes.types import FloatArray
from training.calibrating import sigmoid_temperature
from training.data.rows import Kind, Row, TextPair
from training.data.storage import Prepared
from training.failures import Outcome
from training.fitting import example, make_model, predict, train_heads
from training.job import Job, Metrics, Trained
from training.losses import MultiLabel
from training.modeling import TunedModel
from training.pairing import Candidates, Passages, pairs, rank_metrics, with_negatives
from training.sections import Head
from training.serving import refuse_label_methods, room

KIND: Kind = "pairs"
METRIC = "accuracy"
HEAD = "match"
_SAMPLE = 48
_MATCH = 0.5
_BELONG = ("apart", "together")
RERANKED = 20
"""How many of the encoder's passages a reranker orders when it is measured."""
# A look at the order in between, not the measure of the result.
_VALID_QUESTIONS, _VALID_TOP = 100, 10
_LAST: list[tuple[Prepared, Passages]] = []


@dataclass(frozen=True)
class _Checks:
    """What validation looks at: labelled pairs, and questions with what the encoder finds."""

    labelled: Sequence[TextPair]
    candidates: Sequence[Candidates]
    passages: Passages | None

    def reranked(self) -> list[tuple[str, str]]:
        """Return every question with each of its candidates."""
        return candidate_pairs(self.candidates, self.passages)


def train(job: Job) -> Trained:
    """Train one logit for "these match" by the recipe's way of tuning. Raises InvalidInputError."""
    refuse_label_methods(job)
    rows, valid = pairs(job.data.train), pairs(job.data.valid)
    passages = passages_of(job) if needs_search(rows) or needs_search(valid) else None
    labelled, checks = _labelled(job, rows, passages), _checks(job, valid, passages)
    _refuse_one_class(labelled)
    head = make_head(job)
    tokenizer = job.base.model_tokenizer(room(job), head.pooling)
    items = tokenizer.pairs([plain_pair(row.text_a, row.text_b) for row in labelled])
    examples = [
        example(item, labels=[float(row.label or 0)])
        for item, row in zip(items, labelled, strict=True)
    ]
    section = next(iter(job.recipe.heads.values()), Head())
    model = make_model(job, [head], {head.name: MultiLabel()}, dense=section.dense)
    watched = bool(checks.labelled)
    result = train_heads(
        job,
        model,
        examples,
        validate=(lambda fitted: scores(fitted, head, checks, job)) if watched else None,
        metric=_metric(job),
        finish=lambda fitted: [calibrated(fitted, head, checks, job)],
        sample=[(row.text_a, row.text_b) for row in (checks.labelled or labelled)[:_SAMPLE]],
    )
    mined = len(labelled) - len(rows)
    return replace(result, figures={**result.figures, "mined_negatives": mined})


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served model: labelled pairs as pairs, the others by the order of passages."""
    from assistant.models.loading import open_reranker

    own = pairs(rows)
    with closing(open_reranker(job.settings, str(model))) as served:
        passages = passages_of(job) if needs_search(own) else None
        return measured(served, own, passages)


def outcomes(model: Path, rows: Sequence[Row], job: Job) -> Iterator[Outcome]:
    """Yield what was right and what the served model says of each labelled pair."""
    from assistant.models.loading import open_reranker

    labelled = [row for row in pairs(rows) if row.label is not None]
    with closing(open_reranker(job.settings, str(model))) as served:
        given = served.score([(row.text_a, row.text_b) for row in labelled])
        said = (given >= served.head.threshold).tolist()
    for row, right, match in zip(labelled, truth_of(labelled), said, strict=True):
        text = f"{row.text_a} / {row.text_b}"
        yield Outcome(_BELONG[bool(right)], _BELONG[match], text)


def measured(served: Reranker, rows: Sequence[TextPair], passages: Passages | None) -> Metrics:
    """Return the scores of a reranker. Raises InvalidInputError without rows."""
    if not rows:
        raise InvalidInputError("There are no pairs to measure the reranker on.")
    found: dict[str, object] = {}
    labelled = [row for row in rows if row.label is not None]
    if labelled:
        given = served.score([(row.text_a, row.text_b) for row in labelled])
        found |= pair_metrics(truth_of(labelled), given, threshold=served.head.threshold)
    if passages is not None:
        asked = passages.candidates((row.text_a for row in rows if row.label is None), RERANKED)
        given = served.score(candidate_pairs(asked, passages))
        found |= rank_metrics(asked, _cut(given, asked))
    return found  # type: ignore[return-value]


def make_head(job: Job) -> HeadSpec:
    """Return the head: one label, its name and pooling as the recipe says."""
    name, section = next(iter(job.recipe.heads.items()), (HEAD, Head()))
    return HeadSpec(
        name=name,
        kind="sequence",
        labels=("match",),
        activation="sigmoid",
        pooling=section.pooling,
    )


def needs_search(rows: Sequence[TextPair]) -> bool:
    """Whether any pair has no label."""
    return any(row.label is None for row in rows)


def passages_of(job: Job) -> Passages:
    """Return the passages of all splits, searched with the encoder in use.

    Encoding them takes minutes and a run asks for them with each of its measurements: those of the
    last rows asked for are kept. Raises ModelError when there is no encoder.
    """
    from assistant.models.loading import load_encoder

    data = job.data
    if not (_LAST and _LAST[0][0] is data):
        known = [r for r in pairs([*data.train, *data.valid, *data.test]) if r.label is None]
        job.reporter.stage("searching for hard negatives with the encoder")
        windows = job.recipe.pairs.window_tokens
        _LAST[:] = [(data, Passages(load_encoder(job.settings), known, window_tokens=windows))]
    return _LAST[0][1]


def candidate_pairs(
    asked: Sequence[Candidates], passages: Passages | None
) -> list[tuple[str, str]]:
    """Return every question with each of its candidates, in order."""
    if passages is None:
        return []
    asked_of = [(c.question, place) for c in asked for place in c.found]
    texts = passages.read(asked_of)
    return [(question, text) for (question, _), text in zip(asked_of, texts, strict=True)]


def truth_of(rows: Sequence[TextPair]) -> list[int]:
    """Return 1 for pairs that match at least half, else 0."""
    return [int((row.label or 0) >= _MATCH) for row in rows]


def scores(model: TunedModel, head: HeadSpec, checks: _Checks, job: Job) -> Mapping[str, float]:
    """Return the scores of a reranker in training."""
    logits = _logits(model, head, [(row.text_a, row.text_b) for row in checks.labelled], job)
    chances = probabilities(head, logits)
    found = pair_metrics(truth_of(checks.labelled), chances, samples=0)
    values = {name: metric.value for name, metric in found.items()}
    if checks.candidates:
        own = _logits(model, head, checks.reranked(), job)
        ranks = rank_metrics(checks.candidates, _cut(own, checks.candidates))
        values |= {name: metric.value for name, metric in ranks.items()}
    return values


def calibrated(model: TunedModel, head: HeadSpec, checks: _Checks, job: Job) -> HeadSpec:
    """Return the head with temperature and threshold set on pairs not trained on."""
    truth = truth_of(checks.labelled)
    if len(set(truth)) < 2:
        return head
    logits = _logits(model, head, [(row.text_a, row.text_b) for row in checks.labelled], job)
    labels = np.array([row.label for row in checks.labelled], dtype=np.float32)
    head = replace(head, temperature=sigmoid_temperature(logits, labels))
    by = "f1" if _metric(job) == "f1" else "accuracy"
    threshold = best_threshold(truth, probabilities(head, logits), by)
    return replace(head, threshold=min(max(threshold, 0.0), 1.0))


def _metric(job: Job) -> str:
    return job.recipe.gate.metric or METRIC


def _labelled(job: Job, rows: Sequence[TextPair], passages: Passages | None) -> list[TextPair]:
    """Return the pairs, those without a label as positive ones beside their hard negatives."""
    labelled = [row for row in rows if row.label is not None]
    open_ones = [row for row in rows if row.label is None]
    if passages is None or not open_ones:
        return labelled
    settings = job.recipe.pairs
    return labelled + with_negatives(
        open_ones,
        passages,
        count=settings.negatives,
        top=settings.mine_top,
        seed=job.recipe.recipe.seed,
    )


def _checks(job: Job, valid: Sequence[TextPair], passages: Passages | None) -> _Checks:
    candidates: Sequence[Candidates] = ()
    if passages is not None:
        asked = [row.text_a for row in valid if row.label is None][:_VALID_QUESTIONS]
        candidates = passages.candidates(asked, _VALID_TOP)
    return _Checks(_labelled(job, valid, passages), candidates, passages)


def _refuse_one_class(rows: Sequence[TextPair]) -> None:
    counts = Counter(truth_of(rows))
    if len(counts) < 2:
        kind = "match" if counts[1] else "do not match"
        raise InvalidInputError(
            f"All {len(rows)} training pairs {kind}, so there is nothing to tell apart. Check "
            "data.columns.label, or leave labels out and set pairs.negatives above 0."
        )


def _logits(
    model: TunedModel, head: HeadSpec, texts: Sequence[tuple[str, str]], job: Job
) -> FloatArray:
    """Return the logit of each pair, float32 (pairs,)."""
    tokenizer = job.base.model_tokenizer(room(job), head.pooling)
    pad = job.base.weights.vocabulary.pad
    found = predict(
        model,
        tokenizer.pairs([plain_pair(*pair) for pair in texts]),
        head.name,
        pad,
        job.recipe.train,
    )
    return np.array([row[0] for row in found], dtype=np.float32)


def _cut(values: FloatArray, asked: Sequence[Candidates]) -> list[FloatArray]:
    """Return the values of each question's candidates."""
    ends = np.cumsum([len(c.found) for c in asked])
    return np.split(values, ends[:-1])
