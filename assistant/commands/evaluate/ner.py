"""``assistant eval ner``: measure a tagger on sentences with their entities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import data_dir_option, json_option, load_settings
from assistant.commands.evaluate.shared import (
    check_errors_file,
    check_lengths,
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
    write_errors,
)

if TYPE_CHECKING:
    from assistant.evaluation.entities import EntityReport
    from assistant.evaluation.sentences import TaggedSentence, TaggedSet
    from assistant.models.heads import HeadSpec
    from assistant.models.tagger import Entity

Tags = tuple[str, ...]


@click.command()
@data_option("CoNLL columns, or JSON Lines of tokens and tags or of text and entities.")
@model_option
@tenant_option
@map_option
@errors_option
@skip_bad_option
@json_option
@data_dir_option
def ner(
    *,
    data: Path,
    name: str | None,
    tenant: str,
    renamed: tuple[str, ...],
    errors: Path | None,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Measure a tagger: precision, recall and F1 of entities and by tag; with intervals."""
    from assistant.evaluation.sentences import read_tagged_set
    from assistant.models.loading import open_tagger
    from assistant.models.tagger import MAX_CHARACTERS

    settings = load_settings()
    rows = relabelled(read_tagged_set(data, skip_bad=skip_bad), renaming(renamed))
    check_errors_file(errors, rows.file)
    check_lengths(rows.file, ((f"line {s.line}", s.text) for s in rows.sentences), MAX_CHARACTERS)
    chosen = choose(settings, "tagger", name, tenant)
    model = open_tagger(settings, chosen.name, chosen.tenant)
    try:
        found, timing = run_batches("Tagging", [s.text for s in rows.sentences], model.tag)
    finally:
        model.close()
    said = predicted_tags(rows, found)
    report = score(rows, said, model.head)
    write_errors(errors, wrong_rows(rows, said))
    unknown = ", ".join(f"{k} ({v:,})" for k, v in list(report.unknown_labels.items())[:10])
    result = {
        "data": str(rows.file),
        "model": label_of(chosen, model.manifest.name, model.fingerprint),
        **timing.to_json(),
        **report.to_json(),
        "unit": rows.unit,
        "warnings": [f"Types the model does not know, counted as missed: {unknown}."]
        if unknown
        else [],
    }
    return finish(result, rows.left_out, as_json)


def relabelled(rows: TaggedSet, renamed: Mapping[str, str]) -> TaggedSet:
    """Return the sentences with types as the model names them."""
    if not renamed:
        return rows

    def tag(old: str) -> str:
        prefix, dash, label = old.partition("-")
        return f"{prefix}{dash}{renamed.get(label, label)}"

    sentences = tuple(replace(s, tags=tuple(tag(old) for old in s.tags)) for s in rows.sentences)
    return replace(rows, sentences=sentences)


def predicted_tags(rows: TaggedSet, found: Sequence[Sequence[Entity]]) -> list[Tags]:
    """Return the tags of the data's tokens that the found entities mean."""
    from assistant.evaluation.entities import EntitySpan
    from assistant.evaluation.sentences import tags_of_spans

    return [
        tags_of_spans([EntitySpan(e.label, e.start, e.end) for e in entities], sentence.offsets)
        for sentence, entities in zip(rows.sentences, found, strict=True)
    ]


def score(rows: TaggedSet, said: Sequence[Tags], head: HeadSpec) -> EntityReport:
    """Compare the tags with those of the data."""
    from assistant.evaluation import entity_report

    types = {label.partition("-")[2] for label in head.labels} - {""}
    return entity_report([s.tags for s in rows.sentences], said, labels=sorted(types))


def wrong_rows(rows: TaggedSet, said: Sequence[Tags]) -> list[dict[str, Any]]:
    """Return the sentences with an entity missed or made up, as ``--errors`` has them."""
    return [
        {
            "line": sentence.line,
            "text": sentence.text,
            "expected": _entities(sentence, sentence.tags),
            "predicted": _entities(sentence, tags),
        }
        for sentence, tags in zip(rows.sentences, said, strict=True)
        if sentence.tags != tags
    ]


def _entities(sentence: TaggedSentence, tags: Tags) -> list[dict[str, Any]]:
    from assistant.evaluation import entity_spans

    found = []
    for span in entity_spans(tags):
        start, end = sentence.offsets[span.start][0], sentence.offsets[span.end - 1][1]
        text = sentence.text[start:end]
        found.append({"text": text, "label": span.label, "start": start, "end": end})
    return found
