"""Tables of texts through a model: every row comes out with what the model said of it, in order.

Memory does not depend on the number of rows, a killed run is taken up where it stopped, and a row
that cannot be read stays in with the reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.records import render_record
from assistant.resumable import (
    Block,
    Progress,
    RowFailure,
    Written,
    alone,
    check_paths,
    in_order,
    write_blocks,
)
from assistant.tables import (
    Row,
    TableFormat,
    column_key,
    csv_line,
    inspect_table,
    json_line,
    missing_column_message,
    read_rows,
    require_column,
    table_kind,
    undecodable,
)

ERROR = "error"
MAX_COLUMNS = 1000
_INPUT = "input_"
_BOM = "\ufeff"
_NEGATIVE = re.compile(r"-[0-9]{1,18}(?:\.[0-9]{1,18})?")

Values = Mapping[str, Any]
"""What a model says of one text, by the name of the column it goes to."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table to run through a model.

    ``added`` are the columns that the model fills, ``model`` names the model in full (task, name,
    version, fingerprint): a resumed run refuses to mix two. ``excel`` starts a CSV with a
    byte-order mark, without which Excel garbles Chinese. A block ends after ``block_rows`` rows or
    ``block_chars`` characters, whichever comes first.
    """

    source: Path
    output: Path
    added: tuple[str, ...]
    model: str
    column: str = "text"
    encoding: str | None = None
    excel: bool = False
    restart: bool = False
    max_chars: int = 100_000
    block_rows: int = 1024
    block_chars: int = 1_000_000


@dataclass(frozen=True, slots=True)
class StreamReport:
    """The outcome. ``counts`` says how often each label was given; see ``Written`` for the rest."""

    output: str
    rows: int
    done: int
    failed: int
    counts: Mapping[str, int]
    failures: tuple[RowFailure, ...]
    renamed: Mapping[str, str]
    resumed_at: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Survey:
    """What one look at the input tells: how to read it, about how many rows, its columns."""

    table: TableFormat
    rows: int
    columns: tuple[str, ...]


def stream_table(
    table: TextTable,
    work: Callable[[Sequence[str]], Sequence[Values]],
    labels: Callable[[Values], Iterable[str]],
    progress: Callable[[Progress], None] | None = None,
) -> StreamReport:
    """Write ``table.output``: every column of the input, those ``work`` adds, and ``error``.

    ``work`` takes the texts of a block and returns the values of each; ``labels`` says what to
    count of them. A column of the input named like an added one is kept as ``input_NAME``. Raises
    ``InvalidInputError`` for an unusable input or one that does not belong to the unfinished
    output found, ``StorageError`` when the disk refuses, and whatever ``work`` raises.
    """
    check_paths(table.source, table.output)
    with alone(table.output):
        survey = _survey(table)
        shape = _Shape(table, survey)

        def blocks(done: int) -> Iterator[Block]:
            rows = islice(read_rows(table.source, survey.table), done, None)
            return in_order(
                lambda block: _block(table, shape, block, work, labels), _cut(table, rows)
            )

        written = write_blocks(
            table.output,
            _identity(table, survey),
            blocks,
            header=shape.header(),
            total=survey.rows,
            restart=table.restart,
            progress=progress,
        )
    return _report(table, shape, written)


def _report(table: TextTable, shape: _Shape, written: Written) -> StreamReport:
    return StreamReport(
        output=str(table.output),
        rows=written.rows,
        done=written.rows - written.failed,
        failed=written.failed,
        counts=written.counts,
        failures=written.failures,
        renamed=shape.renamed,
        resumed_at=written.resumed_at,
        seconds=written.seconds,
    )


def _identity(table: TextTable, survey: _Survey) -> dict[str, Any]:
    options = [table.column, survey.table.encoding, table.excel, table.max_chars, *table.added]
    return {
        "format": 1,
        "input": survey.table.sha256,
        "collection": None,
        "knowledge": table.model,
        "options": options,
    }


# --- the input -------------------------------------------------------------------------------


def _survey(table: TextTable) -> _Survey:
    found = inspect_table(table.source, encoding=table.encoding, field_name=table.column)
    if found.kind == "csv":
        require_column(found, table.column)
        return _Survey(found, _count_lines(table.source) - 1, found.columns)
    return _survey_json(table, found)


def _count_lines(path: Path) -> int:
    """Return the number of lines: with line ends inside quotes, more than there are rows."""
    lines, last = 0, b"\n"
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            lines += chunk.count(b"\n")
            last = chunk[-1:]
    return lines + (last != b"\n")


def _survey_json(table: TextTable, found: TableFormat) -> _Survey:
    """Read all rows once: rows of JSON need not have the same fields."""
    rows = 0
    columns: dict[str, None] = {}
    seen = False
    key = column_key(table.column)
    for row in read_rows(table.source, found):
        rows += 1
        seen = seen or key in row.values
        if len(columns) <= MAX_COLUMNS and isinstance(row.given, Mapping):
            columns.update(dict.fromkeys(row.given))
    if columns and not seen:
        raise InvalidInputError(missing_column_message(table.column, [*columns]))
    if len(columns) > MAX_COLUMNS and table_kind(table.output) == "csv":
        raise InvalidInputError(
            f"{table.source.name} has more than {MAX_COLUMNS} different fields; a CSV would need a "
            "column for each: write .jsonl."
        )
    return _Survey(found, rows, tuple(columns))


def _cut(table: TextTable, rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield blocks; the other columns count for their size too, for they wait in memory as well."""
    block: list[Row] = []
    characters = 0
    for row in rows:
        block.append(row)
        cells = row.given.values() if isinstance(row.given, Mapping) else row.given
        characters += sum(len(cell) for cell in cells if isinstance(cell, str))
        if len(block) >= table.block_rows or characters >= table.block_chars:
            yield block
            block, characters = [], 0
    if block:
        yield block


