"""One training run, from a recipe to a version in the registry.

Rows are prepared, the task trains, the result is exported past its gates, measured as it will be
served, and added to the registry with its passport. Every step leaves its result in the run's
folder, so that a run that was killed goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assistant.errors import BusyError, InvalidInputError
from assistant.evaluation import Metric
from assistant.models.build.tuned import read_tuned
from assistant.models.card import GROUP
from assistant.models.names import SHARED_TENANT, valid_model_name
from assistant.models.passport import Failure, Gate, Passport
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings
from training import experiments, lineage, passports, searching
from training.base import load_base
from training.data.pipeline import prepare
from training.data.rows import Row
from training.data.storage import Prepared
from training.export import check_loss, export
from training.failures import failures, groups
from training.job import Job, Metrics, TaskModule, Trained
from training.recipe import Recipe
from training.reporting import Reporter
from training.tasks import task_module

_DONE = "done.json"
_GATE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run made. ``promoted``: it is now the one that is served."""

    version: Version
    passport: Passport
    promoted: bool
    folder: Path


def run(
    recipe: Recipe,
    settings: Settings,
    reporter: Reporter,
    *,
    tenant: str = SHARED_TENANT,
    promote: bool = False,
    again: bool = False,
) -> Outcome:
    """Do what the recipe says and return the version it made.

    A finished run of the same recipe is returned as it is, unless ``again``; an unfinished one goes
    on. ``promote`` serves the version if its gate passes. Raises an AssistantError that says what
    to mend; nothing that is served changes before the very end.
    """
    switch_off_telemetry()
    valid_model_name(recipe.recipe.name)
    folder = run_folder(recipe, settings, tenant)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "run.lock", timeout=0):
            if again:
                _clear(folder)
            version = _finished(folder, recipe, settings, tenant)
            if version is None:
                version = _made(recipe, settings, reporter, folder, tenant)
                (folder / _DONE).write_text(json.dumps({"version": version.number}))
    except Timeout as error:
        raise BusyError(
            f"This recipe is being run already, in {folder}. Wait for it or end it."
        ) from error
    passport = version.passport()
    if promote and passport.gate.passed:
        ModelStore.of(settings).promote(version)
    return Outcome(version, passport, promote and passport.gate.passed, folder)


def run_folder(recipe: Recipe, settings: Settings, tenant: str) -> Path:
    """Return where a run keeps its data, checkpoints and log."""
    name = f"{recipe.digest()}" if tenant == SHARED_TENANT else f"{recipe.digest()}-{tenant}"
    return settings.data_dir / "training" / recipe.registry_task / recipe.recipe.name / name


def finished(recipe: Recipe, settings: Settings, tenant: str = SHARED_TENANT) -> Version | None:
    """Return the version that a finished run of this very recipe made; None if there is none."""
    return _finished(run_folder(recipe, settings, tenant), recipe, settings, tenant)


