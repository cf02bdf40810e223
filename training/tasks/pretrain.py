"""Domain pre-training: an encoder reads the company's own text and learns to fill in words.

What comes out is a base: other recipes start from it with ``base.model = "registry:base/NAME"``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from assistant.errors import InvalidInputError
from assistant.evaluation import bootstrap_all
from assistant.evaluation.scores import ratio_statistic
from assistant.models.build.tuned import TUNED_FILE, apply, read_tuned
from assistant.models.build.tuned_build import build_tuned
from assistant.models.loading import thread_count
from assistant.models.registry import MODEL_FILE
from assistant.models.session import CpuBackend, Tokens
from indexes.types import FloatArray
from training import tuning
from training.data.rows import Kind, PlainText, Row
from training.export import save_tuned
from training.fitting import trained, tuned_weights
from training.job import Job, Metrics, Trained
from training.loop import Fitted, fit, total_steps, uses_bf16
from training.mlm import (
    Block,
    Ints,
    MaskedModel,
    Masker,
    MaskHead,
    collate,
    judge,
    make_blocks,
    masked_batch,
    places,
    word_bias,
)
from training.recipe import with_changes

KIND: Kind = "text"
METRIC = "masked_accuracy"
_METHODS = ("full", "top_layers", "lora", "adalora")
_HEAD_SHARE = 0.5
_HEAD_RATE = 1e-3
_SAMPLE = 64
_SEED = 7


def train(job: Job) -> Trained:
    """Fit the head to the base as it is, then both together. Raises InvalidInputError.

    ``figures`` tell what the base reached before, in int8, with its fitted head: what pre-training
    is to be compared with. A base that brings its head goes on from it.
    """
    _check(job)
    blocks = blocks_of(job, job.data.train)
    if not blocks:
        raise InvalidInputError("There is no text to learn from; look at the data card.")
    torch.manual_seed(job.recipe.recipe.seed)
    model = MaskedModel(job.base.weights, dropout=job.recipe.train.dropout)
    if not model.mlm.load(job.base.weights.tensors):
        _fit_head(job, model, blocks)
    before = measured_before(job, model)
    fitted = _fit(job, model, blocks)
    tensors = {**tuning.tensors(model, job.base.weights), **model.mlm.tensors()}
    tuning.merge(model)
    model.eval()
    sample = [row.text[:400] for row in texts_of(job.data.valid or job.data.train)[:_SAMPLE]]
    done = trained(job, model, tensors, (), fitted=fitted, sample=sample)
    longest = job.base.weights.shape.max_positions
    return replace(done, tuned=replace(done.tuned, max_tokens=longest), figures=before)


def evaluate(model: Path, rows: Sequence[Row], job: Job) -> Metrics:
    """Measure the served encoder's vectors at masked places of held-out text.

    ``masked_accuracy``: the share of masked pieces found first of all pieces; ``masked_loss``: mean
    cross entropy in nats. The vectors are the built model's, each masked place pooled on its own;
    the version's head, in fp32, turns them into words. Intervals are over blocks of text.
    """
    head, table = _head_beside(model, job)
    blocks = blocks_of(job, rows)
    hits, losses, counts = _judged(job, blocks, _served(model, job), head, table)
    return bootstrap_all(
        {
            "masked_accuracy": ratio_statistic(hits, counts),
            "masked_loss": ratio_statistic(losses, counts),
        },
        len(blocks),
    )


def texts_of(rows: Sequence[Row]) -> list[PlainText]:
    """Return the rows that are plain texts."""
    return [row for row in rows if isinstance(row, PlainText)]


def blocks_of(job: Job, rows: Sequence[Row]) -> list[Block]:
    """Return the rows' texts in blocks of the recipe's length."""
    limit = min(job.recipe.pretrain.block_tokens, job.base.weights.shape.max_positions)
    return make_blocks([row.text for row in texts_of(rows)], job.base.tokenizer, limit)


def measured_before(job: Job, model: MaskedModel) -> Mapping[str, float]:
    """Return the metrics of the base with its head as fitted so far, through int8."""
    rows = job.data.test or job.data.valid
    if not rows:
        return {}
    job.reporter.stage(f"measuring the base on {len(rows)} rows")
    folder = job.folder / "before"
    shutil.rmtree(folder, ignore_errors=True)
    tuned = tuned_weights(job, model.mlm.tensors(), ())
    build_tuned(tuned, job.base.original, folder / "int8")
    save_tuned(tuned, folder / TUNED_FILE)
    found = evaluate(folder / "int8", rows, job)
    shutil.rmtree(folder)
    split = "test" if job.data.test else "valid"
    return {f"{split}_{name}_before": metric.value for name, metric in found.items()}


def _check(job: Job) -> None:
    method, metric = job.recipe.tuning.method, job.recipe.gate.metric
    if method not in _METHODS:
        raise InvalidInputError(
            f"tuning.method is {method}; pre-training changes the encoder itself: "
            f"{', '.join(_METHODS)}."
        )
    if metric not in ("", METRIC):
        raise InvalidInputError(f"gate.metric is {metric!r}; pre-training is judged by {METRIC}.")


def _fit_head(job: Job, model: MaskedModel, blocks: Sequence[Block]) -> None:
    """Train the head alone: what it says then is what the base knows already."""
    job.reporter.stage("fitting a head to the base as it is")
    model.mlm.bias.data.copy_(word_bias(blocks, len(model.mlm.bias)))
    steps = max(1, round(_HEAD_SHARE * total_steps(job.recipe.train, len(blocks))))
    recipe = with_changes(
        job.recipe,
        {"train.max_steps": steps, "train.learning_rate": _HEAD_RATE, "train.evaluations": 0},
    )
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    folder = job.folder / "head"
    folder.mkdir(parents=True, exist_ok=True)
    masker = Masker(job.base.weights.vocabulary, recipe.pretrain.mask, recipe.recipe.seed)
    rows = [{"input_ids": block.ids, "block": block} for block in blocks]
    pad = job.base.weights.vocabulary.pad
    fit(model, rows, collate(masker, pad), recipe, folder, reporter=job.reporter)


def _fit(job: Job, model: MaskedModel, blocks: Sequence[Block]) -> Fitted:
    job.reporter.stage("pre-training")
    recipe, words = job.recipe, job.base.weights.vocabulary
    tuning.prepare(model, recipe.tuning, total_steps(recipe.train, len(blocks)))
    valid = blocks_of(job, job.data.valid)
    masker = Masker(words, recipe.pretrain.mask, recipe.recipe.seed + 1)
    return fit(
        model,
        [{"input_ids": block.ids, "block": block} for block in blocks],
        collate(masker, words.pad),
        recipe,
        job.folder,
        reporter=job.reporter,
        validate=_validation(job, valid) if valid else None,
        metric=recipe.gate.metric or METRIC,
        callbacks=tuning.callbacks(model, recipe.tuning),
    )


def _validation(
    job: Job, blocks: Sequence[Block]
) -> Callable[[torch.nn.Module], Mapping[str, float]]:
    def scores(model: torch.nn.Module) -> Mapping[str, float]:
        assert isinstance(model, MaskedModel)
        table = model.encoder.get_input_embeddings().weight
        vectors = _torch_vectors(job, model)
        hits, losses, counts = _judged(job, blocks, vectors, model.mlm, table)
        total = counts.sum()
        return {"masked_accuracy": hits.sum() / total, "masked_loss": losses.sum() / total}

    return scores


Masked = tuple[Ints, Ints]
Vectors = Callable[[Sequence[Masked]], list[FloatArray]]
"""Masked blocks to the vectors at their masked places, float32 (places, hidden) each."""


def _judged(
    job: Job, blocks: Sequence[Block], vectors: Vectors, head: MaskHead, table: torch.Tensor
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return for each block how many masked pieces are found, their summed loss, their count.

    The masks are the same for every model.
    """
    masker = Masker(job.base.weights.vocabulary, job.recipe.pretrain.mask, _SEED)
    rows = [masker(block) for block in blocks]
    found = vectors(rows)
    hits, losses, counts = [], [], []
    for (_, labels), own in zip(rows, found, strict=True):
        right, loss = judge(head, table, own, labels[places(labels)[0]])
        hits.append(right.sum())
        losses.append(loss.sum())
        counts.append(len(right))
    return np.array(hits, float), np.array(losses, float), np.array(counts, float)


