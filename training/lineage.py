"""Keep a run that goes on from a trained version apart from what that version was judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from assistant.errors import AssistantError
from training.base import find_version
from training.data.pipeline import prepare
from training.data.rows import Row, row_hash
from training.data.spec import DataSpec
from training.data.storage import Prepared
from training.job import Job


def apart(job: Job) -> Job:
    """Return the job less its training rows that an ancestor was judged by, and less its held-out
    rows that one has learnt from.

    An ancestor is the version the base names, or one which that was trained from. Only those with
    rows of the same kind are looked at, and only where their data are still there.
    """
    learnt: set[str] = set()
    judged: set[str] = set()
    for data in _ancestors(job):
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


def _ancestors(job: Job) -> Iterator[Prepared]:
    """Yield the rows of each ancestor whose files are still there, nearest first."""
    reference, seen = job.base.reference, set[str]()
    while reference:
        version = find_version(reference, job.settings)
        if version.ref in seen:
            # What ships was trained in a registry of its own, where its number named its parent.
            return
        seen.add(version.ref)
        passport = version.passport()
        recipe, spec = passport.recipe, passport.recipe.get("data")
        same = recipe.get("recipe", {}).get("task") == job.recipe.recipe.task
        if same and spec and spec.get("root"):
            folder = job.folder / "ancestors" / version.name
            try:
                yield prepare(DataSpec.model_validate(spec), job.data.kind, folder)
            except AssistantError as error:
                job.reporter.stage(f"the rows of {reference} are not looked at: {error}")
        reference = passport.parent if "@" in passport.parent else ""


def _hashes(rows: Sequence[Row]) -> set[str]:
    return {_key(row) for row in rows}


def _without(rows: Sequence[Row], these: set[str]) -> tuple[Row, ...]:
    return tuple(row for row in rows if _key(row) not in these)


def _key(row: Row) -> str:
    # Groups number the rows of one run.
    return row_hash(replace(row, group=""))
