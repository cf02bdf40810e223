"""``assistant classify``: a table of texts in, the same table with labels out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import load_settings
from assistant.commands.texts import run_table, text_table_options

if TYPE_CHECKING:
    from assistant.models.classifier import Prediction
    from assistant.models.headed import HeadedModel
    from assistant.models.heads import HeadSpec
    from assistant.models.tagger import Entity
    from assistant.settings import Settings

_MULTITASK = "multitask"
Work = Callable[[Sequence[str]], list[dict[str, Any]]]


@click.command(name="classify")
@click.option(
    "--task",
    required=True,
    metavar="TASK",
    help="intent, sentiment, topic, risk, classifier; or multitask: all heads in one pass.",
)
@text_table_options
def command(
    *,
    task: str,
    source: Path,
    output: Path,
    model: str | None,
    tenant: str,
    column: str,
    encoding: str | None,
    excel: bool,
    restart: bool,
    as_json: bool,
) -> int:
    """Classify every text of IN (.csv, .tsv or .jsonl with a column "text") into OUT.

    Adds "label", "probability", "probabilities" (of all labels; JSON in a .csv), for a multi-label
    model "labels" too, and "error"; the other columns and the order are kept. OUT appears when all
    is done; run an interrupted command again and it goes on where it stopped. Rows that cannot be
    read stay in with the reason in "error" (exit code 3).
    """
    from assistant.resumable import check_paths
    from assistant.streaming import TextTable

    check_paths(source, output)
    opened, work, added = _open(load_settings(), task, model, tenant)
    table = TextTable(
        source=source,
        output=output,
        added=added,
        model=f"{opened.ref} {opened.fingerprint} {task}",
        column=column,
        encoding=encoding,
        excel=excel,
        restart=restart,
    )
    try:
        return run_table(table, work, _labels, doing="Classifying", ref=opened.ref, as_json=as_json)
    finally:
        opened.close()


def _open(
    settings: Settings, task: str, name: str | None, tenant: str
) -> tuple[HeadedModel, Work, tuple[str, ...]]:
    """Return the model, what it does to the texts of a block, and the columns this fills."""
    from assistant.models.loading import open_classifier, open_multitask

    if task == _MULTITASK:
        several = open_multitask(settings, name, tenant)
        heads = several.manifest.heads
        added = tuple(column for head in heads for column in _columns_of_head(head))
        return several, _all_heads(several), added
    classifier = open_classifier(settings, task, name, tenant)
    head = classifier.head

    def work(texts: Sequence[str]) -> list[dict[str, Any]]:
        return [_values(head, found) for found in classifier.classify(texts)]

    return classifier.model, work, _columns(head)


def _columns(head: HeadSpec) -> tuple[str, ...]:
    several = ("labels",) if head.activation == "sigmoid" else ()
    return ("label", "probability", "probabilities", *several)


def _columns_of_head(head: HeadSpec) -> tuple[str, ...]:
    if head.kind == "token":
        return (f"{head.name}_entities",)
    return tuple(f"{head.name}_{column}" for column in _columns(head))


def _values(head: HeadSpec, found: Prediction) -> dict[str, Any]:
    values: dict[str, Any] = {
        "label": found.label,
        "probability": round(found.probability, 6),
        "probabilities": {name: round(p, 6) for name, p in found.probabilities.items()},
    }
    if head.activation == "sigmoid":
        values["labels"] = list(found.labels)
    return values


def _all_heads(model: HeadedModel) -> Work:
    """Return the values of every head, from one pass over the texts."""
    from assistant.models.multitask import MultiTask

    multitask = MultiTask(model)
    heads = {head.name: head for head in model.manifest.heads}

    def work(texts: Sequence[str]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for analysis in multitask.analyse(texts):
            row: dict[str, Any] = {}
            for name, found in analysis.predictions.items():
                values = _values(heads[name], found)
                row |= {f"{name}_{column}": value for column, value in values.items()}
            for name, entities in analysis.entities.items():
                row[f"{name}_entities"] = [entity_json(entity) for entity in entities]
            rows.append(row)
        return rows

    return work


def entity_json(entity: Entity) -> dict[str, Any]:
    """Return an entity as JSON values."""
    return {
        "text": entity.text,
        "label": entity.label,
        "start": entity.start,
        "end": entity.end,
        "probability": round(entity.probability, 6),
    }


def _labels(values: Mapping[str, Any]) -> Iterable[str]:
    """Return what a row counts for: its label, with the head's name where there are several."""
    for column, value in values.items():
        head, _, kind = column.rpartition("_")
        if kind == "label" and value:
            yield f"{head}: {value}" if head else value
        elif kind == "entities":
            yield from (f"{head}: {entity['label']}" for entity in value)
