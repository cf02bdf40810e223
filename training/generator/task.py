"""From rows to a finished version folder: train, merge, export, gates, evaluation.

The folder holds ``int8/`` (and other precisions asked for), each with its manifest, and
``tuned.safetensors``; ``passport_of`` gives what the registry keeps beside it.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from assistant.errors import InvalidInputError, StorageError
from assistant.evaluation import Metric
from assistant.models.generation.generator import Generator, open_generator
from assistant.models.passport import DataNote, Figure, Gate, Passport
from training.generator import parity
from training.generator.evaluate import evaluate
from training.generator.export import export, write_manifest
from training.generator.plan import GeneratorPlan
from training.generator.rows import Row
from training.generator.source import BaseModel
from training.generator.start import merged_folder, since_original
from training.generator.tokens import Codec, TokenRow, encode_rows, open_codec
from training.generator.train import Outcome, Progress, train
from training.generator.tuned import TUNED_FILE, save_tuned, tuned_tensors

GATE_ROWS = 24
_LIBRARIES = ("torch", "transformers", "peft", "onnxruntime", "onnxruntime-genai", "tokenizers")


class Teller(Protocol):
    """Told about a run; ``training.reporting.Reporter`` fits."""

    def stage(self, text: str) -> None: ...

    def step(self, done: int, total: int, seconds_left: float) -> None: ...

    def log(self, line: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, slots=True)
class Examples:
    """What a run learns from: rows to fine-tune on, or plain texts with the objective causal."""

    train: Sequence[Row] = ()
    valid: Sequence[Row] = ()
    test: Sequence[Row] = ()
    train_texts: Sequence[str] = ()
    valid_texts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A finished version in ``folder`` and what was measured on the way."""

    folder: Path
    outcome: Outcome
    base: BaseModel
    metrics: Mapping[str, Mapping[str, Metric]]
    parity: Mapping[str, float]
    latency_ms: Mapping[str, float]
    memory_mb: float
    notes: tuple[str, ...] = field(default=())


def run(
    plan: GeneratorPlan, examples: Examples, base: BaseModel, workdir: Path, teller: Teller
) -> Made:
    """Do the whole of ``plan``; the version is in ``workdir/version``.

    A run that was killed goes on from its last checkpoint. Raises InvalidInputError for data that
    cannot be used, ModelError when training diverges or an export does not pass its gate,
    StorageError when the disk refuses; then no version is left.
    """
    version = workdir / "version"
    try:
        return _run(plan, examples, base, workdir, teller)
    except OSError as error:
        shutil.rmtree(version, ignore_errors=True)
        raise StorageError(
            f"The generator cannot be written to {workdir} ({error}). Free some space (a 270M "
            "model needs about 3 GB while it is made) and run the recipe again."
        ) from error
    except BaseException:
        shutil.rmtree(version, ignore_errors=True)
        raise


def _run(
    plan: GeneratorPlan, examples: Examples, base: BaseModel, workdir: Path, teller: Teller
) -> Made:
    codec = open_codec(base.folder, base.config())
    rows, valid, notes = _encoded(plan, examples, codec)
    teller.stage(f"training on {len(rows)} rows")
    outcome = train(
        plan, base, rows, valid, folder=workdir / "checkpoints", report=_reporting(teller)
    )
    version = workdir / "version"
    shutil.rmtree(version, ignore_errors=True)
    version.mkdir(parents=True)
    return _finish(_Run(plan, examples, base, teller, codec, outcome, version, notes))


