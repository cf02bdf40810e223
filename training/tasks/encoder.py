"""Encoders for retrieval and FAQ matching: trained on pairs of texts that belong together.

Pairs are tickets and their answers, paraphrases, questions and passages, Chinese and English. A
pair labelled 0 is a hard negative; others are mined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tokenizers import Tokenizer

from assistant.errors import InvalidInputError
from assistant.models.encoder import Encoder
from assistant.models.loading import thread_count
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE, read_verified
from assistant.models.session import open_backend
from assistant.models.tokens import Tokenized
from assistant.settings import Settings
from indexes.types import FloatArray
from training import contrast, distilling
from training.data.rows import Kind, Row, TextPair
from training.fitting import train_heads
from training.job import Job, Metrics, Trained
from training.modeling import TunedModel
from training.pair_rows import PairTexts, make_examples, pairs_of, sample_texts
from training.ranking import pair_scores
from training.teachers import served_folder

KIND: Kind = "pairs"
METRIC = "mrr_at_10"
_METHODS = ("full", "top_layers", "lora", "adalora", "prompt")


def train(job: Job) -> Trained:
    """Train the base on pairs by the recipe's way of tuning. Raises InvalidInputError.

    ``figures`` tell what the base reaches before: on validation pairs as it is trained, on test
    pairs as it is served, in int8.
    """
    _check_method(job)
    pairs, valid = pairs_of(job.data.train), pairs_of(job.data.valid)
    model = distilling.pair_student(job) if job.recipe.distil.teacher else contrast.pair_model(job)
    scores, metric = _Scores(job, valid), job.recipe.gate.metric or METRIC
    before = scores(model) if valid else {}
    if valid and metric not in before:
        raise InvalidInputError(
            f"gate.metric is {metric}; the validation pairs tell {', '.join(before)}."
        )
    examples = make_examples(job, pairs, lambda items: scores.encode(model.miner, items))
    done = train_heads(
        job,
        model,
        [pair.example() for pair in examples],
        validate=scores if valid else None,
        metric=metric,
        finish=lambda _: (),
        sample=sample_texts(valid or pairs),
        batches=contrast.collate(job.base.weights.vocabulary.pad),
    )
    return replace(
        done,
        # Whatever the length of the pairs, it serves texts as long as its base takes.
        tuned=replace(done.tuned, max_tokens=job.base.weights.shape.max_positions),
        figures={
            **{f"valid_{name}_before": value for name, value in before.items()},
            **_served_before(job),
        },
    )


class _Scores:
    """Measures a model on validation pairs as it is in training."""

    def __init__(self, job: Job, pairs: Sequence[TextPair]) -> None:
        self._job, self._pairs, self._texts = job, pairs, PairTexts(job)

    def __call__(self, model: TunedModel) -> Mapping[str, float]:
        found = pair_scores(
            self._pairs,
            lambda wanted: self.encode(model, self._texts.queries(wanted)),
            lambda wanted: self.encode(model, self._texts.passages(wanted)),
            samples=0,
        )
        return {name: metric.value for name, metric in found.items()}

    def encode(self, model: TunedModel, items: Sequence[Tokenized]) -> FloatArray:
        """Return unit vectors of texts, in the precision of training."""
        pad = self._job.base.weights.vocabulary.pad
        return contrast.encode(model, items, pad, self._job.recipe.train)


def _check_method(job: Job) -> None:
    if job.recipe.tuning.method not in _METHODS:
        raise InvalidInputError(
            f"tuning.method is {job.recipe.tuning.method}, which is for classifiers; an encoder "
            f"is tuned by one of {', '.join(_METHODS)}."
        )


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served encoder on pairs: each query looks for its text among all ``text_b``."""
    with closing(served_encoder(model, job.settings)) as encoder:
        symmetric = job.recipe.contrast.symmetric
        passages = encoder.encode_queries if symmetric else encoder.encode_passages
        return pair_scores(pairs_of(rows), encoder.encode_queries, passages)


def _served_before(job: Job) -> Mapping[str, float]:
    """Return the test metrics of the base as it is served; of a student, its teacher tells."""
    if job.recipe.distil.teacher or not job.data.test:
        return {}
    job.reporter.stage(f"measuring the base on {len(job.data.test)} rows")
    found = evaluate(served_folder(job.base, job), job.data.test, job)
    return {f"test_{name}_before": metric.value for name, metric in found.items()}


def served_encoder(folder: Path, settings: Settings) -> Encoder:
    """Open the encoder built in ``folder`` on the CPU, as it is served; ModelError if damaged."""
    manifest = read_verified(folder)
    threads = thread_count(settings)
    return Encoder(
        manifest,
        Tokenizer.from_file(str(folder / TOKENIZER_FILE)),
        open_backend(folder / MODEL_FILE, "cpu", threads),
        threads=threads,
    )
