"""Update a trained classifier without losing what it knew.

Old rows are mixed in (experience replay, Rolnick et al. 2019, arXiv:1811.11682), and the old model
answers for every row what the new one should stay near to (learning without forgetting, Li &
Hoiem 2016, arXiv:1606.09282). New labels join behind the old ones, which keep their places.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from assistant.errors import InvalidInputError
from assistant.models.tokens import Tokenized
from indexes.types import FloatArray
from training.data.pipeline import prepare
from training.data.rows import LabelledText, Row
from training.data.storage import Prepared
from training.extra_rows import held_out, with_rows, without_leaks
from training.fitting import predict
from training.job import Job
from training.modeling import TunedModel
from training.recipe import Recipe

OLD_TEST = "old_test"


@dataclass(frozen=True, slots=True)
class Replay:
    """A job whose training rows have old ones among them, and what there is to say of it."""

    job: Job
    notes: tuple[str, ...] = ()


def check(recipe: Recipe, *, has_parent: bool) -> None:
    """Raise InvalidInputError for a ``[continual]`` section that cannot do anything."""
    section = recipe.continual
    if (section.replay or section.distil) and not has_parent:
        raise InvalidInputError(
            f"continual updates a trained version; base.model is {recipe.base.model!r}. Name one "
            "as registry:TASK/NAME@vN."
        )
    if section.replay and section.replay_data is None:
        raise InvalidInputError(
            f"continual.replay is {section.replay:g}, but continual.replay_data names no rows of "
            "earlier runs."
        )


def replayed(job: Job) -> Replay:
    """Return the job with its share of old rows; as it is where none are asked for.

    Rows that stand in a set held out, of this run or of the old one, are left out. Old validation
    rows join those that training is judged on.
    """
    check(job.recipe, has_parent=job.base.parent is not None)
    section = job.recipe.continual
    old = _old(job.recipe, job.folder)
    if old is None or not section.replay:
        return Replay(job)
    new = [row for row in job.data.train if isinstance(row, LabelledText)]
    known = [row for row in old.train if isinstance(row, LabelledText)]
    spec = section.replay_data
    assert spec is not None
    before = {"old valid": old.valid, OLD_TEST: old.test}
    known, dropped = without_leaks(known, {**held_out(job), **before}, spec)
    new, dropped_new = without_leaks(new, before, spec)
    chosen = balanced_choice(known, wanted(section.replay, len(new)), job.recipe.recipe.seed)
    licences = ", ".join(old.card.licences) or "not stated"
    notes = (
        f"replayed {len(chosen)} of {len(known)} old rows beside {len(new)} new ones (licences: "
        f"{licences}; data {old.card.sha256[:12]}); {dropped + dropped_new} left out that stand in "
        "held-out rows",
    )
    return Replay(_with_old(with_rows(job, [*new, *chosen]), old, len(chosen)), notes)


def old_test(job: Job) -> Sequence[Row]:
    """Return the test rows of the replayed data: what must not be forgotten."""
    old = _old(job.recipe, job.folder)
    return () if old is None else old.test


def wanted(share: float, new: int) -> int:
    """Return how many old rows make up ``share`` of all beside ``new`` ones; 1 takes them all."""
    return round(share / (1 - share) * new) if share < 1 else 10**9


def balanced_choice(rows: Sequence[LabelledText], count: int, seed: int) -> list[LabelledText]:
    """Return ``count`` rows, labels in turn, so that rare ones are not crowded out; seeded."""
    chance = random.Random(seed)
    by_label: dict[str, list[LabelledText]] = defaultdict(list)
    for row in chance.sample(list(rows), len(rows)):
        by_label[row.labels[0] if row.labels else ""].append(row)
    queues = [by_label[label] for label in sorted(by_label)]
    chosen: list[LabelledText] = []
    while queues and len(chosen) < count:
        chosen += [queue.pop() for queue in queues][: count - len(chosen)]
        queues = [queue for queue in queues if queue]
    return chosen


def answers(job: Job, items: Sequence[Tokenized]) -> FloatArray | None:
    """Return the old model's logits for each text, float32 (texts, old labels); None where the
    recipe does not ask for them."""
    parent = job.base.parent
    if not job.recipe.continual.distil or parent is None:
        return None
    old = next((head for head in parent.heads if head.kind == "sequence"), None)
    if old is None:
        raise InvalidInputError(
            f"continual.distil is {job.recipe.continual.distil:g}, but {job.base.name} has no "
            "classifier's head to learn from."
        )
    job.reporter.stage(f"asking {job.base.name} about {len(items)} texts")
    model = TunedModel(job.base.weights, [old], dense=False, dropout=0.0)
    found = predict(model, items, old.name, job.base.weights.vocabulary.pad, job.recipe.train)
    return np.stack(found) if found else np.zeros((0, len(old.labels)), np.float32)


def _with_old(job: Job, old: Prepared, chosen: int) -> Job:
    """Let old validation rows judge as well, as many in proportion as old rows are replayed.

    New ones alone would choose the moment at which most is forgotten.
    """
    share = chosen / max(len(job.data.train), 1)
    known = [row for row in old.valid if isinstance(row, LabelledText)]
    count = wanted(share, len(job.data.valid))
    more = balanced_choice(known, count, job.recipe.recipe.seed)
    return replace(job, data=replace(job.data, valid=(*job.data.valid, *more)))


def _old(recipe: Recipe, folder: Path) -> Prepared | None:
    spec = recipe.continual.replay_data
    return None if spec is None else prepare(spec, "classify", folder / "replay")
