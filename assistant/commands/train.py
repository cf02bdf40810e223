"""``assistant train``: run a recipe, from data file to a version that can be served."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from assistant.commands.common import (
    EXIT_FAILED,
    data_dir_option,
    json_option,
    load_settings,
    note,
    print_json,
    print_line,
    print_table,
    progress_bar,
)
from assistant.commands.models import apply_promoted
from assistant.errors import ModelError
from assistant.models.names import SHARED_TENANT

_NEEDED = ("torch", "transformers", "peft", "sentence_transformers", "accelerate", "sklearn")


@click.command(name="train")
@click.argument("recipe", metavar="RECIPE.toml", type=click.Path(path_type=Path))
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Replace a value of the recipe; may be given again.",
)
@click.option("--tenant", default=SHARED_TENANT, show_default=True, help="Whose model it is.")
@click.option("--promote", is_flag=True, help="Serve the version if its gate passes.")
@click.option("--again", is_flag=True, help="Forget an earlier run of this recipe.")
@json_option
@data_dir_option
def command(
    recipe: Path,
    changes: tuple[str, ...],
    tenant: str,
    *,
    promote: bool,
    again: bool,
    as_json: bool,
) -> int:
    """Train, export, measure and register a model as RECIPE.toml says.

    RECIPE.toml is a file, or the name of a shipped recipe. A run that was killed goes on at its
    last checkpoint when the same command is given again.
    """
    _check_libraries()
    # Before torch is loaded: threads that wait busily for one that is not running cost several
    # times the step on a machine that does other work too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = load_settings()
    reading = importlib.import_module("training.recipe")
    running = importlib.import_module("training.run")
    wanted = reading.read_recipe(recipe, changes)
    with _reporter() as reporter:
        outcome = running.run(
            wanted, settings, reporter, tenant=tenant, promote=promote, again=again
        )
    serves_encoder = outcome.promoted and outcome.version.task == "encoder"
    if serves_encoder and (waits := apply_promoted(settings)):
        note(waits)
    if as_json:
        print_json(running.describe(outcome))
    else:
        _print(outcome)
    return 0 if outcome.passport.gate.passed else EXIT_FAILED


def _print(outcome: Any) -> None:
    passport = outcome.passport
    rows = [
        (split, name, f"{f.value:.4f}", f"{f.low:.4f} to {f.high:.4f}", f.n)
        for split, found in passport.metrics.items()
        for name, f in found.items()
    ]
    print_table(("split", "metric", "value", "95 % interval", "rows"), rows)
    print_line(f"Gate: {passport.gate.verdict()}")
    ref = outcome.version.ref
    if outcome.promoted:
        print_line(f"{ref} is now served.")
    else:
        print_line(f"{ref} is in the registry. Serve it: assistant models promote {ref}")


def _check_libraries() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"Training needs {', '.join(missing)}, which serving does not: "
            'install them with `pip install "domain-assistant[train]"`, or `make setup-train`.'
        )


class _Terminal:
    """Shows the stages of a run and its progress on stderr."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task: Any = None

    def stage(self, text: str) -> None:
        note(f"· {text}")

    def step(self, done: int, total: int, seconds_left: float) -> None:
        if self._task is None:
            self._task = self._bar.add_task("training", total=total)
        left = f"{seconds_left:.0f} s left" if seconds_left < float("inf") else ""
        self._bar.update(self._task, completed=done, total=total, description=f"training {left}")

    def log(self, line: Mapping[str, float]) -> None:
        shown = {k: v for k, v in line.items() if k.startswith(("loss", "eval_")) or k == "step"}
        note("  " + "  ".join(f"{k.removeprefix('eval_')} {v:.4g}" for k, v in shown.items()))


@contextmanager
def _reporter() -> Iterator[_Terminal]:
    with progress_bar() as bar:
        yield _Terminal(bar)
