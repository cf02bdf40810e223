"""Find tables among the lines of a PDF page by the white gutters between their columns.

PDF has no tables, only words at places. Lines whose words stand in groups that wide gaps part, over
each other, are taken for rows; the strips that no row prints on are the gutters. Cells that wrap
over several lines are put together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from indexes.loaders.pdf_page import Line, Word, join_words
from indexes.loaders.tables import Cell, render_table

_MARKER = re.compile(
    r"[•·▪■●○◦‣∙◆►✓☐☒*–—-]|\(?(?:\d{1,2}(?:\.\d{1,2})*|[a-zA-Z]|[ivx]{1,5})[.)]?|（?[一二三四五六七八九十\d]+[）、.]"
)
_MARKER_ONLY = re.compile(r"[•·▪■●○◦‣∙◆►✓☐☒*–—-]")
_NUMERIC = re.compile(
    r"[-–—−(]*[$€£¥￥]?[-–—−(]*\d[\d,.\s()%]*(?:[%)万亿元x*]|bps|pts?)*|[-–—−]|N/?[AM]", re.I
)
_YEAR = re.compile(r"(?:FY\s?)?(?:19|20)\d\d(?:年度?|[AE])?")
# A year or the mark of a footnote, which stand in headers.
_NO_FIGURE = re.compile(r"(?:FY\s?)?(?:19|20)\d\d(?:年度?|[AE])?|\(\d\)")
_LETTERS = re.compile(r"[A-Za-z]{3}|[\u3400-\u9fff]{2}")
_SENTENCE = re.compile(r"[。；！？]|[.;:!?：]$")
_WRAPS_ON = re.compile(r"[a-z(（$€£¥\d]|and\b|of\b")
_LOOKAHEAD = 3
_MAX_HEADER_LINES = 24
_HEADER_HEIGHT = 6
_NARROW = 0.4
_EDGE = 4.0
_PROSE_CELL = 24


@dataclass(frozen=True)
class Table:
    """A table found in ``lines[first:last]``, as its rows of text."""

    first: int
    last: int
    rows: list[str]


@dataclass(frozen=True)
class _Row:
    cells: tuple[tuple[Word, ...], ...]
    baseline: float
    size: float
    is_bold: bool

    @property
    def right(self) -> float:
        return self.cells[-1][-1].right


def find_tables(lines: Sequence[Line], text_width: float) -> list[Table]:
    """Tables in the lines of one page; ``text_width`` in points tells prose from labels."""
    tables: list[Table] = []
    index = 0
    while index < len(lines):
        last = _region_end(lines, index, text_width) if _is_tabular(lines[index]) else index
        if last > index:
            first = _with_headers(lines, index, tables[-1].last if tables else 0, text_width)
            rows = _rows([*_by_row(lines[first:index]), *map(_row_of, lines[index:last])])
            if rows:
                tables.append(Table(first, last, rows))
        index = max(last, index + 1)
    return tables


def is_numeric(text: str) -> bool:
    """Whether a cell holds a figure, a dash for none, or the like."""
    return _NUMERIC.fullmatch(text.strip()) is not None


def _is_tabular(line: Line) -> bool:
    cells = line.cells
    if len(cells) < 2:
        return False
    first = " ".join(word.text for word in cells[0])
    marked = _MARKER_ONLY if len(cells) > 2 else _MARKER
    return not marked.fullmatch(first) or is_numeric(_text(cells[1], line.size))


def _region_end(lines: Sequence[Line], start: int, text_width: float) -> int:
    """One past the last line of the table that begins at ``start``; ``start`` if there is none."""
    last = start
    tabular = 1
    index = start + 1
    while index < len(lines) and index - last <= _LOOKAHEAD:
        line = lines[index]
        if not _follows(lines[index - 1], line):
            break
        if _is_tabular(line):
            if not _aligned(line, [item for item in lines[start:index] if _is_tabular(item)]):
                break
            tabular += 1
            last = index
        elif len(line.cells) == 1 and line.right - line.left > 0.85 * text_width:
            break
        index += 1
    if tabular < 2:
        return start
    return last + 1


def _follows(above: Line, line: Line) -> bool:
    distance = above.baseline - line.baseline
    return -above.size < distance < 4.5 * above.size


def _aligned(line: Line, others: Sequence[Line]) -> bool:
    for other in others[-8:]:
        for cell in line.cells[1:]:
            for other_cell in other.cells[1:]:
                left, right = cell[0].left, cell[-1].right
                other_left, other_right = other_cell[0].left, other_cell[-1].right
                overlap = min(right, other_right) - max(left, other_left)
                if overlap > 0.5 * min(right - left, other_right - other_left):
                    return True
    return False


def _with_headers(lines: Sequence[Line], start: int, earliest: int, width: float) -> int:
    """Take in narrow lines right above: headers of several lines come cell by cell."""
    top = lines[start]
    left, figures = top.left + 2, top.cells[1][0].left
    first = start
    while first > max(earliest, start - _MAX_HEADER_LINES):
        line = lines[first - 1]
        height = line.baseline - top.baseline
        if line.right - line.left > _NARROW * width and len(line.cells) == 1:
            break
        if not -0.5 * top.size < height < _HEADER_HEIGHT * top.size:
            break
        is_title = len(line.cells) == 1 and line.left < left and line.right > figures
        if is_title or line.size > 1.15 * top.size or _SENTENCE.search(line.text):
            break
        first -= 1
    # What stands over the labels alone is the table's title, not a header of its columns.
    while first < start and lines[first].right < figures:
        first += 1
    return first


def _rows(lines: Sequence[_Row]) -> list[str]:
    columns = _columns(lines)
    if len(columns) < 2:
        return []
    placed = [_place(line, columns) for line in lines]
    cells = [cell for row in placed for cell in row[1:] if cell]
    numeric = sum(is_numeric(cell) for cell in cells) * 2 >= len(cells)
    if not numeric and _is_two_column_prose(placed):
        return [cell for column in range(2) for row in placed if (cell := row[column])]
    if numeric:
        header = _numeric_header(placed)
        body = _join_labels(placed[header:], lines[header:], columns)
        return render_table([*placed[:header], *body], header)
    rows = _join_wrapped(placed, lines)
    return render_table(rows, 1 if _bold_header(lines) else None)


def _by_row(lines: Sequence[Line]) -> list[_Row]:
    """Header lines from top to bottom, those at one height as one row of cells."""
    rows: list[_Row] = []
    for line in sorted(lines, key=lambda item: (-item.baseline, item.left)):
        if rows and abs(rows[-1].baseline - line.baseline) < 0.3 * line.size:
            cells = sorted(rows[-1].cells + line.cells, key=lambda cell: cell[0].left)
            rows[-1] = replace(rows[-1], cells=tuple(cells))
        else:
            rows.append(_row_of(line))
    return rows


def _row_of(line: Line) -> _Row:
    return _Row(line.cells, line.baseline, line.size, line.is_bold)


def _columns(rows: Sequence[_Row]) -> list[tuple[float, float]]:
    """Left and right edges of the columns: what is printed on, between the gutters."""
    most = max(len(row.cells) for row in rows)
    wide = [row for row in rows if len(row.cells) >= max(2, 0.6 * most)]
    # Headers over several columns would close the gutters between them.
    wide = [row for row in wide if _has_figures(row)] or wide
    spans = sorted((cell[0].left, cell[-1].right) for row in wide for cell in row.cells)
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left < columns[-1][1] + 0.1 * wide[0].size:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns


def _has_figures(row: _Row) -> bool:
    cells = [_text(cell, row.size) for cell in row.cells[1:]]
    figures = [cell for cell in cells if is_numeric(cell) and not _YEAR.fullmatch(cell)]
    return len(figures) * 2 >= len(cells)


def _place(row: _Row, columns: Sequence[tuple[float, float]]) -> list[Cell]:
    """The row's words by column; ``None`` where a header reaches over from the left."""
    placed: list[Cell] = [""] * len(columns)
    if len(row.cells) == 1 and row.cells[0][0].left < columns[0][1]:
        # A label alone may be longer than those beside figures.
        placed[0] = _text(row.cells[0], row.size)
        return placed
    for cell in row.cells:
        left, right = cell[0].left, cell[-1].right
        middles = [(start + end) / 2 for start, end in columns]
        over = [index for index, middle in enumerate(middles) if left - 1 < middle < right + 1]
        text = _text(cell, row.size)
        if len(over) > 1 and 0 not in over and _LETTERS.search(text):
            placed[over[0]] = _joined(placed[over[0]], text)
            for index in over[1:]:
                placed[index] = placed[index] or None
        elif len(over) <= 1 and _LETTERS.search(text) and 0 not in over:
            index = over[0] if over else _nearest((left + right) / 2, columns)
            placed[index] = _joined(placed[index], text)
        else:
            for index, words in _by_column(cell, columns).items():
                placed[index] = _joined(placed[index], _text(tuple(words), row.size))
    return placed