def passport_of(
    made: Made, plan: GeneratorPlan, *, recipe: Mapping[str, Any], data: DataNote, gate: Gate
) -> Passport:
    """Return the passport of a made version. ``recipe`` is the recipe with every default."""
    int8 = made.folder / plan.precisions[0]
    return Passport(
        task="generator",
        name=plan.name,
        recipe=recipe,
        parent=made.base.reference or made.base.label,
        data=data,
        metrics={split: _figures(found) for split, found in made.metrics.items()},
        gate=gate,
        parity={name: value for name, value in made.parity.items() if math.isfinite(value)},
        latency_ms={"cpu": made.latency_ms},
        memory_mb={"cpu": made.memory_mb},
        size_bytes=sum(path.stat().st_size for path in int8.iterdir()),
        trainable_parameters=made.outcome.trainable_parameters,
        train_seconds=round(made.outcome.seconds, 2),
        libraries=_libraries(),
        seed=plan.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=made.notes,
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """A trained run on its way to a version."""

    plan: GeneratorPlan
    examples: Examples
    base: BaseModel
    teller: Teller
    codec: Codec
    outcome: Outcome
    version: Path
    notes: Sequence[str]


def _encoded(
    plan: GeneratorPlan, examples: Examples, codec: Codec
) -> tuple[list[TokenRow], list[TokenRow], list[str]]:
    if plan.objective == "causal":
        rows = codec.blocks(examples.train_texts, plan.max_tokens)
        if not rows:
            raise InvalidInputError("There is no text to pre-train on.")
        return rows, codec.blocks(examples.valid_texts, plan.max_tokens), []
    chosen = examples.train[: plan.max_rows] if plan.max_rows else examples.train
    rows, dropped = encode_rows(codec, chosen, plan.max_tokens)
    valid = encode_rows(codec, examples.valid, plan.max_tokens)[0] if examples.valid else []
    note = f"{dropped} of {len(chosen)} training rows are longer than {plan.max_tokens} tokens"
    return rows, valid, [note] if dropped else []


def _finish(this: _Run) -> Made:
    tuned = this.version / TUNED_FILE
    changes = since_original(tuned_tensors(this.outcome.model), this.base)
    save_tuned(tuned, changes, this.base, {"method": this.plan.method})
    this.teller.stage("merging with the base")
    merged = merged_folder(this.base, tuned, this.version.parent / "merged")
    try:
        figures: dict[str, float] = {}
        for precision in this.plan.precisions:
            found = _exported(this, merged, precision)
            figures |= {f"{precision}_{name}": value for name, value in found.items()}
    finally:
        shutil.rmtree(merged, ignore_errors=True)
    return _measured(this, figures)


def _exported(this: _Run, merged: Path, precision: str) -> dict[str, float]:
    """Write one precision, hold it against PyTorch, and return the figures."""
    plan, examples = this.plan, this.examples
    this.teller.stage(f"exporting {precision}")
    exported = export(merged, this.version / precision, precision)
    write_manifest(
        exported, this.base, name=plan.name, context_tokens=plan.context_tokens, parity={}
    )
    rows = [*examples.valid, *examples.test, *examples.train][:GATE_ROWS]
    # Plain texts: whatever follows their beginnings is the right answer.
    texts = examples.valid_texts or examples.train_texts
    rows = rows or [Row(text[:80], text[80:160]) for text in texts if len(text) > 80][:GATE_ROWS]
    with open_generator(exported.folder) as opened:
        this.teller.stage(f"comparing {precision} with PyTorch")
        found = parity.measure(merged, opened, this.codec, rows)
    parity.check(found, precision, plan.max_loss)
    write_manifest(
        exported, this.base, name=plan.name, context_tokens=plan.context_tokens, parity=found
    )
    return found


def _measured(this: _Run, figures: Mapping[str, float]) -> Made:
    plan, examples = this.plan, this.examples
    metrics: dict[str, Mapping[str, Metric]] = {}
    before = _resident_mb()
    with open_generator(this.version / plan.precisions[0]) as opened:
        latency = speed(opened)
        memory = max(_resident_mb() - before, 0.0)
        for split, own in (("valid", examples.valid), ("test", examples.test)):
            rows = own[: plan.eval_rows] if plan.eval_rows else own
            if rows:
                this.teller.stage(f"measuring {split} on {len(rows)} rows")
                metrics[split] = evaluate(opened, rows, max_tokens=plan.max_new_tokens).metrics
    outcome = this.outcome
    notes = (
        *this.notes,
        f"trained in {outcome.precision}, {outcome.steps} steps, "
        f"{outcome.examples / max(outcome.seconds, 1e-9):.2f} examples a second",
        f"validation loss {outcome.valid_loss}",
    )
    memory = round(memory, 1)
    return Made(this.version, outcome, this.base, metrics, figures, latency, memory, notes)


def speed(opened: Generator, tokens: int = 32) -> dict[str, float]:
    """Return ms of reading a prompt of 128 tokens, and ms of each token written after it."""
    ids = [*range(5, 132)]
    opened.generate_ids(ids[:8], 1)
    started = time.perf_counter()
    opened.generate_ids(ids, 1)
    prompt = time.perf_counter() - started
    started = time.perf_counter()
    # A tuned model would end at once after ids that mean nothing.
    made = len(opened.generate_ids(ids, tokens, min_tokens=tokens))
    whole = time.perf_counter() - started
    each = (whole - prompt) / max(1, made - 1)
    return {"prompt_128_tokens": round(1000 * prompt, 1), "token": round(1000 * max(each, 0), 2)}


def _reporting(teller: Teller) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        teller.step(progress.step, progress.steps, progress.seconds_left)
        values = {"loss": progress.loss, "valid_loss": progress.valid_loss}
        known = {name: value for name, value in values.items() if value is not None}
        teller.log({"step": float(progress.step), **known})

    return report


def _figures(metrics: Mapping[str, Metric]) -> dict[str, Figure]:
    return {
        name: Figure(m.value, min(m.low, m.value), max(m.high, m.value), m.n)
        for name, m in metrics.items()
        if all(math.isfinite(x) for x in (m.value, m.low, m.high)) and m.n
    }


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _resident_mb() -> float:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