def _served(model: Path, job: Job) -> Vectors:
    def vectors(rows: Sequence[Masked]) -> list[FloatArray]:
        tokens = [Tokens(ids.astype(np.int32), places(labels)[1]) for ids, labels in rows]
        with closing(CpuBackend(model / MODEL_FILE, thread_count(job.settings))) as backend:
            return backend.pooled(tokens)

    return vectors


def _torch_vectors(job: Job, model: MaskedModel) -> Vectors:
    def vectors(rows: Sequence[Masked]) -> list[FloatArray]:
        device = next(model.parameters()).device
        found: list[FloatArray] = []
        for start in range(0, len(rows), job.recipe.train.batch_size):
            part = rows[start : start + job.recipe.train.batch_size]
            batch = masked_batch(part, job.base.weights.vocabulary.pad)
            bf16 = uses_bf16(job.recipe.train)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
                hidden = model.hidden_states(ids, mask).float().cpu().numpy()
            found += [
                np.ascontiguousarray(hidden[row, places(labels)[0]])
                for row, (_, labels) in enumerate(part)
            ]
        return found

    return vectors


def _head_beside(model: Path, job: Job) -> tuple[MaskHead, torch.Tensor]:
    """Return the head and the word vectors of the version whose built model is in ``model``."""
    tuned = read_tuned(model.parent / TUNED_FILE)
    original = job.base.original
    weights = apply(tuned, original.weights, original.sha256)
    table = torch.from_numpy(weights.tensors["emb.word"])
    head = MaskHead(weights.shape.hidden, len(table))
    if not head.load(weights.tensors):
        raise InvalidInputError(
            f"{tuned.name} brings no head that fills in words: it was not made by pre-training."
        )
    return head.eval(), table
