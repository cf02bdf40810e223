"""Evaluation tables: ``text,label`` and ``text_a,text_b,label``, as CSV, TSV or JSON Lines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import InvalidInputError
from assistant.evaluation.folders import Faults, choose_file, shown
from assistant.records import render_record
from assistant.tables import (
    Row,
    column_key,
    inspect_table,
    missing_column_message,
    read_rows,
)

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl")
TEXT_COLUMNS = ("text", "utterance", "sentence", "question", "query", "content", "title", "record")
LABEL_COLUMNS = ("label", "labels", "category", "intent", "intents", "sentiment", "topic", "class")
PAIR_COLUMNS = (
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("query", "passage"),
)
PAIR_LABEL_COLUMNS = ("label", "score", "match", "is_duplicate")
_TRUE, _FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A text and its labels (one, or any number in a multi-label set); ``line`` of the file."""

    text: str
    labels: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class ClassifySet:
    """A set to classify. ``multi``: rows may carry several labels; ``empty``: rows without text;
    ``left_out``: what was wrong with faulty rows, where they were to be skipped."""

    file: Path
    rows: tuple[LabelledRow, ...]
    text_columns: tuple[str, ...]
    label_column: str
    multi: bool
    empty: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairRow:
    """Two texts and whether they match, 1 or 0."""

    text_a: str
    text_b: str
    label: int
    line: int


@dataclass(frozen=True, slots=True)
class PairSet:
    """A set of pairs; ``empty`` and ``left_out`` as in ``ClassifySet``."""

    file: Path
    rows: tuple[PairRow, ...]
    columns: tuple[str, str, str]
    empty: int
    left_out: tuple[str, ...] = ()


def read_classify_set(
    path: Path,
    *,
    text_columns: Sequence[str] = (),
    label_column: str | None = None,
    separator: str | None = None,
    prefer: Sequence[str] = (),
    skip_bad: bool = False,
) -> ClassifySet:
    """Read a file, or the file a folder means (``choose_file``).

    ``text_columns``: joined by line breaks; default: the first of TEXT_COLUMNS there is.
    ``label_column``: default: ``label``, ``labels``, one of ``prefer``, then the usual names of
    public sets. A list of labels, or ``separator`` to cut a cell at, makes the set multi-label;
    there, a row without labels is allowed. A cell that holds an object is a record, written as
    text by ``render_record``. Texts may be empty; they are counted. Raises InvalidInputError that
    names file, line and value; with ``skip_bad`` faulty rows are left out instead.
    """
    file, rows, columns, faults = _load(path, (*text_columns, label_column or "label"), skip_bad)
    texts = tuple(_column(file, columns, name) for name in text_columns) or (
        _first(file, columns, TEXT_COLUMNS, "text", "--text-column"),
    )
    wanted = (*LABEL_COLUMNS[:2], *prefer, *LABEL_COLUMNS[2:])
    label = (
        _column(file, columns, label_column)
        if label_column
        else _first(file, columns, wanted, "label", "--label-column")
    )
    multi = bool(separator) or any(isinstance(row.values.get(label), list) for row in rows)
    found = []
    for row in rows:
        try:
            text = "\n".join(_text(row, name) for name in texts)
            found.append(LabelledRow(text, _labels(row, label, multi, separator), row.line))
        except ValueError as error:
            faults.add(row.line, str(error))
    left_out = _settled(file, faults, skip_bad, len(found))
    empty = sum(not row.text.strip() for row in found)
    return ClassifySet(file, tuple(found), texts, label, multi, empty, left_out)


