"""From tuned weights to served models, past two gates: parity with PyTorch, accuracy of int8."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from assistant.errors import ModelError, StorageError
from assistant.models.build.graph import Precision, build_graph
from assistant.models.build.tuned import TUNED_FILE, TunedWeights, apply
from assistant.models.build.tuned_build import build_tuned, pooling_of, with_scales
from assistant.models.registry import MODEL_FILE
from assistant.models.session import CpuBackend, Outputs, Tokens, pad
from assistant.models.tokens import Tokenized
from training.base import Base
from training.job import Job, Trained

MAX_LOGIT_DIFFERENCE = 2e-3
MAX_FP16_DIFFERENCE = 0.1
_LENGTHS = (3, 8, 17, 32, 64, 131, 214, 400, 512)
_BATCHES = (1, 3, 8)


def export(job: Job, trained: Trained, folder: Path) -> dict[str, float]:
    """Write the version's folder: tuned weights and every precision asked for, fp32 always.

    Returns the figures of the parity gates. ``folder`` is made anew. Raises ModelError when a gate
    fails and StorageError when the disk refuses; both leave no folder behind.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        tuned = with_scales(trained.tuned, job.base.original, trained.sample)
        trained = replace(trained, tuned=tuned)
        save_tuned(tuned, folder / TUNED_FILE)
        figures = torch_parity(job.base, trained)
        for precision in dict.fromkeys(("fp32", *job.recipe.export.precisions)):
            figures |= _built(job, trained, folder / precision, precision)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        full = " The disk is full: free some space." if error.errno == errno.ENOSPC else ""
        raise StorageError(
            f"The model cannot be written to {folder}: {error}.{full} What serves is untouched; "
            "run the recipe again to export it."
        ) from error
    except ModelError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return figures


def save_tuned(tuned: TunedWeights, path: Path, *, compact: bool = False) -> None:
    """Write tuned weights as safetensors: what changed, and nothing that can run.

    ``compact`` writes 8 bits a number of factors, 16 of others, in place of 32.
    """
    from safetensors.numpy import save_file

    arrays = tuned.compact() if compact else tuned.stored()
    tensors = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    save_file(tensors, path, metadata=tuned.metadata())


def _built(job: Job, trained: Trained, folder: Path, precision: Precision) -> dict[str, float]:
    job.reporter.stage(f"exporting {precision}")
    manifest = build_tuned(
        trained.tuned, job.base.original, folder, precision, sample=trained.sample
    )
    figures = {f"{precision}_{name}": value for name, value in manifest.parity.items()}
    if precision == "fp16":
        figures |= _fp16_parity(job.base, trained, folder / MODEL_FILE)
    return {} if precision == "fp32" else figures


def torch_parity(base: Base, trained: Trained) -> dict[str, float]:
    """Compare the fp32 graph with PyTorch over many lengths and paddings; largest difference.

    The graph runs each text alone, PyTorch the same texts padded to the longest of their batch.
    Raises ModelError beyond ``MAX_LOGIT_DIFFERENCE``.
    """
    tuned = trained.tuned
    weights = apply(tuned, base.original.weights, base.original.sha256)
    graph = build_graph(weights, "fp32", padded=False, heads=tuned.heads)
    backend = CpuBackend(graph.SerializeToString(), 1)
    largest: dict[str, float] = {}
    try:
        for batch in _batches(base, trained):
            ours = backend.run([item.tokens for item in batch])
            _widen(largest, ours, trained.reference(batch))
    finally:
        backend.close()
    if not all(value <= MAX_LOGIT_DIFFERENCE for value in largest.values()):
        raise ModelError(
            f"The fp32 graph strays from PyTorch by {largest}; at most {MAX_LOGIT_DIFFERENCE} is "
            "allowed. This is a defect of the export."
        )
    return {f"torch_{name}_difference": round(value, 7) for name, value in largest.items()}


def _fp16_parity(base: Base, trained: Trained, path: Path) -> dict[str, float]:
    """Compare the padded half-precision graph, run here on the CPU, with PyTorch."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {value.name for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    largest: dict[str, float] = {}
    for batch in _batches(base, trained):
        ids, lengths, pool = pad([item.tokens for item in batch])
        feed = {"input_ids": ids, "lengths": lengths, "pool": pool.astype(np.float16)}
        found = session.run(None, {name: value for name, value in feed.items() if name in inputs})
        rows = zip(batch, trained.reference(batch), strict=True)
        for row, (item, theirs) in enumerate(rows):
            ours = {
                name: value[row, : len(item.tokens.ids)]
                if value.shape[1] == ids.shape[1]
                else value[row]
                for name, value in zip(names, found, strict=True)
            }
            _widen(largest, [ours], [theirs])
    if not all(value <= MAX_FP16_DIFFERENCE for value in largest.values()):
        raise ModelError(
            f"The fp16 graph strays from PyTorch by {largest}; at most {MAX_FP16_DIFFERENCE} is "
            "allowed. Leave fp16 out of export.precisions."
        )
    return {f"fp16_{name}_difference": round(value, 5) for name, value in largest.items()}


def _widen(largest: dict[str, float], ours: Sequence[Outputs], theirs: Sequence[Outputs]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        for name in a:
            difference = np.abs(a[name].astype(np.float32) - b[name]).max()
            largest[name] = max(largest.get(name, 0.0), float(difference))


def _batches(base: Base, trained: Trained) -> list[list[Tokenized]]:
    """Return rows of random tokens of many lengths, and the real sample, in batches."""
    tuned = trained.tuned
    tokenizer = base.model_tokenizer(tuned.max_tokens, pooling_of(tuned.heads))
    random = np.random.default_rng(0)
    first = pooling_of(tuned.heads) == "first"
    rows = [_random_row(random, base, n, first) for n in _LENGTHS if n <= tuned.max_tokens - 32]
    rows += [
        tokenizer.text(item) if isinstance(item, str) else tokenizer.pair(*item)
        for item in trained.sample[:24]
    ]
    found: list[list[Tokenized]] = []
    place = 0
    while place < len(rows):
        size = _BATCHES[len(found) % len(_BATCHES)]
        found.append(rows[place : place + size])
        place += size
    return found


def _random_row(random: np.random.Generator, base: Base, length: int, first: bool) -> Tokenized:
    words = base.weights.vocabulary
    ids = random.integers(4, len(words.pieces), length).astype(np.int32)
    ids[0], ids[-1] = words.bos, words.eos
    pool = np.full((1, length), 1 / length, dtype=np.float32)
    if first:
        pool[0], pool[0, 0] = 0, 1
    return Tokenized(Tokens(ids, pool), np.zeros((length, 2), dtype=np.int64), cut=False)


def check_loss(
    metric: str, fp32: Mapping[str, float], int8: Mapping[str, float], limit: float
) -> float:
    """Return what int8 loses of ``metric`` against fp32; ModelError above ``limit``."""
    loss = fp32[metric] - int8[metric]
    if loss > limit:
        raise ModelError(
            f"int8 loses {loss:.4f} of {metric} against fp32 ({int8[metric]:.4f} against "
            f"{fp32[metric]:.4f}); export.max_loss allows {limit}. Raise the limit, or train "
            "longer: a model that is unsure loses more."
        )
    return round(loss, 6)
