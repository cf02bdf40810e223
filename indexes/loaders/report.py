"""Annual reports parsed from PDF line by line: a JSON object a line, with its page and kind.

The published format of the SMP 2023 ChatGLM finance challenge (MetaGLM/FinGLM):
``{"page": 1, "allrow": 0, "type": "text", "inside": "..."}``; the type is text, excel (``inside``
is then a table row written as a Python list), 页眉 (running head) or 页脚 (foot).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from itertools import groupby, islice

from indexes.loaders.plain import wrap_width, write_block
from indexes.loaders.tables import Cell, render_table
from indexes.loaders.text import TextBuilder, without_contents_lines

_KEYS = frozenset({"page", "type", "inside"})
_ROW = "excel"
_FURNITURE = frozenset({"页眉", "页脚", "header", "footer"})
_MAX_ROW = 20_000


def is_report(text: str) -> bool:
    """Whether the first lines are such objects."""
    lines = [line for line in islice(text.split("\n", 20), 20) if line.strip()]
    return len(lines) > 1 and all(_record(line) is not None for line in lines[:-1])


def write_report(text: str, builder: TextBuilder) -> None:
    """Write the report with its pages; lines that are no such objects are left out."""
    records = [record for line in text.split("\n") if (record := _record(line)) is not None]
    records = [record for record in records if record["type"] not in _FURNITURE]
    width = wrap_width([str(item["inside"]) for item in records if item["type"] != _ROW])
    for number, page in groupby(records, key=lambda item: item["page"]):
        builder.end_run()
        starts = [
            start for block in _blocks(list(page)) if (start := _write(block, width, builder)) >= 0
        ]
        builder.page(int(str(number)), starts[0] if starts else builder.length)


def _record(line: str) -> dict[str, object] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(value, dict) and value.keys() >= _KEYS
    return value if is_record and str(value["page"]).isdecimal() else None


def _blocks(records: list[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Runs of table rows, and runs of lines between empty ones."""
    for _, run in groupby(records, key=lambda item: (item["type"] == _ROW, bool(item["inside"]))):
        yield list(run)


def _write(block: list[dict[str, object]], width: int, builder: TextBuilder) -> int:
    """Write one block and return where it begins, or -1 when nothing is written."""
    before = builder.length
    if block[0]["type"] == _ROW:
        for line in render_table([_cells(str(item["inside"])) for item in block]):
            builder.line(line)
        builder.end_run()
    else:
        text = without_contents_lines("\n".join(str(item["inside"]) for item in block))
        lines = [line for line in text.split("\n") if line.strip()]
        if lines:
            write_block(lines, width, builder)
    if builder.length == before:
        return -1
    return before + 2 if before else 0


def _cells(text: str) -> list[Cell]:
    if len(text) <= _MAX_ROW:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            value = None
        if isinstance(value, list):
            return ["" if item is None else str(item) for item in value]
    return [text]
