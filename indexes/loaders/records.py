"""Tables and records in text files: csv, tsv, jsonl and json."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice

from indexes.errors import LoadError
from indexes.loaders.encoding import decode
from indexes.loaders.faq import Record
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.tables import render_table
from indexes.loaders.text import BULLET, TextBuilder, clean_line

_TITLE_KEYS = ("title", "name", "question", "subject", "heading", "标题", "名称", "问题", "姓名")
_BODY_KEYS = ("text", "content", "body", "answer", "description", "正文", "内容", "答案", "回答")
_MAX_LABEL = 80
_MAX_ROW = 240
_WORD_BREAK = re.compile(r"(?<=[a-z])(?=[A-Z])|[_\s]+")


def read_rows(data: bytes, suffix: str, limits: LoadLimits) -> list[list[str]]:
    """The rows of a csv or tsv file, blank ones left out."""
    text = decode(data).replace("\x00", "")
    check("characters of text", len(text), limits.max_text, "split the file")
    delimiter = "\t" if suffix == ".tsv" else _delimiter(text)
    # A cell may be as long as the whole document may be.
    csv.field_size_limit(limits.max_text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                check("rows", len(rows), limits.max_rows, "split the file")
    except csv.Error as error:
        raise LoadError(f"line {reader.line_num}: {error}; check its quotes") from error
    if not rows:
        raise LoadError("the table has no rows")
    return rows


def _delimiter(text: str) -> str:
    """The one of , ; tab and | that cuts the first lines into equally many cells."""
    lines = [line for line in islice(io.StringIO(text), 50) if line.strip()]
    best, best_score = ",", 0.0
    for delimiter in (",", ";", "\t", "|"):
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        widest = counts[0] if counts else 1
        if widest > 1:
            score = sum(count == widest for count in counts) / len(counts) + widest / 1000
            if score > best_score:
                best, best_score = delimiter, score
    return best


def write_rows(rows: list[list[str]], builder: TextBuilder) -> None:
    """Write a table whose first row is its header."""
    for line in render_table(rows, 1 if len(rows) > 1 else 0):
        builder.line(line)


def row_records(rows: list[list[str]], first_number: int = 1) -> list[Record]:
    """Rows under a header as records."""
    names = [clean_line(name) for name in rows[0]]
    return [
        Record(f"row {number}", dict(zip(names, row, strict=False)))
        for number, row in enumerate(rows[1:], first_number + 1)
    ]


def read_json_lines(data: bytes, builder: TextBuilder, limits: LoadLimits) -> list[object]:
    """The values of a JSON-lines file; a line that is not JSON becomes a warning."""
    values: list[object] = []
    for number, line in enumerate(decode(data).split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            builder.warnings.append(f"line {number}: not JSON ({_short(error)})")
        check("lines", number, limits.max_rows, "split the file")
    if not values:
        first = builder.warnings[0] if builder.warnings else "it has no lines"
        raise LoadError(f"no line of the file is JSON: {first}")
    return values


def read_json(data: bytes) -> object:
    """The value of a JSON file."""
    try:
        value: object = json.loads(decode(data))
    except RecursionError as error:
        raise LoadError("the JSON is nested too deeply to be read") from error
    except ValueError as error:
        raise LoadError(f"not JSON: {_short(error)}") from error
    return value


def _short(error: Exception) -> str:
    return str(error)[:120] or "nested too deeply"


def value_records(value: object) -> list[Record]:
    """The objects of a list, or of the first list of objects inside an object."""
    if isinstance(value, Mapping):
        lists = [item for item in value.values() if isinstance(item, list)]
        value = next((items for items in lists if items and isinstance(items[0], Mapping)), [value])
    items = value if isinstance(value, list) else []
    return [
        Record(f"record {number}", item)
        for number, item in enumerate(items, 1)
        if isinstance(item, Mapping)
    ]


def write_values(values: list[object], builder: TextBuilder, limits: LoadLimits) -> None:
    """Write records one under the other: title and text as such, other fields as a row."""
    for value in values:
        if isinstance(value, Mapping) and not _nested(value):
            _write_record(value, builder)
        else:
            write_value(value, builder, limits)


def _nested(value: Mapping[str, object]) -> bool:
    return any(isinstance(item, Mapping) for item in value.values())


def _write_record(record: Mapping[str, object], builder: TextBuilder) -> None:
    fields = {str(key): _scalar(item) for key, item in record.items()}
    title = next((key for key in fields if key.lower() in _TITLE_KEYS and fields[key]), None)
    body = [key for key in fields if key.lower() in _BODY_KEYS and fields[key]]
    if body and title:
        builder.heading(2, fields[title])
    if body:
        for key in body:
            for paragraph in fields[key].split("\n"):
                builder.paragraph(paragraph)
        return
    named = [f"{_label(key)}: {clean_line(text)}" for key, text in fields.items() if text.strip()]
    builder.line("; ".join(named))


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(text for item in value if (text := _scalar(item)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _label(key: str) -> str:
    return clean_line(_WORD_BREAK.sub(" ", key))


def write_value(value: object, builder: TextBuilder, limits: LoadLimits) -> None:
    """Write a JSON value: keys of objects as headings, flat objects as rows, lists as items."""
    # A stack of work, since the nesting of the file must not become that of our calls.
    stack: list[tuple[object, int]] = [(value, 1)]
    while stack:
        item, level = stack.pop()
        check("JSON nesting", level, limits.max_depth, "flatten the file")
        if isinstance(item, _Titled):
            builder.heading(min(level, 6), item.title)
            stack.append((item.value, level + 1))
        elif isinstance(item, Mapping):
            stack.extend(reversed([(part, level) for part in _object_parts(item)]))
        elif isinstance(item, list):
            stack.extend(reversed([(part, level + 1) for part in _list_parts(item)]))
        elif text := clean_line(_scalar(item)):
            builder.line(text)


class _Titled:
    def __init__(self, title: str, value: object) -> None:
        self.title = title
        self.value = value


def _object_parts(item: Mapping[str, object]) -> Iterator[object]:
    """Short fields as one row, sentences as paragraphs, structure under its key as a heading."""
    row: list[str] = []
    sentences: list[str] = []
    for key, part in item.items():
        text = "" if _has_structure(part) else clean_line(_scalar(part))
        if text and len(text) > _MAX_LABEL:
            is_body = str(key).lower() in _BODY_KEYS
            sentences.append(text if is_body else f"{_label(str(key))}: {text}")
        elif text:
            row.append(f"{_label(str(key))}: {text}")
    if sum(map(len, row)) <= _MAX_ROW:
        row = ["; ".join(row)]
    yield from filter(None, row + sentences)
    for key, part in item.items():
        if part and _has_structure(part):
            is_list = isinstance(part, list) and not any(
                isinstance(value, Mapping) for value in part
            )
            yield from (
                [f"{_label(str(key))}:", part] if is_list else [_Titled(_label(str(key)), part)]
            )


def _has_structure(value: object) -> bool:
    if isinstance(value, Mapping):
        return True
    if not isinstance(value, list):
        return False
    return any(isinstance(part, Mapping | list) or len(str(part)) > _MAX_LABEL for part in value)


def _list_parts(items: list[object]) -> Iterator[object]:
    for item in items:
        is_text = isinstance(item, str) and item.strip()
        yield f"{BULLET}{item}" if is_text else item