def switch_off_telemetry() -> None:
    """Keep the training libraries from calling home. Called before any of them is used."""
    os.environ.update(
        HF_HUB_DISABLE_TELEMETRY="1",
        DO_NOT_TRACK="1",
        DISABLE_TELEMETRY="1",
        WANDB_DISABLED="true",
        TOKENIZERS_PARALLELISM="true",
    )
    for noisy in ("transformers", "sentence_transformers", "accelerate", "peft"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def make_job(recipe: Recipe, settings: Settings, reporter: Reporter, folder: Path) -> Job:
    """Return the run's base and rows, ready for its task."""
    module = task_module(recipe.recipe.task)
    reporter.stage("preparing the data")
    data = prepared(recipe, module, folder / "data", reporter)
    reporter.stage(f"opening the base {recipe.base.model}")
    job = Job(recipe, settings, load_base(recipe.base, settings), data, folder, reporter)
    if recipe.distil.teacher:
        from training.distilling import student_job

        job = student_job(job)
    return lineage.apart(job)


def prepared(recipe: Recipe, module: TaskModule, folder: Path, reporter: Reporter) -> Prepared:
    """Return the rows of the recipe; a task with several tables prepares them itself."""
    own = getattr(module, "prepare", None)
    if own is not None:
        found: Prepared = own(recipe, folder, reporter)
        return found
    if recipe.data is None:
        raise InvalidInputError(f"Recipe {recipe.recipe.name} has no [data] section.")
    return prepare(recipe.data, module.KIND, folder)


def _made(
    recipe: Recipe, settings: Settings, reporter: Reporter, folder: Path, tenant: str
) -> Version:
    _refuse_unused(recipe)
    version_folder = folder / "version"
    if recipe.registry_task == "generator":
        # Its base is a decoder: nothing of what follows fits.
        from training.tasks import generator

        passport = generator.make(recipe, settings, reporter, folder, tenant=tenant)
        return _added(recipe, settings, folder, tenant, passport)
    module = task_module(recipe.recipe.task)
    job = make_job(recipe, settings, reporter, folder)
    job, notes = searching.searched(job, module, metric_of(recipe, module))
    reporter.stage("training")
    trained = module.train(job)
    trained = replace(trained, notes=(*job.notes, *notes, *trained.notes))
    parity = export(job, trained, version_folder)
    passport = judged(job, module, trained, version_folder, parity=parity)
    passport = _with_plot(passport, metric_of(recipe, module), folder, version_folder)
    reporter.stage("adding the version to the registry")
    return _added(recipe, settings, folder, tenant, passport)


def _added(
    recipe: Recipe, settings: Settings, folder: Path, tenant: str, passport: Passport
) -> Version:
    version = ModelStore.of(settings).add(
        folder / "version",
        tenant=tenant,
        task=recipe.registry_task,
        name=recipe.recipe.name,
        passport=passport,
    )
    experiments.record(settings, version, recipe.digest(), folder)
    return version


def _refuse_unused(recipe: Recipe) -> None:
    """Raise InvalidInputError for a section that this task would pass over in silence."""
    task, continual = recipe.recipe.task, recipe.continual
    asked = {
        "search": recipe.search.trials > 0 and recipe.registry_task == "generator",
        "pseudo": recipe.pseudo.texts is not None and task != "classifier",
        "continual": task != "classifier"
        and bool(continual.replay or continual.distil or continual.replay_data),
    }
    for section, unused in asked.items():
        if unused:
            raise InvalidInputError(
                f"Recipe {recipe.recipe.name} has a [{section}] section, which {task} cannot use "
                "yet; leave it out."
            )


def metric_of(recipe: Recipe, module: TaskModule) -> str:
    """Return the metric that early stopping and the gate look at."""
    chosen = getattr(module, "default_metric", None)
    return recipe.gate.metric or (chosen(recipe) if chosen is not None else module.METRIC)


def _with_plot(passport: Passport, metric: str, folder: Path, version: Path) -> Passport:
    """Put the plot of the run beside the version, where its card shows it."""
    try:
        plot = experiments.plot_run(folder, metric, f"{passport.task}/{passport.name}")
    except (OSError, ValueError, ImportError) as error:  # a picture must not cost a model
        logging.getLogger(__name__).warning("the run could not be plotted: %s", error)
        return passport
    if plot is None:
        return passport
    shutil.copyfile(plot, version / plot.name)
    return replace(passport, notes=(*passport.notes, f"![loss and validation]({plot.name})"))


def judged(
    job: Job,
    module: TaskModule,
    trained: Trained,
    folder: Path,
    *,
    parity: dict[str, float],
) -> Passport:
    """Measure the exported version as it will be served and return its passport.

    Raises ModelError when int8 loses more than the recipe allows.
    """
    recipe, reporter = job.recipe, job.reporter
    metric = metric_of(recipe, module)
    rows = (job.data.valid or job.data.test or job.data.train)[:_GATE_ROWS]
    reporter.stage(f"measuring what int8 loses of {metric} on {len(rows)} rows")
    both = [module.evaluate(folder / precision, rows, job) for precision in ("fp32", "int8")]
    fp32, int8 = ({name: m.value for name, m in found.items()} for found in both)
    if metric not in int8:
        raise InvalidInputError(
            f"gate.metric is {metric!r}; this task measures {', '.join(sorted(int8))}."
        )
    parity[f"int8_loss_{metric}"] = check_loss(metric, fp32, int8, recipe.export.max_loss)
    if "fp32" not in recipe.export.precisions:
        shutil.rmtree(folder / "fp32")
    metrics = measured(job, module, folder / "int8")
    gate = decide(job, module, metric, metrics)
    if recipe.distil.teacher:
        from training.teachers import beside_teacher

        trained = beside_teacher(job, module, trained, folder / "int8", metric)
    passport = passports.passport(job, trained, folder, metrics=metrics, gate=gate, parity=parity)
    # A company's own rows stay out of the card, which is passed on.
    return replace(passport, failures=mistakes(job, module, folder / "int8", quote=False))


def measured(job: Job, module: TaskModule, model: Path) -> dict[str, Metrics]:
    """Return what the served model reaches on every split that holds rows, and on groups of the
    test rows (``training.failures.groups``)."""
    more = getattr(module, "more_splits", None)
    splits = {"valid": job.data.valid, "test": job.data.test, **(more(job) if more else {})}
    if getattr(module, "prepare", None) is None:
        splits |= {GROUP + name: rows for name, rows in groups(job.data.test).items()}
    found: dict[str, Metrics] = {}
    for split, rows in splits.items():
        if rows:
            job.reporter.stage(f"measuring {split} on {len(rows)} rows")
            found[split] = module.evaluate(model, rows, job)
    return found


def mistakes(job: Job, module: TaskModule, model: Path, *, quote: bool) -> tuple[Failure, ...]:
    """Return the most frequent mistakes of a built model on the rows it is judged by."""
    outcomes = getattr(module, "outcomes", None)
    rows = job.data.test or job.data.valid
    if outcomes is None or not rows:
        return ()
    return failures(outcomes(model, rows, job), quote=quote)


def decide(job: Job, module: TaskModule, metric: str, metrics: dict[str, Metrics]) -> Gate:
    """Return whether the version may be promoted, judged on test rows, else on validation."""
    split = "test" if "test" in metrics else "valid"
    if split not in metrics:
        return Gate(metric, None, False, "no rows were held out to judge it by")
    own = metrics[split][metric]
    name, bar = f"{split}.{metric}", job.recipe.gate.at_least
    if own.value < bar:
        return Gate(name, bar, False, "below the recipe's bar", own.value)
    rows = job.data.test if split == "test" else job.data.valid
    current = _current(job, module, rows, metric) if job.recipe.gate.beat_current else None
    if current is not None and own.value < current[1].low:
        reason = f"below the interval of {current[0]}, which reaches {current[1].value:.4f}"
        return Gate(name, bar, False, reason, own.value)
    reason = "" if current is None else f"{current[0]} reaches {current[1].value:.4f}"
    return Gate(name, bar, True, reason, own.value)


def _current(
    job: Job, module: TaskModule, rows: Sequence[Row], metric: str
) -> tuple[str, Metric] | None:
    """Measure the version in use on the same rows; None when there is none or it cannot tell."""
    store = ModelStore.of(job.settings)
    version = store.current_or_none(job.recipe.registry_task, job.recipe.recipe.name)
    if version is None:
        return None
    try:
        found = module.evaluate(version.part("int8"), rows, job)
    except Exception as error:  # whatever is wrong with the old one must not stop the new one
        logging.getLogger(__name__).warning("%s cannot be compared with: %s", version.ref, error)
        return None
    return version.ref, found[metric]


def _finished(folder: Path, recipe: Recipe, settings: Settings, tenant: str) -> Version | None:
    path = folder / _DONE
    if not path.is_file():
        return None
    try:
        number = int(json.loads(path.read_text())["version"])
        store = ModelStore.of(settings)
        return store.version(recipe.registry_task, recipe.recipe.name, number, tenant)
    except Exception:  # deleted since, or a damaged note: make it anew
        return None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "run.lock":
            path.unlink()


def describe(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON values."""
    passport = outcome.passport
    if passport.task == "generator":
        saved = passport.trainable_parameters
    else:
        saved = read_tuned(outcome.version.folder / "tuned.safetensors").parameters
    return {
        "version": outcome.version.ref,
        "promoted": outcome.promoted,
        "folder": str(outcome.version.folder),
        "parameters_saved": saved,
        **passport.as_data(),
    }