def _nearest(place: float, columns: Sequence[tuple[float, float]]) -> int:
    distances = [max(left - place, place - right, 0.0) for left, right in columns]
    return distances.index(min(distances))


def _by_column(
    cell: Sequence[Word], columns: Sequence[tuple[float, float]]
) -> dict[int, list[Word]]:
    placed: dict[int, list[Word]] = {}
    for word in cell:
        index = _nearest((word.left + word.right) / 2, columns)
        placed.setdefault(index, []).append(word)
    return placed


def _joined(cell: Cell, text: str) -> str:
    return f"{cell} {text}" if cell else text


def _text(words: tuple[Word, ...], size: float) -> str:
    return join_words(words, size)


def _numeric_header(rows: Sequence[Sequence[Cell]]) -> int:
    """Rows at the top with words or years over the columns."""
    for index, row in enumerate(rows):
        cells = [cell for cell in row[1:] if cell]
        figures = [cell for cell in cells if is_numeric(cell) and not _NO_FIGURE.fullmatch(cell)]
        if len(figures) * 2 > len(cells) or (figures and row[0]):
            return index
        if not cells and row[0]:
            return index
    return 0


def _join_labels(
    rows: Sequence[list[Cell]], lines: Sequence[_Row], columns: Sequence[tuple[float, float]]
) -> list[list[Cell]]:
    """Put a label that wrapped before its figures in one row with them."""
    joined: list[list[Cell]] = []
    pending = ""
    for index, placed in enumerate(rows):
        row = list(placed)
        label = row[0] or ""
        if pending:
            row[0] = label = f"{pending} {label}".strip()
            pending = ""
        following = rows[index + 1] if index + 1 < len(rows) else None
        if not any(row[1:]) and following is not None and any(following[1:]):
            reaches = lines[index].right > 0.75 * columns[0][1]
            wraps = following[0] and _WRAPS_ON.match(following[0])
            if not label.endswith((":", "：")) and (reaches or wraps) and following[0]:
                pending = label
                continue
        joined.append(row)
    return joined


