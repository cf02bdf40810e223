"""A search finds the better setting on validation rows, and goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import tiny_base as tiny

from assistant.errors import InvalidInputError
from training import run as running
from training import searching
from training.job import Job, Trained
from training.recipe import Recipe
from training.reporting import Silent
from training.tasks import classifier


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


SPACE: dict[str, object] = {"train.learning_rate": [1e-5, 1e-2], "train.batch_size": [8, 16]}


def recipe(base: Path, folder: Path, **changes: object) -> Recipe:
    search = {"trials": 3, "fraction": 0.5, "space": SPACE}
    return tiny.intent_recipe(base, folder, "sought", **{"search": search, **changes})


class Judge:
    """Trains nothing: the score of a trial is told by its settings, step by step."""

    KIND, METRIC = "classify", "accuracy"

    def __init__(self, score: Any) -> None:
        self.seen: list[Recipe] = []
        self.rows: list[int] = []
        self._score = score

    def train(self, job: Job) -> Trained | None:
        self.seen.append(job.recipe)
        self.rows.append(len(job.data.train))
        for step in range(1, 4):
            job.reporter.log({"step": step, "eval_accuracy": self._score(job.recipe, step)})
        return None


def job_of(base: Path, folder: Path, **changes: object) -> Job:
    wanted = recipe(base, folder, **changes)
    return running.make_job(wanted, tiny.settings(folder), Silent(), folder / "run")


def closeness(wanted: Recipe, step: int) -> float:
    """Best at a rate of 1e-3 and the batch of 16."""
    import math

    away = abs(math.log10(wanted.train.learning_rate) + 3) / 3
    return step / 3 * (1 - away) * (1.0 if wanted.train.batch_size == 16 else 0.8)


def test_the_best_values_are_found_and_used(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, search={"trials": 25, "fraction": 0.5, "space": SPACE})
    judge = Judge(closeness)
    found, notes = searching.searched(job, judge, "accuracy")  # type: ignore[arg-type]
    assert found.recipe.train.batch_size == 16
    assert 2e-4 < found.recipe.train.learning_rate < 5e-3
    assert len(judge.seen) == 25
    assert set(judge.rows) == {round(len(job.data.train) * 0.5)}
    assert all(1e-5 <= one.train.learning_rate <= 1e-2 for one in judge.seen)
    assert "best of 25 trials" in notes[0]
    assert "train.batch_size = 16" in notes[0]
    written = json.loads((job.folder / "search" / "best.json").read_text(encoding="utf-8"))
    assert written["values"]["train.batch_size"] == 16
    assert written["pruned"] > 0, "some trials fall behind the median"


def test_a_search_that_was_killed_goes_on(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, search={"trials": 6, "fraction": 0.5, "space": SPACE})

    def dies(wanted: Recipe, step: int) -> float:
        if len(judge.seen) == 4:
            raise KeyboardInterrupt
        return closeness(wanted, step)

    judge = Judge(dies)
    with pytest.raises(KeyboardInterrupt):
        searching.search(job, judge, "accuracy")  # type: ignore[arg-type]
    rest = Judge(closeness)
    found = searching.search(job, rest, "accuracy")  # type: ignore[arg-type]
    assert found.trials == 6
    assert len(rest.seen) == 3
    rates = [one.train.learning_rate for one in (*judge.seen[:3], *rest.seen)]
    assert len(set(rates)) == 6, "no trial is run twice"
    again = Judge(closeness)
    assert searching.search(job, again, "accuracy") == found  # type: ignore[arg-type]
    assert again.seen == []


def test_a_real_run_is_made_with_the_best_values(base: Path, tmp_path: Path) -> None:
    outcome = running.run(recipe(base, tmp_path), tiny.settings(tmp_path), Silent())
    note = next(note for note in outcome.passport.notes if note.startswith("search:"))
    best = json.loads((outcome.folder / "search" / "best.json").read_text(encoding="utf-8"))
    used = outcome.passport.recipe["train"]
    assert used["learning_rate"] == best["values"]["train.learning_rate"]
    assert used["batch_size"] == best["values"]["train.batch_size"]
    assert "best of 3 trials" in note
    assert not list(outcome.folder.glob("search/*/checkpoint-*")), "trials leave no checkpoints"


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "search.space is empty"),
        ({"train.learning_rat": [1e-5, 1e-3]}, "did you mean 'learning_rate'"),
        ({"data.max_rows": [10, 20]}, "the rows are the same in every trial"),
        ({"train.dropout": [0.3, 0.1]}, "low comes first"),
        ({"train.dropout": []}, "train.dropout is empty"),
    ],
)
def test_spaces_that_cannot_be_searched(
    base: Path, tmp_path: Path, space: dict[str, object], said: str
) -> None:
    job = job_of(base, tmp_path, search={"trials": 2, "space": space})
    with pytest.raises(InvalidInputError, match=said):
        searching.searched(job, classifier, "accuracy")


def test_it_needs_validation_rows(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path)
    job = replace(job, data=replace(job.data, valid=()))
    with pytest.raises(InvalidInputError, match="needs validation rows"):
        searching.searched(job, classifier, "accuracy")


def test_without_trials_nothing_changes(base: Path, tmp_path: Path) -> None:
    job = job_of(base, tmp_path, search={"trials": 0})
    assert searching.searched(job, classifier, "accuracy") == (job, ())


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ((1e-5, 1e-3), True),
        ((0, 0.3), True),
        ((16, 32), False),
        ((0.1, 0.2, 0.3), False),
        (("linear", "cosine"), False),
    ],
)
def test_two_floats_are_a_range(choices: tuple[Any, ...], *, expected: bool) -> None:
    assert searching.is_range(choices) is expected


def test_values_come_from_the_space() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space: Mapping[str, Any] = {"a": (1e-5, 1e-2), "b": (0.0, 0.3), "c": ("x", "y"), "d": (1, 2)}
    drawn = [searching.suggest(study.ask(), space) for _ in range(40)]
    rates = [float(values["a"]) for values in drawn]
    assert sum(rate < 1e-3 for rate in rates) > 20, "a wide range is drawn on a log scale"
    assert all(0 <= float(values["b"]) <= 0.3 for values in drawn)
    assert {values["c"] for values in drawn} == {"x", "y"}
    assert {values["d"] for values in drawn} == {1, 2}