def text_problem(value: object, column: str, max_chars: int) -> str | None:
    """Say why a value cannot be read as a text, or return ``None``."""
    if value is None:
        return f"no {column}"
    if not isinstance(value, str):
        return f"the {column} is not text but {json.dumps(value, ensure_ascii=False)[:40]}"
    if not value.strip():
        return f"the {column} is empty"
    if len(value) > max_chars:
        return f"the {column} has {len(value):,} characters; the limit is {max_chars:,}: split it"
    return undecodable(value, "utf-8")


# --- the output ------------------------------------------------------------------------------


class _Shape:
    """How the columns of the input and the added ones stand together in the output."""

    def __init__(self, table: TextTable, survey: _Survey) -> None:
        self.added = (*table.added, ERROR)
        self.is_csv = table_kind(table.output) == "csv"
        self.from_csv = survey.table.kind == "csv"
        self._bom = _BOM if table.excel and self.is_csv else ""
        taken = {column_key(name) for name in (*survey.columns, *self.added)}
        self.renamed: dict[str, str] = {}
        for name in survey.columns:
            if column_key(name) in {column_key(one) for one in self.added}:
                self.renamed[name] = _free_name(_INPUT, name, taken)
        self.columns = [self.renamed.get(name, name) for name in survey.columns]
        self._given = survey.columns
        self._fields = _distinct(self.columns)

    def header(self) -> str:
        return self._bom + csv_line([*self.columns, *self.added]) if self.is_csv else ""

    def line(self, row: Row, values: Values, error: str | None) -> str:
        """Return the output line of a row; without values the added columns are empty."""
        added = {name: values.get(name) for name in self.added} | {ERROR: error}
        if self.is_csv:
            return csv_line([*map(_cell, [*self._cells(row), *added.values()])])
        return json_line({**self._named(row), **added})

    def _cells(self, row: Row) -> list[Any]:
        if isinstance(row.given, Mapping):
            return [row.given.get(name) for name in self._given]
        if not self.from_csv:
            return [None] * len(self.columns)
        cells = [*row.given[: len(self.columns)]]
        return cells + [""] * (len(self.columns) - len(cells))

    def _named(self, row: Row) -> dict[str, Any]:
        if isinstance(row.given, Mapping):
            return {self._name(name): value for name, value in row.given.items()}
        return dict(zip(self._fields, row.given, strict=False))

    def _name(self, name: str) -> str:
        if name in self.renamed:
            return self.renamed[name]
        # Beyond the fields surveyed, a late one may still bear the name of an added one.
        return f"{_INPUT}{name}" if name in self.added else name


def _free_name(prefix: str, name: str, taken: set[str]) -> str:
    name = f"{prefix}{name}"
    while column_key(name) in taken:
        name = f"{prefix}{name}"
    taken.add(column_key(name))
    return name


def _distinct(columns: Sequence[str]) -> list[str]:
    """Return names for JSON: no two the same, none empty."""
    names: list[str] = []
    for place, column in enumerate(columns, 1):
        name = column or f"column_{place}"
        while name in names:
            name = f"{name}_{place}"
        names.append(name)
    return names


def _cell(value: Any) -> str | float | Decimal | None:
    """Return a value as a cell: numbers stay numbers, lists and objects become JSON.

    An amount like -12.50 among the columns kept is no formula and stays as it is.
    """
    if isinstance(value, str):
        number = Decimal(value) if _NEGATIVE.fullmatch(value) else None
        return number if number is not None and str(number) == value else value
    if isinstance(value, float):
        return round(value, 6)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False)


def _as_text(value: object) -> object:
    """Return a record of fields as the text that models learnt it as; anything else as it is."""
    return render_record(value) if isinstance(value, Mapping) and value else value


def _block(
    table: TextTable,
    shape: _Shape,
    rows: Sequence[Row],
    work: Callable[[Sequence[str]], Sequence[Values]],
    labels: Callable[[Values], Iterable[str]],
) -> Block:
    key = column_key(table.column)
    given = [_as_text(row.values.get(key)) for row in rows]
    problems = [
        row.error or text_problem(text, table.column, table.max_chars)
        for row, text in zip(rows, given, strict=True)
    ]
    texts = [str(text) for text, bad in zip(given, problems, strict=True) if bad is None]
    results = iter(work(texts)) if texts else iter(())
    lines, failures = [], []
    counts: Counter[str] = Counter()
    for row, problem in zip(rows, problems, strict=True):
        values: Values = {}
        if problem is None:
            values = next(results)
            counts.update(labels(values))
        else:
            failures.append(RowFailure(row.number, row.line, str(row.number), problem))
        lines.append(shape.line(row, values, problem))
    return Block(len(rows), "".join(lines), failures, counts)
