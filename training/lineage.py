"""Keep a run that goes on from a trained version apart from what that version was judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from assistant.errors import AssistantError, NotFoundError
from assistant.models.names import REGISTRY_PREFIX, parse_ref
from training.base import find_version
from training.data.pipeline import prepare
from training.data.rows import Row, row_hash
from training.data.spec import DataSpec
from training.data.storage import Prepared
from training.job import Job
from training.recipe import RECIPES, Recipe, read_recipe


@dataclass(frozen=True)
class Ancestor:
    """A version that a run goes on from, near or far; ``data`` are the settings of its rows."""

    ref: str
    task: str
    data: Mapping[str, Any]


def apart(job: Job, line: Iterable[Ancestor] | None = None) -> Job:
    """Return the job less its training rows that an ancestor was judged by, and less its held-out
    rows that one has learnt from.

    An ancestor is the version that the base or the teacher names, or one which that was trained
    from: those of the registry, unless ``line`` names them. Only those with rows of the same kind
    are looked at, and only where their data are still there.
    """
    learnt: set[str] = set()
    judged: set[str] = set()
    for data in _rows(job, registered(job) if line is None else line):
        learnt |= _hashes(data.train)
        judged |= _hashes((*data.valid, *data.test))
    if not learnt:
        return job
    data = job.data
    kept = replace(
        data,
        train=_without(data.train, judged),
        valid=_without(data.valid, learnt),
        test=_without(data.test, learnt),
    )
    counts = [
        len(before) - len(after)
        for before, after in (
            (data.train, kept.train),
            (data.valid, kept.valid),
            (data.test, kept.test),
        )
    ]
    note = (
        f"{job.base.name} and what it was trained from: {counts[0]} training rows left out that "
        f"one of them was judged by, {counts[1] + counts[2]} held-out rows that one has learnt from"
    )
    return replace(job, data=kept, notes=(*job.notes, note))


def registered(job: Job) -> Iterator[Ancestor]:
    """Yield the ancestors that the registry knows, nearest first."""
    reference, seen = job.base.reference, set[str]()
    while reference:
        try:
            version = find_version(reference, job.settings)
        except NotFoundError:
            # What ships was trained in a registry of its own: its parent may not be here,
            job.reporter.stage(f"the rows of {reference} are not looked at: it is not here")
            return
        if version.ref in seen:
            # or its number may name another one here.
            return
        seen.add(version.ref)
        passport = version.passport()
        task = passport.recipe.get("recipe", {}).get("task", "")
        yield Ancestor(version.ref, task, passport.recipe.get("data") or {})
        reference = passport.parent if "@" in passport.parent else ""


def written(recipe: Recipe) -> Iterator[Ancestor]:
    """Yield the ancestors that recipes of this project make, nearest first."""
    seen = {f"{recipe.registry_task}-{recipe.recipe.name}"}
    while reference := _begins_with(recipe):
        ref = parse_ref(reference)
        name = f"{ref.task}-{ref.name}"
        found = [one for one in (f"shipped-{name}", name) if (RECIPES / f"{one}.toml").is_file()]
        if name in seen or not found:
            return
        seen.add(name)
        recipe = read_recipe(Path(found[0]))
        data = recipe.data.model_dump(mode="json") if recipe.data else {}
        yield Ancestor(str(ref), recipe.recipe.task, data | {"root": None})


def _begins_with(recipe: Recipe) -> str:
    start = recipe.distil.teacher or recipe.base.model
    return start if start.startswith(REGISTRY_PREFIX) else ""


def _rows(job: Job, line: Iterable[Ancestor]) -> Iterator[Prepared]:
    """Yield the rows of each ancestor whose files are still there: below its own root, or the
    run's where it tells none, as what ships does."""
    root = job.recipe.data.root if job.recipe.data else None
    for ancestor in line:
        spec = {**ancestor.data, "root": ancestor.data.get("root") or root}
        if ancestor.task != job.recipe.recipe.task or not ancestor.data or not spec["root"]:
            continue
        folder = job.folder / "ancestors" / parse_ref(ancestor.ref).name
        try:
            yield prepare(DataSpec.model_validate(spec), job.data.kind, folder)
        except AssistantError as error:
            job.reporter.stage(f"the rows of {ancestor.ref} are not looked at: {error}")


def _hashes(rows: Sequence[Row]) -> set[str]:
    return {_key(row) for row in rows}


def _without(rows: Sequence[Row], these: set[str]) -> tuple[Row, ...]:
    return tuple(row for row in rows if _key(row) not in these)


def _key(row: Row) -> str:
    # Groups number the rows of one run.
    return row_hash(replace(row, group=""))
