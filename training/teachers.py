"""What training bought: a model beside its base or its teacher, both as they are served."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from assistant.models.build.tuned import TunedWeights
from assistant.models.build.tuned_build import build_tuned
from assistant.models.manifest import MANIFEST_FILE, read_manifest
from assistant.models.names import parse_ref
from assistant.models.registry import MODEL_FILE
from assistant.models.session import CpuBackend, Tokens
from assistant.models.store import ModelStore
from training.base import Base
from training.distilling import load_teacher
from training.job import Job, TaskModule, Trained

LENGTHS = (32, 128)
_ROUNDS = 30


def beside_teacher(
    job: Job, module: TaskModule, trained: Trained, folder: Path, metric: str
) -> Trained:
    """Add to the figures the teacher's ``metric`` on the same rows, and both models' speed.

    ``folder`` holds the student in int8; the teacher is measured in int8 too. Speed is the median
    milliseconds a text takes on one core, the two taking turns.
    """
    rows, split = (job.data.test, "test") if job.data.test else (job.data.valid, "valid")
    own = served_folder(load_teacher(job), job)
    figures = dict(trained.figures)
    if rows:
        job.reporter.stage(f"measuring the teacher on {len(rows)} rows")
        found = module.evaluate(own, rows, job)
        figures[f"teacher_{split}_{metric}"] = found[metric].value
    for length, (teacher, student) in speeds(own, folder).items():
        figures[f"teacher_ms_{length}_tokens"] = teacher
        figures[f"student_ms_{length}_tokens"] = student
        figures[f"speedup_{length}_tokens"] = teacher / student
    return replace(trained, figures=figures)


def served_folder(base: Base, job: Job) -> Path:
    """Return a base's int8 model: its version's, or one built into the run's folder."""
    if base.reference:
        wanted = parse_ref(base.reference)
        store = ModelStore.of(job.settings)
        return store.version(wanted.task, wanted.name, wanted.number or 0).part("int8")
    folder = job.folder / "base" / "int8"
    if not (folder / MANIFEST_FILE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        build_tuned(untouched(base), base.original, folder)
    return folder


def untouched(base: Base) -> TunedWeights:
    """Return tuned weights that change nothing of a base."""
    return TunedWeights(
        name=base.original.name,
        task="encoder",
        base=base.original.name,
        base_sha256=base.original.sha256,
        max_tokens=base.weights.shape.max_positions,
        query_prefix=base.original.query_prefix,
        passage_prefix=base.original.passage_prefix,
        licence=base.original.licence,
        heads=(),
    )


def speeds(first: Path, second: Path) -> Mapping[int, tuple[float, float]]:
    """Return by length in tokens the median ms a text of two models, on one core, in turns."""
    random = np.random.default_rng(0)
    manifests = [read_manifest(folder) for folder in (first, second)]
    pieces = min(manifest.pieces for manifest in manifests)
    longest = min(manifest.max_tokens for manifest in manifests)
    found = {}
    with (
        closing(CpuBackend(first / MODEL_FILE, 1)) as a,
        closing(CpuBackend(second / MODEL_FILE, 1)) as b,
    ):
        for length in (n for n in LENGTHS if n <= longest):
            ids = random.integers(4, pieces, length).astype(np.int32)
            tokens = Tokens(ids, np.full((1, length), 1 / length, dtype=np.float32))
            taken = [(_timed(a, tokens), _timed(b, tokens)) for _ in range(_ROUNDS)][3:]
            found[length] = _medians(taken)
    return found


def _medians(taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*taken, strict=True)
    return 1000 * statistics.median(first), 1000 * statistics.median(second)


def _timed(backend: CpuBackend, tokens: Tokens) -> float:
    started = time.perf_counter()
    backend.run([tokens])
    return time.perf_counter() - started
