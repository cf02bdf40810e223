"""A short search for better settings, before a run: optuna's TPE on the validation rows.

Each trial trains on a share of the training rows; one that falls behind the median of the earlier
ones at the same step is cut short. Trials are kept in the run's folder, so a search that was killed
goes on. Nothing leaves the machine.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from assistant.errors import InvalidInputError
from training.data.ledger import Ledger
from training.data.rows import Row
from training.data.selection import limit_rows
from training.job import Job, TaskModule
from training.recipe import with_changes
from training.reporting import Reporter

if TYPE_CHECKING:
    import optuna

Values: TypeAlias = Mapping[str, int | float | str]
TRIALS_FILE = "search.jsonl"
_LOG_FROM = 10.0
"""A range is searched on a logarithmic scale when its ends are this many times apart."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the best values and score on validation rows, and how many trials."""

    values: Values
    score: float
    metric: str
    trials: int
    pruned: int

    def note(self) -> str:
        """Return one line for the passport."""
        values = ", ".join(f"{key} = {value}" for key, value in sorted(self.values.items()))
        return (
            f"search: best of {self.trials} trials ({self.pruned} cut short): {values}; "
            f"{self.metric} {self.score:.4f} on valid, trained on a share of the rows"
        )


def searched(job: Job, module: TaskModule, metric: str) -> tuple[Job, tuple[str, ...]]:
    """Return the job with the best values the search found, and what to note of it.

    A recipe without trials comes back as it is. Raises InvalidInputError for a search without a
    space or validation rows, and for a key of the space that no recipe has.
    """
    section = job.recipe.search
    if not section.trials:
        return job, ()
    found = search(job, module, metric)
    job.reporter.stage(found.note())
    return replace(job, recipe=with_changes(job.recipe, found.values)), (found.note(),)


def search(job: Job, module: TaskModule, metric: str) -> Found:
    """Run the trials that are still missing and return the best. Raises as ``searched``."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    recipe, folder = job.recipe, job.folder / "search"
    _check(job)
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = str(folder / TRIALS_FILE)
    storage = optuna.storages.JournalStorage(
        JournalFileBackend(path, lock_obj=JournalFileOpenLock(path))
    )
    name = f"{recipe.recipe.name}-{recipe.digest()}"
    before = [s for s in optuna.get_all_study_names(storage) if s == name]
    done = len(_finished(optuna.load_study(study_name=name, storage=storage))) if before else 0
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        direction="maximize",
        load_if_exists=True,
        # A search taken up again must not suggest the same values again.
        sampler=optuna.samplers.TPESampler(
            seed=recipe.recipe.seed + done, n_startup_trials=max(2, recipe.search.trials // 3)
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    runner = _Runner(job, module, metric, folder)
    while len(_finished(study)) < recipe.search.trials:
        study.optimize(runner, n_trials=1)
    found = _best(study, metric)
    _write(folder / "best.json", found)
    return found


def suggest(trial: optuna.Trial, space: Mapping[str, Sequence[int | float | str]]) -> Values:
    """Draw a value for each key: from a range of two floats, else one of the values listed."""
    values: dict[str, int | float | str] = {}
    for key, choices in space.items():
        if is_range(choices):
            low, high = (float(end) for end in choices)
            log = low > 0 and high / low >= _LOG_FROM
            values[key] = trial.suggest_float(key, low, high, log=log)
        else:
            chosen = trial.suggest_categorical(key, list(choices))
            assert chosen is not None
            values[key] = chosen
    return values


def is_range(choices: Sequence[int | float | str]) -> bool:
    """Whether these are the ends of a range: two numbers, one of them written as a float."""
    numbers = [c for c in choices if isinstance(c, int | float) and not isinstance(c, bool)]
    return len(choices) == len(numbers) == 2 and any(isinstance(c, float) for c in numbers)


class _Runner:
    """Trains one trial and returns its best validation score."""

    def __init__(self, job: Job, module: TaskModule, metric: str, folder: Path) -> None:
        self._job, self._module, self._folder = job, module, folder
        self._metric = metric
        share = job.recipe.search.fraction
        count = max(1, round(len(job.data.train) * share))
        with Ledger() as ledger:
            rows: list[Row] = limit_rows(
                job.data.train,
                count,
                seed=job.recipe.recipe.seed,
                ledger=ledger,
                setting="search.fraction",
            )
        self._data = replace(job.data, train=tuple(rows))

    def __call__(self, trial: optuna.Trial) -> float:
        values = suggest(trial, self._job.recipe.search.space)
        self._job.reporter.stage(f"search, trial {trial.number + 1}: {_shown(values)}")
        recipe = with_changes(self._job.recipe, {**values, "search.trials": 0})
        folder = self._folder / f"trial-{trial.number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        watcher = _Watcher(trial, self._metric, self._job.reporter)
        job = replace(self._job, recipe=recipe, data=self._data, folder=folder, reporter=watcher)
        try:
            self._module.train(job)
        finally:
            for checkpoint in folder.glob("**/checkpoint-*"):
                shutil.rmtree(checkpoint, ignore_errors=True)
        if not watcher.scores:
            raise InvalidInputError(
                f"The search sees no {self._metric} on validation rows while "
                f"{recipe.tuning.method} trains; it cannot choose."
            )
        return max(watcher.scores)


class _Watcher:
    """Hears the validation scores of a trial and cuts it short when it falls behind."""

    def __init__(self, trial: optuna.Trial, metric: str, reporter: Reporter) -> None:
        self.scores: list[float] = []
        self._trial, self._key, self._reporter = trial, f"eval_{metric}", reporter

    def stage(self, text: str) -> None:
        del text

    def step(self, done: int, total: int, seconds_left: float) -> None:
        self._reporter.step(done, total, seconds_left)

    def log(self, line: Mapping[str, float]) -> None:
        import optuna

        score = line.get(self._key)
        if score is None:
            return
        self.scores.append(score)
        self._trial.report(score, len(self.scores))
        if self._trial.should_prune():
            raise optuna.TrialPruned


def _check(job: Job) -> None:
    section = job.recipe.search
    if not section.space:
        raise InvalidInputError(
            'search.space is empty; name what to search, like "train.learning_rate" = [1e-5, 1e-4].'
        )
    if not job.data.valid:
        raise InvalidInputError("A search needs validation rows; give data.valid or split.valid.")
    for key, choices in section.space.items():
        if not choices:
            raise InvalidInputError(f"search.space.{key} is empty; give values or a range.")
        if is_range(choices) and not float(choices[0]) < float(choices[1]):
            raise InvalidInputError(f"search.space.{key} is {list(choices)}; low comes first.")
        if key.partition(".")[0] not in ("train", "tuning", "contrast", "pairs", "reading"):
            raise InvalidInputError(
                f"search.space has {key!r}; keys of train, tuning, contrast, pairs and reading can "
                "be searched: the base and the rows are the same in every trial."
            )
        with_changes(job.recipe, {key: choices[0]})


def _finished(study: optuna.Study) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _best(study: optuna.Study, metric: str) -> Found:
    trials = _finished(study)
    pruned = sum(trial.state.name == "PRUNED" for trial in trials)
    best = study.best_trial
    assert best.value is not None
    assert math.isfinite(best.value)
    return Found(dict(best.params), float(best.value), metric, len(trials), pruned)


def _write(path: Path, found: Found) -> None:
    values = {
        "values": dict(found.values),
        found.metric: found.score,
        "trials": found.trials,
        "pruned": found.pruned,
    }
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _shown(values: Values) -> str:
    return ", ".join(
        f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in values.items()
    )
