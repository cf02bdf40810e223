"""Questions on made-up tables, written as documents are: one line a row.

Sets of questions on running text teach a reader nothing of rows: it does not find what stands in
them, or takes the neighbour's. Here the very row and column tell the answer, beside others that
nearly do, and a part of the questions asks for what the table does not say.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from indexes.loaders.tables import render_table
from indexes.types import Language
from training.data.rows import ReadingAnswer, ReadingExample
from training.table_values import value

WORDS = Path(__file__).with_name("table_words.toml")
UNANSWERED, FOLLOW_UPS, TITLED, ALIKE = 0.35, 0.12, 0.7, 0.5
"""Shares: of questions that the table does not answer, of those that lean on one before, of tables
below a title, and of tables with two columns of nearly the same name."""
_MOST_ROWS, _MOST_COLUMNS = 4, 4


@dataclass(frozen=True, slots=True)
class _Table:
    """Values by what (a row's name, with what tells it from its like) and by which column."""

    language: Language
    title: str
    head: str
    second: str
    kinds: Mapping[str, str]
    cells: Mapping[tuple[str, str], Mapping[str, str]]

    @property
    def names(self) -> list[tuple[str, str]]:
        return list(self.cells)

    def without(self, random: Random) -> tuple[_Table, tuple[str, str], str]:
        """Return the table less a row or a column, and what it would have told."""
        name, column = random.choice(self.names), random.choice(list(self.kinds))
        if len(self.kinds) == 1 or random.random() < 0.5:
            cells = {other: row for other, row in self.cells.items() if other != name}
            return replace(self, cells=cells), name, column
        kinds = {other: kind for other, kind in self.kinds.items() if other != column}
        return replace(self, kinds=kinds), name, column


def made_questions(count: int, seed: int) -> list[ReadingExample]:
    """Return ``count`` questions on tables of their own, half Chinese, half English, seeded."""
    random = Random(f"tables {seed}")
    return [_question(random, number) for number in range(count)]


def _question(random: Random, number: int) -> ReadingExample:
    language: Language = "zh" if number % 2 else "en"
    table = _table(random, random.choice(_tables(language)), language)
    if random.random() < UNANSWERED:
        kinds = table.kinds
        table, name, column = table.without(random)
        asked = _ask(random, table, name, (column, kinds[column]))
        return ReadingExample(f"table-{number}", asked, _text(random, table).text, ())
    name, column = random.choice(table.names), random.choice(list(table.kinds))
    asked = _ask(random, table, name, (column, table.kinds[column]))
    written = _text(random, table)
    answer = ReadingAnswer(table.cells[name][column], written.place(name, column))
    return ReadingExample(f"table-{number}", asked, written.text, (answer,))


@dataclass(frozen=True, slots=True)
class _Written:
    """A table as text, with where each value stands."""

    text: str
    places: Mapping[tuple[tuple[str, str], str], int]

    def place(self, name: tuple[str, str], column: str) -> int:
        return self.places[name, column]


def _table(random: Random, about: Mapping[str, Any], language: Language) -> _Table:
    second = about.get("second", {})
    names = random.sample(about["keys"], random.randint(2, min(_MOST_ROWS, len(about["keys"]))))
    pairs = [(name, "") for name in names]
    if second:
        apart = random.sample(second["values"], 2)
        pairs = [(name, term) for name in names[:2] for term in apart]
    kinds = _columns(random, about["columns"], language)
    cells = {}
    for pair in pairs:
        row: dict[str, str] = {}
        for column, kind in kinds.items():
            row[column] = value(kind, language, random)
        cells[pair] = row
    title = random.choice(about["titles"])
    return _Table(language, title, about["head"], second.get("head", ""), kinds, cells)


def _columns(random: Random, columns: Mapping[str, str], language: Language) -> dict[str, str]:
    """Return some columns; often one of them twice, as itself and as something nearly alike."""
    chosen = random.sample(list(columns), random.randint(1, min(_MOST_COLUMNS, len(columns)) - 1))
    found = [(column, columns[column]) for column in chosen]
    if random.random() < ALIKE:
        more, column = random.choice(_words()["also"][language]), chosen[0]
        alike = f"{more}{column}" if language == "zh" else f"{more} {column}"
        found.insert(random.randint(0, len(found)), (alike, columns[column]))
    return dict(found)


def _ask(random: Random, table: _Table, name: tuple[str, str], what: tuple[str, str]) -> str:
    language, (column, kind) = table.language, what
    ways = _words()["ask"][language]
    way: str = random.choice(ways.get(kind, ways["any"]))
    if random.random() < FOLLOW_UPS and len(table.names) > 1:
        other = random.choice([pair for pair in table.names if pair != name] or [name])
        then: str = random.choice(_words()["ask"]["then"][language])
        asked = way.format(k=_called(other, language), c=column)
        asked += then.format(k=_called(name, language))
    else:
        asked = way.format(k=_called(name, language), c=column)
    if language == "en":
        asked = asked.lower() if random.random() < 0.5 else asked[0].upper() + asked[1:]
    end = "？" if language == "zh" else "?"
    return asked + (end if random.random() < 0.5 else "")


def _called(name: tuple[str, str], language: Language) -> str:
    return "".join(name) if language == "zh" else " ".join(filter(None, name))


def _text(random: Random, table: _Table) -> _Written:
    """Write the table by rows, by columns, or of one thing only as a list."""
    plain = not table.second
    form = random.choice(("rows", "rows", "columns") if plain else ("rows",))
    names, columns = table.names, list(table.kinds)
    if form == "rows":
        grid = [[table.head, *([] if plain else [table.second]), *columns]]
        for name in names:
            keys = [name[0]] if plain else list(name)
            grid.append([*keys, *(table.cells[name][column] for column in columns)])
    else:
        corner = random.choice(_words()["items"][table.language])
        grid = [[corner, *(name[0] for name in names)]]
        for column in columns:
            grid.append([column, *(table.cells[name][column] for name in names)])
    lines = render_table(grid, 1)
    lead = [table.title] if random.random() < TITLED else []
    return _placed(table, lead, lines, by_rows=form == "rows")


def _placed(table: _Table, lead: Sequence[str], lines: Sequence[str], *, by_rows: bool) -> _Written:
    """Find each value in the line of its row, behind the header of its column."""
    names, columns = table.names, list(table.kinds)
    text, places = "\n".join([*lead, *lines]), {}
    start = sum(len(line) + 1 for line in lead)
    for number, line in enumerate(lines):
        for other in range(len(columns) if by_rows else len(names)):
            name = names[number] if by_rows else names[other]
            column = columns[other] if by_rows else columns[number]
            header = column if by_rows else name[0]
            field = f"; {header}: "
            places[name, column] = start + line.index(field) + len(field)
        start += len(line) + 1
    return _Written(text, places)


@cache
def _words() -> Mapping[str, Any]:
    return tomllib.loads(WORDS.read_text("utf-8"))


@cache
def _tables(language: Language) -> Sequence[Mapping[str, Any]]:
    return [table for table in _words()["table"] if table["language"] == language]
