"""PowerPoint presentations: a page a slide, its title as heading, texts and tables as placed."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from indexes.errors import LoadError
from indexes.loaders.archive import check_archive
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.tables import Cell, render_table
from indexes.loaders.text import BULLET, TextBuilder, clean_line

_GROUP = 6
_FURNITURE = frozenset({"DATE", "FOOTER", "SLIDE_NUMBER", "HEADER"})
_MAX_GROUP_DEPTH = 20


def load_pptx(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the slides to ``builder``; return the title of the properties, or "".

    Speaker notes are left out: they are written for the speaker, not for customers.
    """
    import pptx

    check_archive(data, limits)
    try:
        presentation = pptx.Presentation(io.BytesIO(data))
        check("slides", len(presentation.slides), limits.max_pages, "split the file")
        for number, slide in enumerate(presentation.slides, 1):
            start = builder.length
            _write_slide(slide, builder)
            if builder.length > start:
                # The gap before the slide's first block belongs to no page.
                start += 2 if start else 0
            builder.page(number, start)
        return str(presentation.core_properties.title or "")
    except LoadError:
        raise
    # The library raises whatever a broken part makes it stumble over.
    except Exception as error:
        raise LoadError(f"the presentation is damaged ({error}); save it again") from error


def _write_slide(slide: Any, builder: TextBuilder) -> None:
    title = slide.shapes.title
    builder.end_run()
    if title is not None and clean_line(title.text_frame.text):
        builder.heading(1, title.text_frame.text.replace("\v", " "))
    shapes = sorted(_shapes(slide.shapes, 0), key=lambda shape: (shape.top or 0, shape.left or 0))
    for shape in shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        builder.end_run()
        if getattr(shape, "has_table", False):
            for line in render_table(_grid(shape.table), 1 if shape.table.first_row else None):
                builder.line(line)
        elif shape.has_text_frame:
            _write_text(shape, builder)


def _shapes(shapes: Iterable[Any], depth: int) -> Iterator[Any]:
    for shape in shapes:
        if shape.shape_type == _GROUP and depth < _MAX_GROUP_DEPTH:
            yield from _shapes(shape.shapes, depth + 1)
        elif not _is_furniture(shape):
            yield shape


def _is_furniture(shape: Any) -> bool:
    return (
        shape.is_placeholder
        and shape.placeholder_format.type is not None
        and (shape.placeholder_format.type.name in _FURNITURE)
    )


def _write_text(shape: Any, builder: TextBuilder) -> None:
    paragraphs = [item.text.replace("\v", "\n") for item in shape.text_frame.paragraphs]
    texts = [text for text in paragraphs if text.strip()]
    is_list = shape.is_placeholder and len(texts) > 1
    for text in texts:
        for index, line in enumerate(text.split("\n")):
            builder.line((BULLET if is_list and index == 0 else "") + line)


def _grid(table: Any) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for row in table.rows:
        cells: list[Cell] = []
        for column, cell in enumerate(row.cells):
            if not cell.is_spanned:
                cells.append(cell.text_frame.text)
            else:
                cells.append(_spanned(table, len(rows), column, rows))
        rows.append(cells)
    return rows


def _spanned(table: Any, row: int, column: int, rows: list[list[Cell]]) -> Cell:
    """A merged cell: ``None`` right of its origin, the origin's text below it."""
    for up in range(row, -1, -1):
        cell = table.cell(up, column)
        if cell.is_merge_origin and up + cell.span_height > row:
            return rows[up][column]
    return None
