"""Write tables as text: one line a row, ``Header: value; Header: value``.

Each line then stands alone as evidence, which a row of bare cells does not.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from indexes.loaders.text import clean_line

Cell = str | None
"""``None``: the cell to the left (a merged cell) reaches over this one."""

_NUMBER = re.compile(r"[-–—(]?\s*[$€£¥￥]?\s*\(?\d[\d,.\s]*\)?\s*(?:[%％‰]|[万亿]?元|bps|x)?\)?")
_YEAR = re.compile(r"(?:FY\s?)?(?:19|20)\d\d(?:年度?|[AE])?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}:\d\d")
# What the second column of a table of two may be called; other first rows are values.
_COLUMN_NAME = re.compile(
    r"\b(?:value|amount|price|prices|fee|fees|rate|rates|cost|charge|limit|date|day|time|description|"
    r"notes?|meaning|conditions?|details?|status|answer|number|percent|kept for)$"
    r"|(?:值|金额|价格|费用|费率|利率|标准|限额|日期|时间|说明|描述|备注|含义|条件|内容|状态|方式|比例)$",
    re.I,
)
_PREFIX = re.compile(r"[$€£¥￥(]+|[A-Z]{0,3}\$|RMB|USD|EUR|HK\$")
_SUFFIX = re.compile(r"[)%％‰]+|pts?|bps")
_MARKER = re.compile(
    r"[•·▪■●○◦‣∙◆►✓☐☒*–—-]|\(?[0-9a-zA-Z]{1,3}[.)]|（?[一二三四五六七八九十\d]+[）、.]"
)
_UNIT_NOTE = re.compile(r"[(（].*[)）]$")
_PERIOD = re.compile(r"(?:ended|ending|at|as of|december 31|june 30),?$", re.I)
_MAX_HEADER_CELL = 80
_MAX_LABEL = 40
_MAX_HEADER_ROWS = 4
_LONG_CELL = 12
_CELL_END = "。.;；!！?？:："


def render_table(rows: Sequence[Sequence[Cell]], header_rows: int | None = None) -> list[str]:
    """Lines for the rows of a table, header rows left out.

    ``header_rows``: how many rows at the top are headers; ``None`` when the format does not say,
    then they are guessed from where the numbers begin. Merged headers are repeated over the
    columns that they span. A table of two columns without header reads ``left: right``.
    """
    grid = _tidy(rows)
    if not grid:
        return []
    width = max(len(row) for row in grid)
    if header_rows is None:
        count = _guess_header_rows(grid, width)
    else:
        filled = [row for row in rows[:header_rows] if any(cell and cell.strip() for cell in row)]
        count = min(len(filled), len(grid))
    if count == len(grid):
        return [line for row in grid if (line := _plain_row(row))]
    body = grid[count:]
    headers, caption = _headers(grid[:count], body, width)
    lines = [line for row in body if (line := _row(row, headers, width))]
    return [caption, *lines] if caption else lines


def _tidy(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    grid = [[cell if cell is None else clean_line(cell) for cell in row] for row in rows]
    filled = [row for row in grid if any(row)]
    named = _named(filled[0]) if filled else set()
    grid = _join_broken_rows([_join_symbols(row, named) for row in filled])
    if not grid:
        return []
    width = max(len(row) for row in grid)
    used = [any(column < len(row) and row[column] for row in grid) for column in range(width)]
    return [[cell for column, cell in enumerate(row) if used[column]] for row in grid]


def _named(row: Sequence[Cell]) -> set[int]:
    """Return the columns that have a word of their own above them, and so does the one behind."""
    return {
        column
        for column, (cell, after) in enumerate(pairwise(row))
        if cell and after and not (_PREFIX.fullmatch(cell) or _NUMBER.fullmatch(cell))
    }


def _join_symbols(row: list[Cell], named: Collection[int]) -> list[Cell]:
    """Put a currency sign, bracket or per cent sign that has its own cell back to its number.

    What stands in a ``named`` column is no sign of the next one's number: currencies are listed.
    """
    cells = list(row)
    filled = [index for index, cell in enumerate(cells) if cell]
    for here, after in pairwise(filled):
        cell, following = cells[here], cells[after]
        if here in named or not (cell and following and _PREFIX.fullmatch(cell)):
            continue
        if following[0] in "0123456789(-–—.":
            cells[here], cells[after] = "", cell + following
    filled = [index for index, cell in enumerate(cells) if cell]
    for here, after in pairwise(filled):
        cell, following = cells[here], cells[after]
        if cell and following and _SUFFIX.fullmatch(following) and cell[-1] in "0123456789)—–-":
            cells[here], cells[after] = cell + following, ""
    return cells


def _join_broken_rows(grid: list[list[Cell]]) -> list[list[Cell]]:
    """Put back a cell that a page break cut in two: alone in its row, below a long cell."""
    joined: list[list[Cell]] = []
    for row in grid:
        filled = [index for index, cell in enumerate(row) if cell]
        above = joined[-1] if joined else []
        if len(filled) == 1 and 0 < filled[0] < len(above):
            head, tail = above[filled[0]] or "", row[filled[0]] or ""
            if len(head) >= _LONG_CELL and head[-1] not in _CELL_END:
                above[filled[0]] = clean_line(f"{head}\n{tail}")
                continue
        joined.append(row)
    return joined


def _guess_header_rows(grid: list[list[Cell]], width: int) -> int:
    if width < 2 or len(grid) < 2:
        return 0
    count = 0
    while count < min(_MAX_HEADER_ROWS, len(grid) - 1) and _header_like(grid[count]):
        count += 1
        if _closes_header(grid, count):
            break
    if width == 2 and not (_has_numbers(grid[count:]) or _COLUMN_NAME.search(grid[0][1] or "")):
        return 0
    return count


def _header_like(row: list[Cell]) -> bool:
    cells = [cell for cell in row if cell]
    # The corner may hold the title of the whole table.
    if not cells or any(cell and len(cell) > _MAX_HEADER_CELL for cell in row[1:]):
        return False
    if any(_NUMBER.fullmatch(cell) and not _YEAR.fullmatch(cell) for cell in cells):
        return False
    # A row with nothing but its label is a group title inside the table.
    return not (len(cells) == 1 and row[0])


def _closes_header(grid: list[list[Cell]], count: int) -> bool:
    """A header goes on over several rows only where its cells are merged or its corner is empty."""
    row, following = grid[count - 1], grid[count]
    merged = any(cell is None for cell in row)
    return not merged and bool(row[0] or following[0])


def _has_numbers(grid: list[list[Cell]]) -> bool:
    cells = [cell for row in grid for cell in row[1:] if cell]
    numbers = sum(bool(_NUMBER.fullmatch(cell) or _DATE.match(cell)) for cell in cells)
    return bool(cells) and numbers * 2 >= len(cells)


def _headers(rows: list[list[Cell]], body: list[list[Cell]], width: int) -> tuple[list[str], str]:
    parts: list[list[str]] = [[] for _ in range(width)]
    for row in rows:
        current = ""
        for column in range(width):
            cell = row[column] if column < len(row) else ""
            current = current if cell is None else cell
            if current and current not in parts[column]:
                parts[column].append(current)
    headers = [" ".join(part).rstrip(":：") for part in parts]
    return _over_labels(headers, body)


def _over_labels(headers: list[str], body: list[list[Cell]]) -> tuple[list[str], str]:
    """Mend what stands over the labels, and return what becomes a line of its own.

    A period belongs to the years; the table's title and the name of a group to no single row.
    """
    label, others = headers[0], headers[1:]
    if label and _PERIOD.search(label) and any(others) and all(map(_is_year, filter(None, others))):
        return ["", *(f"{label} {other}" if other else "" for other in others)], ""
    groups = any(row and row[0] and not any(row[1:]) for row in body)
    if label and (len(label) > _MAX_LABEL or (groups and not _UNIT_NOTE.fullmatch(label))):
        return ["", *others], label
    return headers, ""


def _is_year(text: str) -> bool:
    return _YEAR.fullmatch(text) is not None


def _row(row: list[Cell], headers: list[str], width: int) -> str:
    cells = [(column, cell) for column, cell in enumerate(row) if cell]
    if not any(headers) or (len(cells) == 1 and cells[0][0] == 0):
        return _plain_row(row)
    parts = []
    for column, cell in cells:
        header = headers[column] if column < width else ""
        parts.append(_field(header, cell, is_label=column == 0))
    return "; ".join(parts)


def _field(header: str, cell: str, *, is_label: bool) -> str:
    if not header or header == cell:
        return cell
    if is_label and _UNIT_NOTE.fullmatch(header):
        return f"{cell} {header}"
    return f"{header}: {cell}"


def _plain_row(row: list[Cell]) -> str:
    cells = [cell for cell in row if cell]
    if len(cells) > 1 and _MARKER.fullmatch(cells[0]):
        return f"{cells[0]} " + "; ".join(cells[1:])
    if len(cells) == 2 and row[0]:
        return f"{cells[0].rstrip(':：')}: {cells[1]}"
    return "; ".join(cells)
