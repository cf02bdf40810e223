"""The log of all runs, on this machine only: one JSON line a run, and plots of how it went.

``python -m training.experiments`` lists the runs.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from assistant.models.passport import Passport
from assistant.models.versions import Version
from assistant.settings import Settings
from training.plotting import LINE, MUTED, figure, save

LOG_FILE = "log.jsonl"
PLOT_FILE = "training.png"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Curve:
    """A figure by step of training."""

    steps: tuple[int, ...]
    values: tuple[float, ...]


def experiments_file(settings: Settings) -> Path:
    """Return the file that the runs of these settings are written down in."""
    return settings.data_dir / "training" / "experiments.jsonl"


def record(settings: Settings, version: Version, digest: str, folder: Path) -> None:
    """Append one line about a finished run: what was asked, what came out, how long it took."""
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": digest,
        "version": version.ref,
        "run": str(folder),
        **summary(version.passport()),
    }
    path = experiments_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def summary(passport: Passport) -> dict[str, Any]:
    """Return what a list of runs shows of a passport."""
    return {
        "task": passport.task,
        "name": passport.name,
        "method": str(passport.recipe.get("tuning", {}).get("method", "")),
        "base": passport.parent,
        "gate": passport.gate.verdict(),
        "passed": passport.gate.passed,
        "metrics": {
            split: {name: round(figure.value, 5) for name, figure in found.items()}
            for split, found in passport.metrics.items()
        },
        "train_seconds": passport.train_seconds,
        "trainable_parameters": passport.trainable_parameters,
        "size_bytes": passport.size_bytes,
        "data": passport.data.sha256[:12],
        "seed": passport.seed,
    }


def history(settings: Settings) -> list[Mapping[str, Any]]:
    """Return the runs written down, oldest first; a damaged line is left out with a warning."""
    path = experiments_file(settings)
    return _lines(path) if path.is_file() else []


def curves(log: Path) -> dict[str, Curve]:
    """Return the figures of a run's log by name; of a step logged twice the later counts."""
    found: dict[str, dict[int, float]] = {}
    for line in _lines(log):
        step = int(line.get("step", 0))
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("step", "epoch", "seconds"):
                found.setdefault(name, {})[step] = float(value)
    return {
        name: Curve(tuple(sorted(values)), tuple(values[step] for step in sorted(values)))
        for name, values in found.items()
    }


def plot_run(folder: Path, metric: str, title: str) -> Path | None:
    """Plot loss and validation by step of the run in ``folder`` into its ``plots``; return the
    picture, or None where nothing was logged."""
    logs = sorted(folder.glob(f"**/{LOG_FILE}"), key=lambda path: (len(path.parts), path))
    logs = [path for path in logs if "search" not in path.relative_to(folder).parts]
    runs = {_run_name(path, folder): curves(path) for path in logs}
    runs = {name: found for name, found in runs.items() if "loss" in found}
    if not runs:
        return None
    score = f"eval_{metric}"
    validated = any(score in found for found in runs.values())
    whole, panels = figure(columns=2 if validated else 1, title=title)
    _draw(panels[0], runs, "loss", "training loss")
    if validated:
        _draw(panels[1], runs, score, f"{metric.replace('_', ' ')} on validation rows")
    return save(whole, folder / "plots" / PLOT_FILE)


def _draw(panel: Any, runs: Mapping[str, Mapping[str, Curve]], name: str, label: str) -> None:
    shown = {run: found[name] for run, found in runs.items() if name in found}
    last = list(shown)[-1] if shown else ""
    for run, curve in shown.items():
        marker = "o" if len(curve.steps) <= 12 else None
        panel.plot(
            curve.steps,
            curve.values,
            marker=marker,
            markersize=4,
            color=LINE if run == last else MUTED,
            label=run,
        )
    panel.set_xlabel("step")
    panel.set_xlim(left=0)
    panel.locator_params(axis="x", integer=True)
    if name.startswith("eval_") and all(0 <= v <= 1 for c in shown.values() for v in c.values):
        panel.set_ylim(0, 1.02)
    panel.set_title(label, loc="left", fontsize=10)
    if len(shown) > 1:
        panel.legend(frameon=False, fontsize=8)


def _run_name(log: Path, folder: Path) -> str:
    inner = log.parent.relative_to(folder)
    return "run" if not inner.parts else str(inner).replace("-", " ")


def _lines(path: Path) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if isinstance(value, dict):
            found.append(value)
        else:
            _log.warning("%s:%d is damaged and left out", path, number)
    return found


def listing(entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the runs as text, newest last: when, version, way of tuning, gate, seconds."""
    lines = [("when", "version", "way", "seconds", "gate")]
    lines += [
        (
            str(entry.get("when", "")),
            str(entry.get("version", "")),
            str(entry.get("method", "")),
            f"{float(entry.get('train_seconds') or 0):.0f}",
            str(entry.get("gate", "")),
        )
        for entry in entries
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        + f"  {line[4]}\n"
        for line in lines
    )


if __name__ == "__main__":
    sys.stdout.write(listing(history(Settings())))
