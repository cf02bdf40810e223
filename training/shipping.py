"""Put a trained model among those that come with the product.

``python -m training.shipping RECIPE [--blend SHARE] [--set key=value ...]`` runs the recipe (or
goes on, or takes its finished version), shrinks what it changed to factors of ``--rank`` with 8
bits a number, builds the served int8 model from that very file, measures it again on validation and
test rows, and writes adapter, passport and card to ``shipped/TASK/NAME/``. Nothing is written where
the recipe's gate does not pass.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from assistant.errors import AssistantError, InvalidInputError
from assistant.models.build.tuned import TUNED_FILE, read_tuned
from assistant.models.build.tuned_build import build_tuned, with_scales
from assistant.models.card import CARD_FILE, card
from assistant.models.names import SHARED_TENANT
from assistant.models.passport import PASSPORT_FILE, Passport, passport_from_json
from assistant.models.registry import MODEL_FILE
from assistant.models.shipped import SHIPPED
from assistant.models.store import ModelStore
from assistant.settings import Settings
from training import passports
from training.export import save_tuned
from training.failures import may_quote
from training.job import Job
from training.recipe import Recipe, read_recipe
from training.reporting import Reporter, Silent
from training.run import (
    decide,
    make_job,
    measured,
    metric_of,
    mistakes,
    run,
    run_folder,
    switch_off_telemetry,
)
from training.shrinking import blended, shrunk
from training.tasks import task_module

MAX_MEGABYTES = 12.0
"""A shipped adapter is part of the source."""
RANK = 96


def main(arguments: Sequence[str] | None = None) -> int:
    """Ship what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.shipping", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--rank", type=int, default=RANK)
    parser.add_argument("--blend", type=float, default=1.0, help="tuned share beside the base")
    parser.add_argument("--number", type=int, help="ship this version that the recipe has made")
    parser.add_argument("--into", type=Path, default=SHIPPED)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        recipe = read_recipe(given.recipe, given.changes)
        folder = ship(
            recipe,
            Settings(),
            Silent(),
            given.into,
            rank=given.rank,
            blend=given.blend,
            number=given.number,
        )
    except AssistantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write((folder / CARD_FILE).read_text(encoding="utf-8"))
    return 0


def ship(
    recipe: Recipe,
    settings: Settings,
    reporter: Reporter,
    into: Path = SHIPPED,
    *,
    rank: int = RANK,
    blend: float = 1.0,
    number: int | None = None,
) -> Path:
    """Write the shipped form of what the recipe makes, and return its folder.

    ``number`` takes a version it has made before, in place of running it. ``blend`` below 1 ships
    weights between the base's and the tuned ones (``training.shrinking.blended``).

    Raises InvalidInputError when ``blend`` is not in (0, 1], the file would be too large or its
    measured gate fails, and what ``training.run.run`` raises; what was shipped before is then left
    as it is.
    """
    if not 0 < blend <= 1:
        raise InvalidInputError(f"--blend is {blend:g}; give the tuned share, above 0, at most 1.")
    switch_off_telemetry()
    if number is None:
        version = run(recipe, settings, reporter).version
    else:
        store = ModelStore.of(settings)
        version = store.version(recipe.registry_task, recipe.recipe.name, number)
    job = make_job(recipe, settings, reporter, run_folder(recipe, settings, SHARED_TENANT))
    whole = read_tuned(version.folder / TUNED_FILE)
    base = job.base.original.weights
    # The base of a run that went on is the version it went on from.
    tuned = shrunk(blended(whole, job.base.weights, blend), base, rank)
    if not tuned.scales:  # of a version made before they were kept
        tuned = with_scales(tuned, job.base.original, ())
    target = into / version.task / version.name
    with tempfile.TemporaryDirectory() as place:
        part = Path(place) / "version"
        part.mkdir()
        save_tuned(tuned, part / TUNED_FILE, compact=True)
        (part / TUNED_FILE).chmod(0o644)
        _check_size(part / TUNED_FILE)
        passport = judged_again(job, version.passport(), part, _treatment(rank, blend))
        if not passport.gate.passed:
            raise InvalidInputError(f"{version.ref} is not shipped: {passport.gate.verdict()}.")
        shutil.rmtree(part / "int8")
        write_papers(passport, part)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(part, target)
    return target


def write_papers(passport: Passport, folder: Path) -> None:
    """Write passport and card into the folder of a shipped model."""
    text = passport.to_json()
    (folder / PASSPORT_FILE).write_text(text, encoding="utf-8")
    (folder / CARD_FILE).write_text(card(passport_from_json(text)), encoding="utf-8")


def judged_again(
    job: Job, before: Passport, folder: Path, treatment: Sequence[str] = ()
) -> Passport:
    """Build the int8 model of ``folder`` and return the passport with what that one reaches."""
    module = task_module(job.recipe.recipe.task)
    build_tuned(read_tuned(folder / TUNED_FILE), job.base.original, folder / "int8")
    metrics = measured(job, module, folder / "int8")
    gate = decide(job, module, metric_of(job.recipe, module), metrics)
    latency, memory = passports.speed(folder / "int8")
    return replace(
        before,
        recipe=without_places(before.recipe),
        metrics={split: passports.figures(found) for split, found in metrics.items()},
        gate=gate,
        latency_ms={"cpu": latency},
        memory_mb={"cpu": memory},
        size_bytes=(folder / "int8" / MODEL_FILE).stat().st_size,
        notes=tuple(
            note for note in dict.fromkeys((*before.notes, *treatment)) if not note.startswith("![")
        ),
        failures=mistakes(job, module, folder / "int8", quote=may_quote(before.data.licences)),
        shipped=True,
    )


def _treatment(rank: int, blend: float) -> tuple[str, ...]:
    """What was done to the weights after training, for the passport."""
    kept = f"what tuning changed is kept as factors of rank {rank} with 8 bits a number"
    if blend == 1:
        return (kept,)
    return (f"weights are {blend:g} of the tuned and {1 - blend:g} of the base (WiSE-FT)", kept)


def without_places(values: Any) -> Any:
    """Return a resolved recipe without the folders of the machine that ran it."""
    if isinstance(values, Mapping):
        return {
            key: None if key == "root" else without_places(value) for key, value in values.items()
        }
    return values


def _check_size(path: Path) -> None:
    size = path.stat().st_size / 1e6
    if size > MAX_MEGABYTES:
        raise InvalidInputError(
            f"The adapter takes {size:.1f} MB; what is shipped may take {MAX_MEGABYTES:g} MB. Take "
            "a smaller rank."
        )


if __name__ == "__main__":
    sys.exit(main())
