"""The input of a batch, surveyed once before anything is answered."""

from __future__ import annotations

import hashlib
import json
from array import array
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import InvalidInputError
from assistant.tables import (
    Row,
    TableFormat,
    clean_text,
    column_key,
    inspect_table,
    missing_column_message,
    read_rows,
    require_column,
    undecodable,
)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over the input tells: its format, rows, and whether any row has an id."""

    table: TableFormat
    rows: int
    has_ids: bool


def survey_input(source: Path, question_field: str, id_field: str, encoding: str | None) -> Survey:
    """Read the input once: its hash and format, its columns, its number of rows, doubled ids.

    Raises ``InvalidInputError`` when no row could have a question, or an id stands twice.
    """
    table = inspect_table(source, encoding=encoding, field_name=question_field)
    if table.kind == "csv":
        require_column(table, question_field)
    question_key, id_key = column_key(question_field), column_key(id_field)
    rows = 0
    seen_question = False
    other_columns: dict[str, None] = {}
    hashes = array("Q")
    for row in read_rows(source, table):
        rows += 1
        seen_question = seen_question or question_key in row.values
        if not seen_question and len(other_columns) < 20:
            other_columns.update(dict.fromkeys(row.values))
        identifier = id_text(row, id_key)
        if identifier:
            hashes.append(_short_hash(identifier))
    if table.kind == "jsonl" and other_columns and not seen_question:
        raise InvalidInputError(missing_column_message(question_field, [*other_columns]))
    _refuse_doubled_ids(source, table, id_key, hashes)
    return Survey(table, rows, bool(hashes))


def _refuse_doubled_ids(source: Path, table: TableFormat, id_key: str, hashes: array[int]) -> None:
    """Find doubled ids in eight bytes a row; a second look at the file rules out collisions."""
    import numpy as np

    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64)) if hashes else np.empty(0, np.uint64)
    suspects = frozenset(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not suspects:
        return
    first_line: dict[str, int] = {}
    for row in read_rows(source, table):
        identifier = id_text(row, id_key)
        if not identifier or _short_hash(identifier) not in suspects:
            continue
        if identifier in first_line:
            raise InvalidInputError(
                f"The id {clean_text(identifier)[:80]!r} stands on line {first_line[identifier]} "
                f"and on line {row.line}; ids must differ, or leave the column out."
            )
        first_line[identifier] = row.line


def _short_hash(text: str) -> int:
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def id_value(row: Row, id_key: str) -> str | int | float | None:
    """Return a row's id as it was given: text (trimmed) or a number; ``None`` without one."""
    value = row.values.get(id_key)
    if isinstance(value, str):
        return value.strip()
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def id_text(row: Row, id_key: str) -> str:
    """Return a row's id as text, empty without one."""
    value = id_value(row, id_key)
    return "" if value is None else str(value)


def question_error(value: object, max_chars: int) -> str | None:
    """Say why a value cannot be asked as a question, or return ``None``."""
    if value is None:
        return "no question"
    if not isinstance(value, str):
        return f"the question is not text but {json.dumps(value, ensure_ascii=False)[:40]}"
    if not value.strip():
        return "the question is empty"
    if len(value.strip()) > max_chars:
        return f"the question has {len(value.strip()):,} characters; the limit is {max_chars:,}"
    if "\0" in value:
        return f"the question holds a NUL character at character {value.index(chr(0)) + 1}"
    return undecodable(value, "utf-8")
