"""Word documents: text in order, headings by style or outline level, numbering, tables, notes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from indexes.errors import LoadError
from indexes.loaders.archive import check_archive
from indexes.loaders.docx_numbering import Numbering, W, value_of
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.numbering import outline_level
from indexes.loaders.tables import Cell, render_table
from indexes.loaders.text import TextBuilder, clean_line

if TYPE_CHECKING:
    from lxml.etree import _Element

_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE = re.compile(r"(?:heading|标题|見出し)\s*(\d)", re.I)
_MAX_BOLD_HEADING = 80
_NOT_HEADING = re.compile(r".*[.。;；:：,，!！?？]|[\W\d_]+")
_OFF = frozenset({"0", "false", "off"})
_SPAN_LIMIT = 64


def load_docx(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the text to ``builder``; return the title of the properties, or ""."""
    import docx

    check_archive(data, limits)
    try:
        document = docx.Document(io.BytesIO(data))
        body = document.element.body
        _Writer(document, builder, limits).write(body)
        _write_notes(document, builder)
        return str(document.core_properties.title or "")
    except LoadError:
        raise
    # The library raises whatever a broken part makes it stumble over.
    except Exception as error:
        raise LoadError(f"the Word document is damaged ({error}); save it again") from error


class _Writer:
    def __init__(self, document: Any, builder: TextBuilder, limits: LoadLimits) -> None:
        self._builder = builder
        self._limits = limits
        self._styles = _styles(document)
        self._numbering = Numbering(_related(document, "/numbering"))
        self._has_headings = False

    def write(self, body: _Element) -> None:
        blocks = list(_blocks(body))
        self._has_headings = any(
            self._level(block) for block in blocks if block.tag == f"{W}p" and _text(block).strip()
        )
        for block in blocks:
            if block.tag == f"{W}p":
                self._paragraph(block)
            else:
                self._table(block)

    def _paragraph(self, paragraph: _Element) -> None:
        style = self._style(paragraph)
        text = _text(paragraph)
        if style.get("name", "").lower().startswith(("toc", "目录", "table of")):
            return
        label = self._numbering.label(self._number_properties(paragraph, style))
        if not text.strip():
            return
        level = self._level(paragraph) or self._guessed_level(paragraph, clean_line(text))
        if level:
            self._builder.heading(level, label.replace("• ", "") + text)
            return
        for index, line in enumerate(text.split("\n")):
            if not label and "\n" not in text:
                self._builder.paragraph(line)
            else:
                self._builder.line((label if index == 0 else "") + line)

    def _style(self, paragraph: _Element) -> dict[str, str]:
        identifier = value_of(paragraph.find(f"{W}pPr/{W}pStyle"), "")
        return self._styles.get(identifier, {})

    def _number_properties(self, paragraph: _Element, style: dict[str, str]) -> Any:
        own = paragraph.find(f"{W}pPr/{W}numPr")
        return own if own is not None else style.get("numbering")

    def _level(self, paragraph: _Element) -> int:
        """The level that the author gave it, from 1; 0 for body text."""
        outline = value_of(paragraph.find(f"{W}pPr/{W}outlineLvl"), "")
        if outline.isdecimal() and int(outline) < 9:
            return int(outline) + 1
        level = self._style(paragraph).get("level", "")
        return int(level) if level else 0

    def _guessed_level(self, paragraph: _Element, text: str) -> int:
        """A heading by its looks, in documents that style none as such."""
        if self._has_headings or len(text) > _MAX_BOLD_HEADING or _NOT_HEADING.fullmatch(text):
            return 0
        numbered = outline_level(text)
        if _is_bold(paragraph):
            return numbered or 2
        return numbered if numbered is not None and numbered <= 5 else 0

    def _table(self, table: _Element) -> None:
        rows: list[list[Cell]] = []
        header_rows = 0
        for tr in table.iterchildren(f"{W}tr"):
            check("rows of a table", len(rows), self._limits.max_rows, "split the file")
            rows.append(_row(tr, rows[-1] if rows else []))
            if tr.find(f"{W}trPr/{W}tblHeader") is not None and header_rows == len(rows) - 1:
                header_rows += 1
        if not header_rows and len(rows) > 1 and _bold_row(table):
            header_rows = 1
        self._builder.end_run()
        for line in render_table(rows, header_rows or None):
            self._builder.line(line)
        self._builder.end_run()


