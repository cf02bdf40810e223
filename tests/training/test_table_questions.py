"""Questions on made-up tables: where their answers stand, and what no table says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from random import Random

import pytest

from indexes.language import detect_language
from training.data.rows import ReadingExample
from training.table_questions import UNANSWERED, WORDS, made_questions
from training.table_values import value

MANY = made_questions(3000, seed=5)
TABLES = tomllib.loads(WORDS.read_text("utf-8"))


def cells(row: ReadingExample) -> Iterator[tuple[tuple[str, str], str, str, int]]:
    """Read the lines again: name or names of the row, header, cell and where it stands."""
    start = 0
    for line in row.context.split("\n"):
        fields = line.split("; ")
        if len(fields) > 1:
            place = start
            before = fields[0].split(": ")[-1]
            second = fields[1].split(": ")[-1]
            for number, field in enumerate(fields):
                header, _, cell = field.rpartition(": ")
                if number:
                    yield (before, second), header, cell, place + len(header) + 2
                place += len(field) + 2
        start += len(line) + 1


def test_an_answer_is_the_whole_cell_at_its_place() -> None:
    answered = [row for row in MANY if row.answers]
    for row in answered:
        (answer,) = row.answers
        assert row.context[answer.start :].startswith(answer.text)
        assert (answer.text, answer.start) in {(cell, at) for _, _, cell, at in cells(row)}


def test_the_cell_is_that_of_the_name_and_column_asked_for() -> None:
    for row in MANY:
        folded = row.question.casefold()
        for names, header, cell, at in cells(row):
            here = row.answers and (cell, at) == (row.answers[0].text, row.answers[0].start)
            if here:
                assert header.casefold() in folded and names[0].casefold() in folded
            assert cell and header


def test_a_third_asks_for_what_the_table_does_not_say() -> None:
    unanswered = [row for row in MANY if not row.answers]
    assert abs(len(unanswered) / len(MANY) - UNANSWERED) < 0.04
    whole = 0
    for row in unanswered:
        folded = row.question.casefold()
        said = [
            (names[0].casefold(), header.casefold())
            for names, header, _, _ in cells(row)
            if names[0].casefold() in folded and header.casefold() in folded
        ]
        whole += not said
    # What is left are names told apart by a term, columns of nearly the same name, follow-ups.
    assert whole > 0.6 * len(unanswered)


def test_both_languages_and_the_same_by_seed() -> None:
    languages = [detect_language(row.context) for row in MANY]
    assert 0.45 < languages.count("zh") / len(languages) < 0.55
    assert made_questions(50, seed=5) == MANY[:50]
    assert made_questions(50, seed=6) != MANY[:50]
    assert made_questions(0, seed=5) == []
    assert len({row.context for row in MANY}) > 2900


@pytest.mark.parametrize("table", TABLES["table"], ids=lambda t: f"{t['head']} {t['titles'][0]}")
def test_the_words_are_whole(table: dict[str, object]) -> None:
    language = table["language"]
    assert language in ("zh", "en")
    columns, keys = table["columns"], table["keys"]
    assert isinstance(columns, dict) and isinstance(keys, list)
    assert len(columns) >= 2 and len(set(keys)) == len(keys) >= 4
    for kind in columns.values():
        for draw in range(40):
            made = value(kind, language, Random(draw))
            assert made and not re.search(r"[;\n]|: ", made)


def test_every_way_of_asking_names_both() -> None:
    for language in ("zh", "en"):
        ways = {kind: w for kind, w in TABLES["ask"][language].items() if kind != "then"}
        assert all("{k}" in way and "{c}" in way for kinds in ways.values() for way in kinds)
        assert all("{k}" in way for way in TABLES["ask"]["then"][language])
