"""Excel workbooks: each visible sheet's tables as rows of text, values as they are shown."""

from __future__ import annotations

import datetime
import io
import re
import zipfile
from collections.abc import Iterator
from typing import Any

from indexes.errors import LoadError
from indexes.loaders.archive import check_archive
from indexes.loaders.faq import Record, find_columns
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.tables import Cell, render_table
from indexes.loaders.text import TextBuilder, clean_line

_MAX_EMPTY_RUN = 1000
_MAX_COLUMNS = 512
_HEADER_SEARCH = 10
_MERGING_SIZE = 8 << 20
"""Sheets above this size in bytes are streamed, which does not tell of merged cells."""
_DECIMALS = re.compile(r"0\.(0+)")
_CURRENCY = re.compile(r"[$€£¥￥]")
_LITERAL = re.compile(r"\"[^\"]*\"|\\.|\[[^\]$]*\]|_.|\*.")
_NO_VALUE = re.compile(rb"(?:</f>|<f[^>]*/>)(?:<v\s*/>|<v></v>)?</c>")


def load_xlsx(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the sheets to ``builder``; return the title of the properties, or ""."""
    workbook = _open(data, builder, limits)
    try:
        sheets = _visible(workbook, builder)
        for sheet in sheets:
            rows = list(_rows(sheet, builder, limits))
            if not rows:
                continue
            if len(sheets) > 1:
                builder.heading(1, sheet.title)
            for block in _blocks(rows):
                _write_block(block, builder)
        return str(workbook.properties.title or "")
    finally:
        workbook.close()


def xlsx_records(data: bytes, builder: TextBuilder, limits: LoadLimits) -> list[Record]:
    """The rows of all sheets that have a question and an answer column."""
    workbook = _open(data, builder, limits)
    records: list[Record] = []
    try:
        for sheet in _visible(workbook, builder):
            found = _sheet_records(sheet, list(_rows(sheet, builder, limits)))
            if not found:
                builder.warnings.append(f"sheet {sheet.title}: no question and answer columns")
            records.extend(found)
    finally:
        workbook.close()
    return records


def _sheet_records(sheet: Any, rows: list[tuple[int, list[Cell]]]) -> list[Record]:
    for index, (_, row) in enumerate(rows[:_HEADER_SEARCH]):
        names = [clean_line(cell or "") for cell in row]
        if {"question", "answer"} <= find_columns(names).keys():
            return [
                Record(f"sheet {sheet.title}, row {number}", dict(zip(names, cells, strict=False)))
                for number, cells in rows[index + 1 :]
            ]
    return []


def _open(data: bytes, builder: TextBuilder, limits: LoadLimits) -> Any:
    import openpyxl

    check_archive(data, limits)
    largest, without_value = _survey(data)
    if without_value:
        builder.warnings.append(
            f"{without_value:,} formulas have no stored value and are left out; "
            "open the file in a spreadsheet program and save it"
        )
    try:
        return openpyxl.load_workbook(
            io.BytesIO(data), data_only=True, read_only=largest > _MERGING_SIZE, keep_links=False
        )
    # The library raises whatever a broken part makes it stumble over.
    except Exception as error:
        raise LoadError(f"the workbook is damaged ({error}); save it again") from error


def _survey(data: bytes) -> tuple[int, int]:
    """Size in bytes of the largest sheet, and how many formulas have no value."""
    largest = without_value = 0
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for part in archive.infolist():
            if part.filename.startswith("xl/worksheets/") and part.filename.endswith(".xml"):
                largest = max(largest, part.file_size)
                without_value += len(_NO_VALUE.findall(archive.read(part)))
    return largest, without_value


def _visible(workbook: Any, builder: TextBuilder) -> list[Any]:
    hidden = [sheet.title for sheet in workbook.worksheets if sheet.sheet_state != "visible"]
    builder.warnings.extend(f"sheet {title} is hidden and left out" for title in hidden)
    return [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]


def _rows(sheet: Any, builder: TextBuilder, limits: LoadLimits) -> Iterator[tuple[int, list[Cell]]]:
    """Row numbers with cells as text; empty rows left out, and what follows a long run of them."""
    merged = _merged(sheet)
    width = min(sheet.max_column or _MAX_COLUMNS, _MAX_COLUMNS)
    empty = count = 0
    for number, row in enumerate(sheet.iter_rows(max_col=width), 1):
        cells = [_cell(cell, merged.get((number, column))) for column, cell in enumerate(row, 1)]
        if any(cells):
            empty, count = 0, count + 1
            check("rows", count, limits.max_rows, "split the file")
            yield number, cells
        else:
            empty += 1
        if empty > _MAX_EMPTY_RUN:
            if (sheet.max_row or 0) > number:
                builder.warnings.append(
                    f"sheet {sheet.title}: {_MAX_EMPTY_RUN:,} empty rows up to row {number:,}; "
                    "anything below is left out"
                )
            return


def _merged(sheet: Any) -> dict[tuple[int, int], tuple[Any, bool]]:
    """Row and column of each covered cell -> the merged cell and whether it is of its column."""
    covered = {}
    for area in getattr(sheet, "merged_cells", None) or ():
        origin = sheet.cell(area.min_row, area.min_col)
        # A title merged over a whole sheet needs no more than its first cells.
        for row in range(area.min_row, min(area.max_row, area.min_row + 2000) + 1):
            for column in range(area.min_col, min(area.max_col, _MAX_COLUMNS) + 1):
                covered[row, column] = (origin, column == area.min_col)
    return covered


def _cell(cell: Any, merged: tuple[Any, bool] | None) -> Cell:
    if merged is None:
        return shown(cell.value, getattr(cell, "number_format", None) or "General")
    origin, is_first = merged
    return shown(origin.value, origin.number_format) if is_first else None


def shown(value: object, number_format: str) -> str:
    """``value`` about as Excel shows it: dates, percentages, thousands, currency, decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, int | float):
        return _shown_number(value, number_format)
    return str(value)


def _shown_number(value: float, number_format: str) -> str:
    currency = _CURRENCY.search(number_format)
    plain = _LITERAL.sub("", number_format.split(";", maxsplit=1)[0])
    found = _DECIMALS.search(plain)
    decimals = len(found.group(1)) if found else 0
    if "%" in plain:
        return f"{value * 100:.{decimals}f}%"
    grouping = "," if "#,##" in plain or ",0" in plain else ""
    if grouping or found or plain == "0":
        text = f"{abs(value):{grouping}.{decimals}f}"
    else:
        text = f"{abs(value):.10g}" if isinstance(value, float) else str(abs(value))
    sign = "-" if value < 0 else ""
    return f"{sign}{currency.group() if currency else ''}{text}"


def _blocks(rows: list[tuple[int, list[Cell]]]) -> Iterator[list[list[Cell]]]:
    """Runs of rows with no empty row between."""
    block: list[list[Cell]] = []
    last = 0
    for number, cells in rows:
        if block and number > last + 1:
            yield block
            block = []
        block.append(cells)
        last = number
    if block:
        yield block


def _write_block(block: list[list[Cell]], builder: TextBuilder) -> None:
    first = 0
    # Titles and notes above a table have a row for themselves.
    while first < len(block) and sum(bool(cell) for cell in block[first]) == 1:
        builder.paragraph(next(cell for cell in block[first] if cell))
        first += 1
    builder.end_run()
    for line in render_table(block[first:]):
        builder.line(line)
    builder.end_run()
