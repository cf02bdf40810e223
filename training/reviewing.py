"""Measure the models that come with the product again, as they are served now.

``python -m training.reviewing [TASK/NAME ...] [--data DIR]`` prepares the rows of each model's
recipe, builds the int8 model from the shipped file, measures it on validation and test rows, by
group, and writes passport and card anew: figures, mistakes, milliseconds. Weights stay as they are.
For a true time nothing else should run. Nothing is written where the rows are others than it was
made of, or where its gate no longer passes.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from assistant.errors import AssistantError, InvalidInputError, NotFoundError
from assistant.models.build.tuned import TUNED_FILE, read_tuned
from assistant.models.passport import PASSPORT_FILE, Passport, passport_from_json
from assistant.models.shipped import SHIPPED, ShippedModel, shipped_models
from assistant.settings import Settings
from training import lineage
from training.base import load_base
from training.job import Job
from training.recipe import Recipe, read_recipe
from training.reporting import Silent
from training.run import prepared, switch_off_telemetry
from training.sections import Base as BaseSection
from training.shipping import judged_again, write_papers
from training.tasks import task_module

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line names, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.reviewing", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TASK/NAME", help="all where none is named")
    parser.add_argument("--data", type=Path, help="folder of the sets, in place of the recipe's")
    parser.add_argument("--shipped", type=Path, default=SHIPPED, help="folder of shipped models")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    switch_off_telemetry()
    failed = False
    try:
        models = chosen(given.names, given.shipped)
    except AssistantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for model in models:
        try:
            changes = [f"data.root={given.data.resolve()}"] if given.data else []
            recipe = read_recipe(Path(f"shipped-{model.task}-{model.name}"), changes)
            passport = review(model, recipe, Settings())
        except AssistantError as error:
            failed = True
            sys.stderr.write(f"{model}: {error}\n")
            continue
        _log.info("%s: %s", model, passport.gate.verdict())
    return 1 if failed else 0


def chosen(names: Sequence[str], folder: Path) -> list[ShippedModel]:
    """Return the shipped models of these names, or all. Raises NotFoundError for another name."""
    known = {str(model): model for model in shipped_models(root=folder)}
    missing = [name for name in names if name not in known]
    if missing:
        raise NotFoundError(f"{missing[0]!r} is not shipped; there are {', '.join(known)}.")
    return [known[name] for name in names] if names else list(known.values())


def review(model: ShippedModel, recipe: Recipe, settings: Settings) -> Passport:
    """Measure a shipped model, write its passport and card, and return the passport.

    Raises InvalidInputError when the recipe's rows are others than those of the passport, or the
    gate does not pass.
    """
    text = (model.folder / PASSPORT_FILE).read_text(encoding="utf-8")
    before = passport_from_json(text, str(model.folder / PASSPORT_FILE))
    with tempfile.TemporaryDirectory() as place:
        job = _judging(model, recipe, settings, Path(place))
        if job.data.card.sha256 != before.data.sha256:
            raise InvalidInputError(
                "it was made of other rows than these, some of which it may have learnt; give the "
                "data it was made of, or train it anew."
            )
        part = Path(place) / "version"
        part.mkdir()
        shutil.copyfile(model.folder / TUNED_FILE, part / TUNED_FILE)
        passport = judged_again(job, before, part, job.notes)
    if not passport.gate.passed:
        raise InvalidInputError(f"its gate does not pass: {passport.gate.verdict()}.")
    write_papers(passport, model.folder)
    return passport


def _judging(model: ShippedModel, recipe: Recipe, settings: Settings, place: Path) -> Job:
    """Return the job that made the model, less the rows that it or an ancestor has learnt from.

    What the training began with takes no part: only its own file is measured, on the base.
    """
    tuned = read_tuned(model.folder / TUNED_FILE)
    start = BaseSection(model=tuned.base, licence=tuned.licence, characters=tuned.characters)
    # A data folder of its own: no version of the company's stands beside it.
    own = settings.model_copy(update={"data_dir": place})
    data = prepared(recipe, task_module(recipe.recipe.task), place / "data", Silent())
    job = Job(recipe, own, load_base(start, own), data, place, Silent())
    job = lineage.apart(job, lineage.written(recipe))
    gone = len(data.valid) + len(data.test) - len(job.data.valid) - len(job.data.test)
    note = (
        f"not measured on {gone} held-out rows that a version it was trained from has learnt from"
    )
    return replace(job, notes=(note,) if gone else ())


if __name__ == "__main__":
    sys.exit(main())
