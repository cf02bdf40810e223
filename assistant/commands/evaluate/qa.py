"""``assistant eval qa``: measure a reader on questions with their passages."""

from __future__ import annotations

from collections.abc import Sequence
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
    model_option,
    run_batches,
    skip_bad_option,
    tenant_option,
    warn_empty,
    write_errors,
)

if TYPE_CHECKING:
    from assistant.evaluation.questions import ReadingQuestion, ReadingSet
    from assistant.evaluation.reading import ReadingReport
    from assistant.models.reader import Reading
    from indexes.types import Language


@click.command()
@data_option("SQuAD JSON (1.1, 2.0, CMRC 2018) or JSON Lines of questions.")
@model_option
@tenant_option
@click.option(
    "--language",
    type=click.Choice(["auto", "en", "zh"]),
    default="auto",
    show_default=True,
    help="How to compare answers: words (SQuAD) or characters (CMRC); auto: as the passage.",
)
@click.option(
    "--no-answer",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Whether the reader may decline; auto: only where some question has no answer.",
)
@errors_option
@skip_bad_option
@json_option
@data_dir_option
def qa(
    *,
    data: Path,
    name: str | None,
    tenant: str,
    language: str,
    no_answer: str,
    errors: Path | None,
    skip_bad: bool,
    as_json: bool,
) -> int:
    """Measure a reader: exact match and F1, with and without an answer; with intervals."""
    from assistant.evaluation.questions import read_reading_set
    from assistant.models.loading import open_reader
    from assistant.models.reader import MAX_CHARACTERS

    settings = load_settings()
    rows = read_reading_set(data, skip_bad=skip_bad)
    check_errors_file(errors, rows.file)
    passages = ((f"question {q.id}", q.context) for q in rows.questions)
    check_lengths(rows.file, passages, MAX_CHARACTERS)
    chosen = choose(settings, "reader", name, tenant)
    model = open_reader(settings, chosen.name, chosen.tenant)
    try:
        found, timing = run_batches(
            "Reading", [(q.question, q.context) for q in rows.questions], model.read_pairs
        )
    finally:
        model.close()
    declines = may_decline(rows, no_answer)
    tongues = languages(rows, language)
    said = predictions(found, declines)
    report = score(rows, found, said, tongues)
    write_errors(errors, wrong_rows(rows, found, said, tongues))
    result = {
        "data": str(rows.file),
        "model": label_of(chosen, model.manifest.name, model.fingerprint),
        **timing.to_json(),
        **report.to_json(),
        "languages": {tongue: tongues.count(tongue) for tongue in sorted(set(tongues))},
        "may_decline": declines,
        "declined": sum(not text for text in said),
        "threshold": model.head.threshold,
        "warnings": warn_empty(rows.empty, "questions"),
    }
    return finish(result, rows.left_out, as_json)


def may_decline(rows: ReadingSet, no_answer: str) -> bool:
    """Return whether "no answer" counts as a prediction: as asked, else as the data need it."""
    if no_answer != "auto":
        return no_answer == "on"
    return any(not question.answers for question in rows.questions)


def languages(rows: ReadingSet, language: str) -> list[Language]:
    """Return how to compare the answers of each question: as its passage is written."""
    from indexes.language import detect_language

    if language == "zh":
        return ["zh"] * len(rows.questions)
    if language == "en":
        return ["en"] * len(rows.questions)
    known: dict[str, Language] = {}
    for question in rows.questions:
        if question.context not in known:
            known[question.context] = detect_language(question.context)
    return [known[question.context] for question in rows.questions]


def predictions(found: Sequence[Reading], declines: bool) -> list[str]:
    """Return the answers given; empty where the reader declines and may."""
    return ["" if declines and one.no_answer else one.text for one in found]


def score(
    rows: ReadingSet, found: Sequence[Reading], said: Sequence[str], tongues: Sequence[Language]
) -> ReadingReport:
    """Compare the answers given with the right ones."""
    from assistant.evaluation import reading_report

    return reading_report(
        said,
        [question.answers for question in rows.questions],
        languages=tongues,
        no_answer=[1 - one.probability for one in found],
        spans=[one.text for one in found],
    )


def wrong_rows(
    rows: ReadingSet, found: Sequence[Reading], said: Sequence[str], tongues: Sequence[Language]
) -> list[dict[str, Any]]:
    """Return the questions whose answer is not an exact match, as ``--errors`` has them."""
    from assistant.evaluation import exact_match

    return [
        _wrong(question, one, text)
        for question, one, text, tongue in zip(rows.questions, found, said, tongues, strict=True)
        if not exact_match(text, question.answers, tongue)
    ]


def _wrong(question: ReadingQuestion, one: Reading, said: str) -> dict[str, Any]:
    return {
        "id": question.id,
        "question": question.question,
        "expected": list(question.answers),
        "predicted": said,
        "probability": round(one.probability, 6),
    }
