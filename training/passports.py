"""Fill in the passport of a version: what was done, what came out, how fast it runs here."""

from __future__ import annotations

import importlib.metadata
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from assistant.models.manifest import read_manifest
from assistant.models.passport import DataNote, Figure, Gate, Passport
from assistant.models.registry import MODEL_FILE
from assistant.models.session import CpuBackend, Tokens
from training.base import find_version
from training.data.storage import card_json
from training.job import Job, Metrics, Trained

_LIBRARIES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "peft",
    "onnxruntime",
    "onnx",
    "numpy",
    "tokenizers",
)
_TIMED_LENGTHS = (32, 128)


def passport(
    job: Job,
    trained: Trained,
    folder: Path,
    *,
    metrics: Mapping[str, Metrics],
    gate: Gate,
    parity: Mapping[str, float],
) -> Passport:
    """Return the passport of the version in ``folder``."""
    recipe = job.recipe
    latency, memory = speed(folder / "int8")
    return Passport(
        task=recipe.registry_task,
        name=recipe.recipe.name,
        recipe=recipe.resolved(),
        parent=job.base.name,
        data=data_note(job),
        metrics={split: figures(found) for split, found in metrics.items()},
        gate=gate,
        parity={name: value for name, value in parity.items() if math.isfinite(value)},
        latency_ms={"cpu": latency},
        memory_mb={"cpu": memory},
        size_bytes=(folder / "int8" / MODEL_FILE).stat().st_size,
        trainable_parameters=trained.trainable,
        train_seconds=round(trained.seconds, 2),
        libraries=libraries(),
        seed=recipe.recipe.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        description=recipe.recipe.description,
        notes=(
            f"trained at {trained.examples_per_second:.1f} examples a second",
            *trained.notes,
            *(f"{name}: {value:.6g}" for name, value in trained.figures.items()),
        ),
    )


def _licences_of_parent(job: Job) -> tuple[str, ...]:
    """Return the licences of what the version learnt from that the run goes on from."""
    if not job.base.reference:
        return ()
    return find_version(job.base.reference, job.settings).passport().data.licences


def data_note(job: Job) -> DataNote:
    """Return what the passport says of the data, from its card."""
    card = job.data.card
    before = _licences_of_parent(job)
    licences = {one for one in (*card.licences, job.base.original.licence, *before) if one}
    return DataNote(
        sha256=card.sha256,
        licences=tuple(sorted(licences)),
        rows={
            split: len(rows)
            for split, rows in (
                ("train", job.data.train),
                ("valid", job.data.valid),
                ("test", job.data.test),
            )
        },
        card=card_json(card),
    )


def figures(metrics: Metrics) -> dict[str, Figure]:
    """Return metrics as the passport keeps them; those without a value are left out."""
    return {
        name: Figure(m.value, min(m.low, m.value), max(m.high, m.value), m.n)
        for name, m in metrics.items()
        if all(math.isfinite(x) for x in (m.value, m.low, m.high)) and m.n >= 1
    }


def speed(folder: Path, rounds: int = 15) -> tuple[dict[str, float], float]:
    """Return ms a text by length on one core (medians), and the MB that opening it takes."""
    import numpy as np

    manifest = read_manifest(folder)
    before = _resident_mb()
    backend = CpuBackend(folder / MODEL_FILE, 1)
    latency = {}
    try:
        for length in _TIMED_LENGTHS:
            if length > manifest.max_tokens:
                continue
            ids = np.random.default_rng(0).integers(4, manifest.pieces, length).astype(np.int32)
            tokens = Tokens(ids, np.full((1, length), 1 / length, dtype=np.float32))
            taken = _timed(backend, tokens, rounds)
            latency[f"{length}_tokens"] = round(1000 * statistics.median(taken), 2)
        return latency, round(max(_resident_mb() - before, 0.0), 1)
    finally:
        backend.close()


def libraries() -> dict[str, str]:
    """Return the versions of the libraries a model depends on, those that are installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _timed(backend: CpuBackend, tokens: Tokens, rounds: int) -> Sequence[float]:
    backend.run([tokens])
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        backend.run([tokens])
        taken.append(time.perf_counter() - started)
    return taken


def _resident_mb() -> float:
    """Return this process's resident memory; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
