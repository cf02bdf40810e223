"""Rows that join a run's training rows later: replayed ones, and texts the model labels itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from training.data.leaks import check_leaks
from training.data.resemblance import Resemblance
from training.data.rows import LabelledText, PlainText, Row
from training.data.spec import DataSpec
from training.job import Job

AnyText = TypeVar("AnyText", LabelledText, PlainText)


def without_leaks(
    rows: Sequence[AnyText], held_out: Mapping[str, Sequence[Row]], spec: DataSpec
) -> tuple[list[AnyText], int]:
    """Return ``rows`` less those that stand, the same or nearly so, in a set held out; and how
    many that were. ``spec`` says what near means.

    Groups are not compared: the rows come from elsewhere, where numbers mean something else.
    """
    own: list[Row] = [replace(row, group="") for row in rows]
    others: dict[str, list[Row]] = {
        name: [replace(row, group="") for row in held] for name, held in held_out.items()
    }
    near = spec.leaks.near if spec.leaks.near is not None else not spec.columns.record
    resemblance = Resemblance(
        [*own, *(row for held in others.values() for row in held)],
        unit="text",
        near=near,
        threshold=spec.leaks.threshold,
        permutations=spec.dedupe.permutations,
    )
    leaking: set[int] = set()
    for name, held in others.items():
        _, found = check_leaks({"train": own, name: held}, resemblance)
        leaking |= found.get("train", set())
    return [row for place, row in enumerate(rows) if place not in leaking], len(leaking)


def held_out(job: Job) -> dict[str, Sequence[Row]]:
    """Return the rows of the run that must not be learned from."""
    return {"valid": job.data.valid, "test": job.data.test}


def with_rows(job: Job, rows: Sequence[LabelledText]) -> Job:
    """Return the job with these training rows in place of its own."""
    return replace(job, data=replace(job.data, train=tuple(rows)))