def _blocks(parent: _Element) -> Iterator[_Element]:
    """Paragraphs and tables in order, also those inside content controls."""
    for child in parent:
        if child.tag in (f"{W}p", f"{W}tbl"):
            yield child
        elif child.tag == f"{W}sdt":
            content = child.find(f"{W}sdtContent")
            gallery = value_of(child.find(f".//{W}docPartGallery"), "")
            if content is not None and gallery != "Table of Contents":
                yield from _blocks(content)


def _text(element: _Element) -> str:
    """All text with line breaks; deleted text and the second copy of text boxes left out."""
    parts = []
    for node in element.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}cr", f"{W}noBreakHyphen"):
        if any(ancestor.tag == _FALLBACK for ancestor in node.iterancestors()):
            continue
        if node.tag == f"{W}t":
            parts.append(node.text or "")
        elif node.tag == f"{W}noBreakHyphen":
            parts.append("-")
        else:
            parts.append("\t" if node.tag == f"{W}tab" else "\n")
    return "".join(parts)


def _styles(document: Any) -> dict[str, dict[str, Any]]:
    """By style id: its name, heading level and numbering, with what it inherits."""
    raw = {style.get(f"{W}styleId", ""): style for style in document.styles.element}
    styles: dict[str, dict[str, Any]] = {}
    for identifier, element in raw.items():
        found: dict[str, Any] = {"name": value_of(element.find(f"{W}name"), "")}
        current, seen = element, set()
        while current is not None and current not in seen:
            seen.add(current)
            _inherit(found, current)
            current = raw.get(value_of(current.find(f"{W}basedOn"), ""))
        styles[identifier] = found
    return styles


def _inherit(found: dict[str, Any], style: _Element) -> None:
    name = value_of(style.find(f"{W}name"), "")
    match = _HEADING_STYLE.fullmatch(name.strip())
    outline = value_of(style.find(f"{W}pPr/{W}outlineLvl"), "")
    level = match.group(1) if match else ""
    if name.lower() == "title":
        level = "1"
    elif outline.isdecimal() and int(outline) < 9:
        level = str(int(outline) + 1)
    numbering = style.find(f"{W}pPr/{W}numPr")
    if level:
        found.setdefault("level", level)
    if numbering is not None:
        found.setdefault("numbering", numbering)


def _is_bold(paragraph: _Element) -> bool:
    runs = [run for run in paragraph.iter(f"{W}r") if _text(run).strip()]
    marks = (run.find(f"{W}rPr/{W}b") for run in runs)
    return bool(runs) and all(
        mark is not None and mark.get(f"{W}val", "1").lower() not in _OFF for mark in marks
    )


def _bold_row(table: _Element) -> bool:
    first = table.find(f"{W}tr")
    if first is None:
        return False
    paragraphs = [item for item in first.iter(f"{W}p") if _text(item).strip()]
    return bool(paragraphs) and all(map(_is_bold, paragraphs))


def _row(tr: _Element, above: list[Cell]) -> list[Cell]:
    row: list[Cell] = []
    for cell in tr.iterchildren(f"{W}tc", f"{W}sdt"):
        properties = cell.find(f"{W}tcPr")
        merged = cell.find(f"{W}tcPr/{W}vMerge") if properties is not None else None
        span = value_of(cell.find(f"{W}tcPr/{W}gridSpan"), "1")
        text: Cell = " ".join(_text(item) for item in cell.iter(f"{W}p"))
        if merged is not None and value_of(merged, "continue") == "continue":
            text = above[len(row)] if len(row) < len(above) else ""
        row.append(text)
        extra = min(int(span), _SPAN_LIMIT) - 1 if span.isdecimal() else 0
        row.extend([None] * extra)
    return row


def _write_notes(document: Any, builder: TextBuilder) -> None:
    for kind in ("/footnotes", "/endnotes"):
        root = _related(document, kind)
        for note in root if root is not None else ():
            if note.get(f"{W}type") is None:
                builder.line(_text(note))


def _related(document: Any, kind: str) -> Any:
    """The root of the part that the document refers to as ``kind``, or ``None``."""
    from lxml import etree

    for relation in document.part.rels.values():
        if relation.reltype.endswith(kind) and not relation.is_external:
            parser = etree.XMLParser(resolve_entities=False, no_network=True)
            return etree.fromstring(relation.target_part.blob, parser)
    return None
