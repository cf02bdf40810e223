"""Tables in and out: CSV and JSON Lines read as they come, written so that they are safe to open.

Reading keeps every row: one that cannot be used is returned with the reason, never dropped.
Writing never lets a cell start a spreadsheet formula (OWASP, "CSV Injection").
"""

from __future__ import annotations

import codecs
import csv
import difflib
import hashlib
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, TextIO

from assistant.errors import InvalidInputError

TableKind = Literal["csv", "jsonl"]

MAX_LINE_CHARS = 16 * 1024 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KINDS: Mapping[str, TableKind] = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl"}
# Quotes and blanks are skipped because spreadsheets drop them before they look for a formula.
_FORMULA = re.compile(r"""^(?:[\t\r\n]|[\s"'“”‘’＂＇`\ufeff\u200b-\u200f\u2060]*[=+\-@＝＋－＠])""")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TableFormat:
    """How to read a file. ``sha256`` is of its bytes; ``columns`` is empty for JSON Lines."""

    kind: TableKind
    encoding: str
    sha256: str
    delimiter: str = ","
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One row: ``number`` counts rows from 1, ``line`` is where it starts in the file.

    ``values`` is keyed by normalised column name (see ``column_key``), ``given`` is what was read:
    the cells of a CSV, the object of a JSON line. ``error`` says why the row cannot be used.
    """

    number: int
    line: int
    values: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    given: Sequence[str] | Mapping[str, Any] = ()


def column_key(name: str) -> str:
    """Fold what people vary in a column name: case, width, surrounding blanks."""
    return unicodedata.normalize("NFKC", name).strip().casefold()


def table_kind(path: Path) -> TableKind:
    """Return the kind of table a file name stands for. Raises ``InvalidInputError``."""
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        known = ", ".join(_KINDS)
        raise InvalidInputError(
            f"{path.name}: the ending {path.suffix or '(none)'} is not a table; use one of {known}."
        )
    return kind


def inspect_table(path: Path, *, encoding: str | None = None, field_name: str = "") -> TableFormat:
    """Find encoding, delimiter and columns, in one pass over the bytes and one look at the header.

    ``field_name`` helps to choose the delimiter: the one under which such a column exists wins.
    Raises ``InvalidInputError`` for a file that is missing or of an unknown kind or encoding.
    """
    kind = table_kind(path)
    if not path.is_file():
        raise InvalidInputError(f"{path}: no such file.")
    digest, found = _survey_bytes(path)
    chosen = _known_encoding(encoding) if encoding else found
    if kind == "jsonl":
        return TableFormat(kind, chosen, digest)
    with _open_text(path, chosen) as stream:
        header = _read_line(stream, path, 1)
    delimiter, columns = _split_header(header, field_name)
    return TableFormat(kind, chosen, digest, delimiter, columns)


def read_rows(path: Path, table: TableFormat) -> Iterator[Row]:
    """Yield every row in order, in memory bounded by the longest row; blank lines are not rows."""
    with _open_text(path, table.encoding) as stream:
        yield from _csv_rows(stream, path, table) if table.kind == "csv" else _json_rows(stream)


def require_column(table: TableFormat, name: str) -> None:
    """Check that a CSV has the column exactly once; the message names what there is instead."""
    keys = [column_key(column) for column in table.columns]
    count = keys.count(column_key(name))
    if count == 1:
        return
    if count > 1:
        raise InvalidInputError(f"The column {name!r} is there {count} times; keep one of them.")
    raise InvalidInputError(missing_column_message(name, table.columns))


def missing_column_message(name: str, columns: Sequence[str]) -> str:
    """Name the columns found and the one most like what was looked for."""
    if not any(column.strip() for column in columns):
        return f"No column {name!r}: the file has no header."
    shown = ", ".join(repr(clean_text(column)[:40]) for column in columns[:20])
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    folded = {column_key(column): column for column in columns}
    near = difflib.get_close_matches(column_key(name), list(folded), n=1, cutoff=0.5)
    hint = f" Nearest: {clean_text(folded[near[0]])!r}." if near else ""
    return f"No column {name!r}. Columns found: {shown}{more}.{hint}"


def clean_text(text: str) -> str:
    """Return ``text`` with what UTF-8 files cannot hold (lone surrogates, NUL) as U+FFFD."""
    return _SURROGATE.sub("\ufffd", text).replace("\0", "\ufffd")


def safe_cell(text: str) -> str:
    """Return ``text`` as a cell no spreadsheet takes for a formula: with a leading apostrophe."""
    text = clean_text(text)
    return f"'{text}" if _FORMULA.match(text) else text


def csv_line(cells: Sequence[str | float | Decimal | None]) -> str:
    """Return one CSV record. Text is made safe; numbers stay numbers; ``None`` is an empty cell."""
    buffer = io.StringIO()
    # The writer quotes only the line ends it writes itself; with both, a lone CR is quoted too.
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def json_line(value: Mapping[str, Any]) -> str:
    """Return one JSON Lines record, readable as it is in Chinese."""
    return _SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False)) + "\n"


def undecodable(text: str, encoding: str) -> str | None:
    """Say why text from a file is not valid, or return ``None``.

    Bytes that do not decode were read as the lone surrogates U+DC80 to U+DCFF.
    """
    found = _SURROGATE.search(text)
    if found is None:
        return None
    code = ord(found.group())
    if 0xDC80 <= code <= 0xDCFF:
        name = encoding.removesuffix("-sig")
        return f"byte 0x{code - 0xDC00:02x} at character {found.start() + 1} is not valid {name}"
    return f"half a character (lone surrogate U+{code:04X}) at character {found.start() + 1}"


# --- bytes -----------------------------------------------------------------------------------


def _survey_bytes(path: Path) -> tuple[str, str]:
    """Return the SHA-256 and the likely encoding.

    Without a byte-order mark a file is GB 18030, the other encoding Chinese tables come in, when
    more of its non-ASCII lines are valid in that and not in UTF-8 than are valid in UTF-8: a few
    broken lines in a UTF-8 file are broken lines, not another encoding.
    """
    digest = hashlib.sha256()
    utf8 = gb18030 = 0
    with path.open("rb") as stream:
        start = stream.read(4)
        stream.seek(0)
        while line := stream.readline(MAX_LINE_CHARS):
            digest.update(line)
            if line.isascii():
                continue
            if _decodes(line, "utf-8"):
                utf8 += 1
            elif _decodes(line, "gb18030"):
                gb18030 += 1
    for mark, encoding in _BOMS:
        if start.startswith(mark):
            return digest.hexdigest(), encoding
    return digest.hexdigest(), "gb18030" if gb18030 > utf8 else "utf-8"


def _decodes(line: bytes, encoding: str) -> bool:
    try:
        line.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise InvalidInputError(
            f"Unknown encoding {name!r}; use for example utf-8, gb18030, big5 or cp1252."
        ) from None


def _open_text(path: Path, encoding: str) -> TextIO:
    return path.open(encoding=encoding, errors="surrogateescape", newline="")


def _read_line(stream: TextIO, path: Path, number: int) -> str:
    line = stream.readline(MAX_LINE_CHARS)
    if len(line) >= MAX_LINE_CHARS:
        raise InvalidInputError(
            f"{path.name}, line {number}: longer than {MAX_LINE_CHARS:,} characters. "
            "Is it a table with one row a line?"
        )
    return line


# --- CSV -------------------------------------------------------------------------------------


def _split_header(header: str, field_name: str) -> tuple[str, tuple[str, ...]]:
    """Choose among comma, semicolon and tab: the wanted column first, then the most columns."""
    options = []
    for delimiter in (",", ";", "\t"):
        record = next(csv.reader([header], delimiter=delimiter), [])
        columns = tuple(column.strip() for column in record)
        wanted = column_key(field_name) in [column_key(column) for column in columns]
        options.append((bool(field_name) and wanted, len(columns), delimiter, columns))
    best = max(options, key=lambda option: option[:2])
    return best[2], best[3]


def _numbered_lines(stream: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        line = _read_line(stream, path, number)
        if not line:
            return
        yield line


def _csv_rows(stream: TextIO, path: Path, table: TableFormat) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_CHARS)
    reader = csv.reader(_numbered_lines(stream, path), delimiter=table.delimiter)
    keys = [column_key(column) for column in table.columns]
    number = 0
    next(reader, None)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise InvalidInputError(
                f"{path.name}, from line {line}: {error}. Is a quote left open?"
            ) from None
        if record is None:
            return
        if not any(cell.strip() for cell in record):
            continue
        number += 1
        yield _csv_row(record, keys, table, Row(number, line), reader.line_num)


def _csv_row(
    record: list[str], keys: list[str], table: TableFormat, row: Row, last_line: int
) -> Row:
    values = dict(zip(keys, record, strict=False))
    error = next((e for e in (undecodable(cell, table.encoding) for cell in record) if e), None)
    if any(cell.strip() for cell in record[len(keys) :]):
        error = (
            f"{len(record)} cells where the header has {len(keys)}; "
            f"quote cells that contain {table.delimiter!r}"
        )
    elif last_line - row.line >= 100:
        error = f"spans lines {row.line} to {last_line}; is a quote left open?"
    return Row(row.number, row.line, values, error, record)


# --- JSON Lines ------------------------------------------------------------------------------


def _json_rows(stream: TextIO) -> Iterator[Row]:
    number = line = 0
    while text := stream.readline(MAX_LINE_CHARS):
        line += 1
        whole = text.endswith(("\n", "\r"))
        length = len(text)
        while not whole and (rest := stream.readline(MAX_LINE_CHARS)):
            length += len(rest)
            whole = rest.endswith(("\n", "\r"))
        if not text.strip():
            continue
        number += 1
        if length > MAX_LINE_CHARS:
            message = f"a line of {length:,} characters; the limit is {MAX_LINE_CHARS:,}"
            yield Row(number, line, error=message)
        else:
            yield _json_row(text, Row(number, line), stream.encoding)


def _json_row(text: str, row: Row, encoding: str) -> Row:
    error = undecodable(text, encoding)
    try:
        value = json.loads(text.strip())
    except (ValueError, RecursionError) as problem:
        reason = getattr(problem, "msg", None) or type(problem).__name__
        return Row(row.number, row.line, error=error or f"broken JSON: {reason}")
    if not isinstance(value, dict):
        return Row(row.number, row.line, error="not a JSON object")
    values = {column_key(key): item for key, item in value.items()}
    return Row(row.number, row.line, values, error, value)