def _bold_header(lines: Sequence[_Row]) -> bool:
    return lines[0].is_bold and not all(line.is_bold for line in lines[1:])


def _join_wrapped(rows: Sequence[list[Cell]], lines: Sequence[_Row]) -> list[list[Cell]]:
    """Put the lines of text cells together, by larger gaps between rows or by their labels."""
    gaps = [above.baseline - line.baseline for above, line in pairwise(lines)]
    close, far = (min(gaps), max(gaps)) if gaps else (0.0, 0.0)
    # Lines of one cell stand close; when no two lines do, each row has one line.
    by_gap = 0 < close < 1.5 * lines[0].size and far > 1.3 * close
    joined: list[list[Cell]] = []
    for index, row in enumerate(rows):
        starts = not joined or bool(row[0])
        if joined and by_gap:
            starts = gaps[index - 1] > 1.15 * close
        if starts:
            joined.append(list(row))
            continue
        for column, cell in enumerate(row):
            if cell:
                joined[-1][column] = _wrap(joined[-1][column], cell)
    return joined


def _wrap(above: Cell, cell: str) -> str:
    # A line break, which clean_line drops between Chinese characters.
    return f"{above}\n{cell}" if above else cell


def _is_two_column_prose(rows: Sequence[Sequence[Cell]]) -> bool:
    if len(rows) < 6 or any(len(row) != 2 for row in rows):
        return False
    cells = [cell for row in rows for cell in row if cell]
    return sum(map(len, cells)) > _PROSE_CELL * len(cells) and len(cells) > 1.5 * len(rows)
