"""Compare ways of tuning: one recipe, trained each way, in one table and one plot.

``python -m training.comparing RECIPE.toml`` runs what is not yet done (a finished way is read from
its passport) and writes ``RECIPE.md`` and ``RECIPE.png`` into ``--into``.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import AssistantError, InvalidInputError
from assistant.models.passport import Figure, Passport
from assistant.models.versions import Version
from assistant.settings import Settings
from training.plotting import ACCENT, LINE, MUTED, figure, save
from training.recipe import Recipe, read_recipe, with_changes
from training.reporting import Silent

WAYS: Mapping[str, Mapping[str, Any]] = {
    "full": {},
    "top_layers": {"tuning.layers": 2},
    "lora": {},
    "adalora": {},
    "prompt": {},
    "few_shot": {"data.per_label": 10, "train.epochs": 6, "train.batch_size": 64},
    "zero_shot": {},
}
"""What each way of tuning changes in the recipe, beside ``tuning.method``."""
_UNTOUCHED = {"tuning.method": "top_layers", "train.max_steps": 1, "train.learning_rate": 1e-12}
PAIR_WAYS: Mapping[str, Mapping[str, Any]] = {
    "few_shot": {"tuning.method": "full", "data.max_rows": 50},
    "zero_shot": _UNTOUCHED,
}
"""The same for encoders and rerankers, which have no labels to contrast or describe: few-shot is
50 pairs; zero-shot is the base as it is, exported and measured like all others (a step of a rate
below what float32 can add)."""
LABELS = {
    "full": "full",
    "top_layers": "top 2 layers",
    "lora": "LoRA",
    "adalora": "AdaLoRA",
    "prompt": "prompt",
    "few_shot": "few-shot (10 a label)",
    "zero_shot": "zero-shot",
}
PAIR_LABELS = {"few_shot": "full, 50 pairs", "zero_shot": "base, untouched"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What one ``way`` of tuning (in words) reached on the split its gate judges, and what it cost.

    ``saved_bytes`` is the size of ``tuned.safetensors``: what is kept and shipped beside the base.
    """

    way: str
    value: Figure
    trainable: int
    seconds: float
    saved_bytes: int
    rows: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison that the command line asks for; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.comparing", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--ways", default=",".join(WAYS), help="comma-separated")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--finished", action="store_true", help="train nothing, show what is there")
    parser.add_argument("--into", type=Path, default=Path(), help="folder of table and plot")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = read_recipe(given.recipe, given.changes)
        metric, results = compare(
            recipe, Settings(), given.ways.split(","), train=not given.finished
        )
    except AssistantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    given.into.mkdir(parents=True, exist_ok=True)
    path = given.into / f"{recipe.recipe.name}-ways.md"
    path.write_text(table(results, metric), encoding="utf-8")
    plot(results, metric, f"{recipe.registry_task}/{recipe.recipe.name}", path.with_suffix(".png"))
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0


def compare(
    recipe: Recipe, settings: Settings, ways: Sequence[str], *, train: bool = True
) -> tuple[str, list[Result]]:
    """Train the recipe each way and return the metric of its gate, and the results in order.

    Every way is a run and a version of its own (``NAME-WAY``); one that is finished is not run
    again, one that cannot be run is left out with a warning, and so is without ``train`` one that
    is not finished. Raises InvalidInputError for an unknown way, or when there is no result.
    """
    from training.run import finished, run

    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise InvalidInputError(f"There is no way of tuning {unknown[0]!r}; ways: {_listed(WAYS)}.")
    results, metric = [], ""
    for way in ways:
        _log.info("%s: %s", recipe.recipe.name, way)
        own = recipe_for(recipe, way)
        try:
            version = run(own, settings, Silent()).version if train else finished(own, settings)
        except AssistantError as error:
            _log.warning("%s is left out: %s", way, error)
            continue
        if version is None:
            _log.warning("%s is left out: not finished", way)
            continue
        metric, result = read_result(way, version)
        results.append(result)
    if not results:
        raise InvalidInputError("There is no result to compare; see the warnings.")
    return metric, results


def recipe_for(recipe: Recipe, way: str) -> Recipe:
    """Return the recipe with one way of tuning, under a name of its own."""
    name = f"{recipe.recipe.name}-{way.replace('_', '-')}"
    changes = {"recipe.name": name, "tuning.method": way, "gate.beat_current": False}
    pairs = recipe.recipe.task in ("encoder", "reranker")
    own = PAIR_WAYS.get(way, WAYS[way]) if pairs else WAYS[way]
    return with_changes(recipe, {**changes, **own})


def read_result(way: str, version: Version) -> tuple[str, Result]:
    """Return the metric of a version's gate and what the version reached and cost."""
    passport = version.passport()
    saved = (version.folder / "tuned.safetensors").stat().st_size
    learned = way != "zero_shot"
    pairs = passport.task in ("encoder", "reranker")
    return passport.gate.metric, Result(
        PAIR_LABELS.get(way, LABELS[way]) if pairs else LABELS[way],
        _judged(passport),
        passport.trainable_parameters * learned,
        passport.train_seconds * learned,
        saved,
        passport.data.rows.get("train", 0) * learned,
    )


def table(results: Sequence[Result], metric: str) -> str:
    """Return the results as a Markdown table."""
    head = (
        f"| way | {metric} [95 % interval] | training rows | trainable parameters | seconds "
        "| saved |\n|---|---|---:|---:|---:|---:|\n"
    )
    return head + "".join(
        f"| {r.way} | {r.value.value:.3f} [{r.value.low:.3f}, {r.value.high:.3f}] "
        f"| {r.rows:,} | {r.trainable:,} | {r.seconds:.0f} "
        f"| {_size(r.saved_bytes)} |\n"
        for r in results
    )


def plot(results: Sequence[Result], metric: str, title: str, path: Path) -> Path:
    """Plot the metric with its interval, and beside it what is saved and how long it took."""
    whole, panels = figure(columns=3, title=title, height=0.9 + 0.42 * len(results))
    rows = range(len(results))
    bars: list[tuple[str, list[float], str]] = [
        (metric, [r.value.value for r in results], LINE),
        ("seconds of training", [r.seconds for r in results], ACCENT),
        ("saved beside the base (MB)", [r.saved_bytes / 1e6 for r in results], MUTED),
    ]
    for panel, (label, values, colour) in zip(panels, bars, strict=True):
        panel.barh(rows, values, color=colour, height=0.6)
        panel.set_yticks(rows, [r.way for r in results] if panel is panels[0] else [])
        panel.invert_yaxis()
        panel.grid(visible=False)
        panel.set_title(label, loc="left", fontsize=10)
        panel.set_xlim(0, max(*values, 1e-9) * 1.25)
        for row, value in zip(rows, values, strict=True):
            own = results[row].value.high if panel is panels[0] else value
            shown = f"{value:.3f}" if panel is panels[0] else f"{value:,.3g}"
            panel.annotate(
                shown, (own, row), (4, 0), textcoords="offset points", va="center", fontsize=8
            )
    low = [r.value.value - r.value.low for r in results]
    high = [r.value.high - r.value.value for r in results]
    panels[0].errorbar(
        bars[0][1], list(rows), xerr=[low, high], fmt="none", ecolor="#22303c", capsize=3
    )
    return save(whole, path)


def _judged(passport: Passport) -> Figure:
    split, _, name = passport.gate.metric.partition(".")
    return passport.metrics[split][name]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(names)


if __name__ == "__main__":
    sys.exit(main())
