"""``assistant eval classify``: measure a classifier on texts with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import data_dir_option, json_option, load_settings
from assistant.commands.evaluate.shared import (
    check_errors_file,
    choose,
    data_option,
    errors_option,
    finish,
    label_of,
    map_option,
    model_option,
    renaming,
    run_batches,
    skip_bad_option,
    tenant_option,
    warn_empty,
    write_errors,
)
from assistant.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from assistant.evaluation.classification import ClassificationReport
    from assistant.evaluation.tables import ClassifySet, LabelledRow
    from assistant.models.classifier import Prediction
    from assistant.models.heads import HeadSpec
    from assistant.models.store import ModelStore
    from assistant.settings import Settings

CLASSIFIER_TASKS = ("intent", "sentiment", "topic", "risk", "classifier")


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of an evaluation. ``wrong``: the rows that came out wrong, as ``--errors`` has
    them."""

    report: ClassificationReport
    wrong: list[dict[str, Any]]
    warnings: list[str]


@click.command()
@data_option("text,label as CSV, TSV or JSON Lines.")
@click.option(
    "--task",
    type=click.Choice(CLASSIFIER_TASKS),
    help="What to classify for.  [default: the only classifier in use]",
)
@model_option
@tenant_option
@click.option(
    "--text-column",
    "text_columns",
    multiple=True,
    metavar="NAME",
    help="Where the text is; several are joined.  [default: text, or another usual name]",
)
@click.option(
    "--label-column", metavar="NAME", help="Where the label is.  [default: label, or as the task]"
)
@click.option("--separator", metavar="TEXT", help="A cell holds several labels, cut at this.")
@click.option(
    "--positive", metavar="LABEL", help="Of two labels, the one to rank by.  [default: the rarer]"
)
@map_option
@errors_option
@skip_bad_option
@json_option
@data_dir_option
def classify(
    *,
    data: Path,
    task: str | None,
    name: str | None,
    tenant: str,
    text_columns: tuple[str, ...],
    label_column: str | None,
    separator: str | None,
    positive: str | None,
    renamed: tuple[str, ...],
    errors: Path | None,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Measure a classifier: accuracy, F1 by label, calibration, out-of-scope; with intervals.

    Multi-label where the data or the model are: F1 micro and macro, exact match.
    """
    from assistant.evaluation.tables import read_classify_set
    from assistant.models.loading import open_classifier

    settings = load_settings()
    task = task or _task_in_use(settings, name, tenant)
    rows = read_classify_set(
        data,
        text_columns=text_columns,
        label_column=label_column,
        separator=separator,
        prefer=(task, f"{task}s"),
        skip_bad=skip_bad,
    )
    check_errors_file(errors, rows.file)
    chosen = choose(settings, task, name, tenant)
    model = open_classifier(settings, task, chosen.name, chosen.tenant)
    try:
        rows, notes = relabelled(rows, model.head, renaming(renamed))
        found, timing = run_batches("Classifying", [row.text for row in rows.rows], model.classify)
    finally:
        model.close()
    scored = score(rows, model.head, found, positive)
    write_errors(errors, scored.wrong)
    result = {
        "data": str(rows.file),
        "columns": {"text": list(rows.text_columns), "label": rows.label_column},
        "task": task,
        "model": label_of(chosen, model.manifest.name, model.fingerprint),
        **timing.to_json(),
        **scored.report.to_json(),
        "warnings": [*warn_empty(rows.empty, "rows"), *notes, *scored.warnings],
    }
    return finish(result, rows.left_out, as_json)


def _task_in_use(settings: Settings, name: str | None, tenant: str) -> str:
    """Return the task whose classifier is meant when none is named.

    Raises InvalidInputError when several tasks have one, NotFoundError when none has.
    """
    from assistant.models.store import ModelStore

    if name is not None and len(Path(name).parts) > 1:
        return "classifier"
    store = ModelStore.of(settings)
    used = [task for task in CLASSIFIER_TASKS if _in_use(store, task, name, tenant)]
    if len(used) == 1:
        return used[0]
    if used:
        raise InvalidInputError(
            f"Classifiers are in use for {', '.join(used)}: name one by --task."
        )
    raise NotFoundError(
        f"No classifier{f' {name}' if name else ''} is in use: train one with `assistant train`, "
        "then `assistant models promote TASK/NAME@v1`; or give the folder of a built model by "
        "--model."
    )


def _in_use(store: ModelStore, task: str, name: str | None, tenant: str) -> bool:
    plain = name.partition("@")[0] if name else None
    try:
        return store.current_or_none(task, store.choose(task, plain, tenant), tenant) is not None
    except NotFoundError:
        return False
    except InvalidInputError:
        # Several of this task: it is in use, and --model will have to say which.
        return plain is None


# --- labels ------------------------------------------------------------------------------------


def relabelled(
    rows: ClassifySet, head: HeadSpec, renamed: Mapping[str, str]
) -> tuple[ClassifySet, list[str]]:
    """Return the rows with labels as the model names them, and what to tell about that.

    ``renamed``: what the user says. Where the model does not know a label but what it usually
    means, it means that.
    """
    from assistant.evaluation import USUAL_NAMES

    there = {label for row in rows.rows for label in row.labels}
    strange = sorted(set(renamed) - there)
    if strange:
        raise InvalidInputError(
            f"--map {strange[0]}=...: the data have no label {strange[0]!r}; they have "
            f"{', '.join(sorted(there)[:20])}."
        )
    known = {*head.labels, head.reject_label}
    names = dict(renamed)
    notes = []
    for label in sorted(there & set(USUAL_NAMES) - known - set(names)):
        meant = USUAL_NAMES[label]
        if meant in known:
            names[label] = meant
            notes.append(f"The data's {label!r} is taken for the model's {meant!r}.")
    if not names:
        return rows, notes
    changed = tuple(
        replace(row, labels=tuple(names.get(label, label) for label in row.labels))
        for row in rows.rows
    )
    return replace(rows, rows=changed), notes


# --- scores ------------------------------------------------------------------------------------


def score(
    rows: ClassifySet, head: HeadSpec, found: Sequence[Prediction], positive: str | None = None
) -> Scored:
    """Compare predictions with the rows' labels; multi-label when the data or the model are."""
    multi = rows.multi or head.activation == "sigmoid"
    table = [[one.probabilities[label] for label in head.labels] for one in found]
    said = [_said(one, multi) for one in found]
    wrong = [
        _wrong(row, one, labels)
        for row, one, labels in zip(rows.rows, found, said, strict=True)
        if set(labels) != set(row.labels)
    ]
    report = (
        _multi_report(rows, head, said, table)
        if multi
        else _single_report(rows, head, said, table, positive)
    )
    warnings = []
    if rows.multi and head.activation != "sigmoid":
        warnings.append("Rows carry several labels; this model gives one each.")
    if report.unknown_labels:
        named = ", ".join(f"{k} ({v:,})" for k, v in list(report.unknown_labels.items())[:10])
        warnings.append(
            f"Labels that the model does not know, counted as wrong: {named}. Where it calls them "
            f"otherwise, say so: --map DATA=MODEL; its labels: {', '.join(head.labels[:10])}."
        )
    return Scored(report, wrong, warnings)


def _said(prediction: Prediction, multi: bool) -> tuple[str, ...]:
    return prediction.labels if multi else (prediction.label,)


def _single_report(
    rows: ClassifySet,
    head: HeadSpec,
    said: Sequence[tuple[str, ...]],
    table: Sequence[Sequence[float]],
    positive: str | None,
) -> ClassificationReport:
    from assistant.evaluation import classification_report

    try:
        return classification_report(
            [row.labels[0] for row in rows.rows],
            [labels[0] for labels in said],
            labels=head.labels,
            probabilities=table,
            positive=positive,
            reject=head.reject_label,
        )
    except ValueError as error:
        raise InvalidInputError(f"{error}.") from None


def _multi_report(
    rows: ClassifySet,
    head: HeadSpec,
    said: Sequence[tuple[str, ...]],
    table: Sequence[Sequence[float]],
) -> ClassificationReport:
    from assistant.evaluation import multilabel_report

    return multilabel_report(
        [row.labels for row in rows.rows],
        said,
        labels=head.labels,
        probabilities=table if head.activation == "sigmoid" else None,
    )


def _wrong(row: LabelledRow, one: Prediction, said: tuple[str, ...]) -> dict[str, Any]:
    return {
        "line": row.line,
        "text": row.text,
        "expected": "|".join(row.labels),
        "predicted": "|".join(said),
        "probability": round(one.probability, 6),
    }