def read_pair_set(path: Path, *, columns: Sequence[str] = (), skip_bad: bool = False) -> PairSet:
    """Read a file, or the file a folder means (``choose_file``).

    ``columns``: those of the two texts and of the label; default: ``text_a``, ``text_b`` and
    ``label``, or the usual names of public sets. Labels are 1 or 0 (true or false). Raises
    InvalidInputError that names file, line and value; with ``skip_bad`` faulty rows are left out
    instead.
    """
    file, rows, there, faults = _load(path, columns, skip_bad)
    if columns:
        names = [_column(file, there, name) for name in columns]
    else:
        pair = next((pair for pair in PAIR_COLUMNS if set(pair) <= set(there)), None)
        if pair is None:
            raise InvalidInputError(
                f"{file.name}: no columns 'text_a' and 'text_b'. "
                f"{missing_column_message('text_a', there)} "
                "Name the columns with --columns A B LABEL."
            )
        names = [*pair, _first(file, there, PAIR_LABEL_COLUMNS, "label", "--columns")]
    found = []
    for row in rows:
        try:
            texts = [_text(row, name) for name in names[:2]]
            found.append(PairRow(texts[0], texts[1], _match(row, names[2]), row.line))
        except ValueError as error:
            faults.add(row.line, str(error))
    left_out = _settled(file, faults, skip_bad, len(found))
    empty = sum(not (row.text_a.strip() and row.text_b.strip()) for row in found)
    return PairSet(file, tuple(found), (names[0], names[1], names[2]), empty, left_out)


# --- columns -----------------------------------------------------------------------------------


def _load(
    path: Path, wanted: Sequence[str], skip_bad: bool
) -> tuple[Path, list[Row], tuple[str, ...], Faults]:
    """Return the file, its sound rows, its columns (as ``column_key``), and its faults."""
    file = choose_file(path, TABLE_SUFFIXES)
    table = inspect_table(file, field_name=wanted[0] if wanted else "text_a")
    rows: list[Row] = []
    faults = Faults(file)
    for row in read_rows(file, table):
        if row.error:
            faults.add(row.line, row.error)
        else:
            rows.append(row)
    _settled(file, faults, skip_bad, len(rows))
    if table.kind == "csv":
        return file, rows, tuple(column_key(name) for name in table.columns), faults
    return file, rows, tuple(dict.fromkeys(name for row in rows for name in row.values)), faults


def _settled(file: Path, faults: Faults, skip_bad: bool, rows: int) -> tuple[str, ...]:
    found = faults.settle(skip_bad)
    if not rows:
        raise InvalidInputError(
            f"{file}: no rows to measure on; a header line and at least one sound row are needed."
        )
    return found


def _column(file: Path, columns: Sequence[str], name: str) -> str:
    key = column_key(name)
    if key not in columns:
        raise InvalidInputError(f"{file.name}: {missing_column_message(name, columns)}")
    if columns.count(key) > 1:
        raise InvalidInputError(
            f"{file.name}: the column {name!r} is there {columns.count(key)} times; keep one."
        )
    return key


def _first(
    file: Path, columns: Sequence[str], candidates: Iterable[str], name: str, option: str
) -> str:
    found = next((column for column in candidates if column in columns), None)
    if found is None:
        raise InvalidInputError(
            f"{file.name}: {missing_column_message(name, columns)} Name the column with {option}."
        )
    return _column(file, columns, found)


# --- cells -------------------------------------------------------------------------------------


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, dict):
        return render_record(value)
    raise ValueError(f"{column} is {shown(value)}; a text is needed")


def _labels(row: Row, column: str, multi: bool, separator: str | None) -> tuple[str, ...]:
    value = row.values.get(column)
    if not multi:
        return (_label(value, column),)
    if value is None:
        return ()
    if isinstance(value, str):
        parts: Sequence[object] = value.split(separator) if separator else [value]
        return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))
    if isinstance(value, list):
        return tuple(dict.fromkeys(_label(part, column) for part in value))
    return (_label(value, column),)


def _label(value: object, column: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int) and str(value).strip():
        return str(value).strip()
    raise ValueError(f"{column} is {shown(value)}; a label is needed (a word or a whole number)")


def _match(row: Row, column: str) -> int:
    value = row.values.get(column)
    folded = str(value).strip().lower()
    if folded in _TRUE:
        return 1
    if folded in _FALSE:
        return 0
    raise ValueError(f"{column} is {shown(value)}; 1 (the texts match) or 0 is needed")
