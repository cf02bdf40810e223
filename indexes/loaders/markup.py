"""Web pages, and the HTML that Markdown becomes, as plain text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from indexes.errors import LoadError
from indexes.loaders.encoding import decode
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.numbering import outline_level
from indexes.loaders.tables import Cell, render_table
from indexes.loaders.text import BULLET, TextBuilder, clean_line, without_contents_lines

if TYPE_CHECKING:
    from lxml.etree import _Element

_CHARSET = re.compile(
    rb"<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*[\"']?([\w-]+)", re.I
)
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_SKIP = frozenset(
    {"script", "style", "noscript", "nav", "footer", "template", "svg", "math", "iframe", "head"}
    | {"select", "button", "option", "input", "textarea", "object", "canvas", "video", "audio"}
)
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "center", "dd", "details", "dialog"}
    | {"div", "dl", "dt", "fieldset", "figcaption", "figure", "form", "header", "hr", "html", "li"}
    | {"main", "ol", "p", "pre", "section", "summary", "table", "ul", "text", "document", "title"}
    | {"h", "h1", "h2", "h3", "h4", "h5", "h6", "caption", "tr", "td", "th", "legend"}
)
_HEADING = re.compile(r"h[1-6]")
_BOLD = frozenset({"b", "strong"})
_BOLD_STYLE = re.compile(r"font-weight\s*:\s*(?:bold|[6-9]00)", re.I)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_BOILERPLATE = re.compile(r"\b(?:cookie|breadcrumb|navbar|sidebar|skip-link|site-footer)", re.I)
_NOT_HEADING = re.compile(r".*[.。;；:：,，!！]|[(（].*|[^\W\d_]{0,2}\W*\d[\d\W]*")
_MARKER = re.compile(r"[•·▪■●○◦‣∙◆►✓*–—-]|[(（]?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)）]")
# A number that a narrow column broke over two lines.
_BROKEN_NUMBER = re.compile(r"(?<=[\d.,])[ \t]*\n[ \t]*(?=[\d.,%])")
_MAX_BOLD_HEADING = 80
_MAX_COLUMNS = 512


def load_html(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the page's text to ``builder``; return its title, or "" when it has none."""
    match = _CHARSET.search(data[:2000])
    return write_html(
        decode(data, match.group(1).decode("ascii") if match else None), builder, limits
    )


def write_html(markup: str, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write ``markup`` to ``builder``; return the content of ``<title>`` or ""."""
    check("characters of HTML", len(markup), limits.max_markup, "split the page")
    root = _parse(markup)
    if root is None:
        return ""
    titles = root.xpath("//head/title | //title")
    title = clean_line(titles[0].text_content()) if titles else ""
    mains = root.xpath("//main | //*[@role='main']")
    _Walker(builder, limits).walk(mains[0] if len(mains) == 1 else root)
    return title


def _parse(markup: str) -> Any:
    from lxml import etree, html

    markup = _XML_DECLARATION.sub("", markup.replace("\x00", ""))
    if not markup.strip():
        return None
    # huge_tree: the parser's own bound on depth drops the rest of the page without a word.
    parser = html.HTMLParser(huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        return html.document_fromstring(markup, parser=parser)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError, AssertionError) as error:
        raise LoadError(f"the HTML cannot be read: {error}") from error


class _Walker:
    """Walks the elements in document order and writes one block at a time."""

    def __init__(self, builder: TextBuilder, limits: LoadLimits) -> None:
        self._builder = builder
        self._limits = limits
        self._is_parse = False
        self._buffer: list[str] = []
        self._bold = 0
        self._has_plain = False
        self._bullet = ""
        self._lists: list[int | None] = []
        self._list_depth = 0
        self._preformatted = 0
        self._level = 1
        self._bold_level = 1
        self._bold_end = 0

    def walk(self, root: _Element) -> None:
        from lxml import etree

        # <h> without a level: a published PDF parse of Chinese annual reports.
        self._is_parse = root.find(".//h") is not None
        depth = 0
        context = etree.iterwalk(root, events=("start", "end"))
        for event, element in context:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "start":
                depth += 1
                if depth > self._limits.max_depth * 10:
                    raise LoadError(
                        f"elements nested {depth:,} deep, over the limit of "
                        f"{self._limits.max_depth * 10:,}; this is not a page made for reading"
                    )
                if self._start(element, tag):
                    context.skip_subtree()
            else:
                depth -= 1
                self._end(element, tag)
        self._flush()

    def _start(self, element: _Element, tag: str) -> bool:
        """Take an opening tag; whether to skip what is inside."""
        if _is_skipped(element, tag):
            return True
        if tag == "table" and not _is_layout(element):
            self._flush()
            self._table(element)
            return True
        if tag in _BLOCKS:
            self._flush()
            self._open_block(element, tag)
        elif tag == "br":
            self._flush(more=True)
        self._bold += _is_bold(element, tag)
        self._text(element.text)
        return False

    def _end(self, element: _Element, tag: str) -> None:
        if not _is_skipped(element, tag) and not (tag == "table" and not _is_layout(element)):
            self._bold -= _is_bold(element, tag)
            if _HEADING.fullmatch(tag) or tag == "h":
                self._heading(tag)
            elif tag in _BLOCKS:
                self._flush()
                self._close_block(tag)
        self._text(element.tail)

    def _open_block(self, element: _Element, tag: str) -> None:
        if tag in ("ul", "ol"):
            start = element.get("start", "1")
            number = int(start) if start.isdecimal() and len(start) < 6 else 1
            self._lists.append(number if tag == "ol" else None)
            if len(self._lists) == 1:
                self._builder.end_run()
        elif tag == "li":
            count = self._lists[-1] if self._lists else None
            self._bullet = BULLET if count is None else f"{count}. "
            if count is not None:
                self._lists[-1] = count + 1
        elif tag == "pre":
            self._preformatted += 1
            if not self._lists:
                self._builder.end_run()

    def _close_block(self, tag: str) -> None:
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            if not self._lists:
                self._builder.end_run()
        elif tag == "li":
            self._bullet = ""
        elif tag == "pre":
            self._preformatted -= 1
            if not self._lists:
                self._builder.end_run()

    def _text(self, text: str | None) -> None:
        if not text:
            return
        if self._preformatted:
            for index, line in enumerate(text.split("\n")):
                if index:
                    self._flush(more=True)
                self._buffer.append(line)
            return
        self._buffer.append(text)
        if not self._bold and text.strip():
            self._has_plain = True

    def _heading(self, tag: str) -> None:
        title = clean_line("".join(self._buffer))
        level: int | None = outline_level(title) if tag == "h" else int(tag[1])
        if level is None:
            self._flush()
            return
        self._reset()
        self._bullet = ""
        if title:
            self._level = level
            self._builder.heading(level, title)

    def _flush(self, *, more: bool = False) -> None:
        """Write the block gathered so far. ``more``: another line of the same block follows."""
        text = clean_line(without_contents_lines("".join(self._buffer)))
        is_bold = bool(text) and not self._has_plain and not self._preformatted
        self._reset()
        if not text:
            return
        if self._bullet:
            self._builder.line(self._bullet + text)
            self._bullet = ""
        elif _MARKER.fullmatch(text) and not self._preformatted:
            # The mark of a list item that is laid out as a block of its own.
            self._bullet = f"{text} " if text[-1] in ".)）" else BULLET
        elif self._preformatted or self._lists or more:
            self._builder.line(text)
        elif is_bold and len(text) <= _MAX_BOLD_HEADING and not _NOT_HEADING.fullmatch(text):
            self._bold_heading(text)
        else:
            self._builder.paragraph(text)

    def _bold_heading(self, text: str) -> None:
        """A paragraph all in bold: a heading below the real ones, and below one right above it."""
        follows = self._bold_end == self._builder.length and self._bold_end > 0
        self._bold_level = (
            min(self._bold_level + 1, self._level + 3) if follows else self._level + 1
        )
        self._builder.heading(self._bold_level, text)
        self._bold_end = self._builder.length

    def _reset(self) -> None:
        self._buffer.clear()
        self._has_plain = False

    def _table(self, table: _Element) -> None:
        rows, header_rows = _grid(table, self._limits)
        if self._is_parse:
            rows = [[cell and _BROKEN_NUMBER.sub("", cell) for cell in row] for row in rows]
        self._builder.end_run()
        for caption in table.xpath("./caption"):
            self._builder.line(_cell_text(caption))
        for line in render_table(rows, header_rows):
            self._builder.line(line)
        self._builder.end_run()


def _is_skipped(element: _Element, tag: str) -> bool:
    if tag in _SKIP or not tag:
        return True
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    if element.get("role") == "navigation" or _HIDDEN_STYLE.search(element.get("style", "")):
        return True
    marks = f"{element.get('class', '')} {element.get('id', '')}"
    return tag in _BLOCKS and _BOILERPLATE.search(marks) is not None


def _is_bold(element: _Element, tag: str) -> bool:
    return tag in _BOLD or _BOLD_STYLE.search(element.get("style", "")) is not None


def _is_layout(table: _Element) -> bool:
    """Whether the table only places other blocks on the page."""
    return bool(table.xpath(".//table | .//h1 | .//h2 | .//h3 | .//h4"))


def _grid(table: _Element, limits: LoadLimits) -> tuple[list[list[Cell]], int | None]:
    rows: list[list[Cell]] = []
    reaching: dict[int, tuple[int, Cell]] = {}
    header_rows = 0
    in_header = True
    for tr in table.iter("tr"):
        row = _grid_row(tr, reaching)
        if len(rows) >= limits.max_rows:
            raise LoadError(f"a table of more than {limits.max_rows:,} rows; split the file")
        in_header = in_header and _is_header_row(tr)
        header_rows += in_header
        rows.append(row)
    return rows, header_rows or None


def _grid_row(tr: _Element, reaching: dict[int, tuple[int, Cell]]) -> list[Cell]:
    """The cells of a row with merged ones filled in; ``reaching`` holds those merged downwards."""
    row: list[Cell] = []
    for cell in tr.xpath("./td | ./th"):
        _fill(row, reaching)
        text = _cell_text(cell)
        down = _span(cell.get("rowspan")) - 1
        if len(row) >= _MAX_COLUMNS:
            break
        for offset in range(_span(cell.get("colspan"))):
            value = text if offset == 0 else None
            if down > 0:
                reaching[len(row)] = (down, value)
            row.append(value)
    _fill(row, reaching)
    return row


def _fill(row: list[Cell], reaching: dict[int, tuple[int, Cell]]) -> None:
    while len(row) in reaching and len(row) < _MAX_COLUMNS:
        left, value = reaching[len(row)]
        if left > 1:
            reaching[len(row)] = (left - 1, value)
        else:
            del reaching[len(row)]
        row.append(value)


def _span(value: str | None) -> int:
    return min(100, max(1, int(value))) if value and value.strip().isdecimal() else 1


def _is_header_row(tr: _Element) -> bool:
    parent = tr.getparent()
    if parent is not None and parent.tag == "thead":
        return True
    return bool(tr.xpath("./th")) and not tr.xpath("./td")


def _cell_text(cell: _Element) -> str:
    from lxml import etree

    parts: list[str] = []
    context = etree.iterwalk(cell, events=("start", "end"))
    for event, element in context:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if element is not cell and _is_skipped(element, tag):
                context.skip_subtree()
                continue
            parts.append(" " if tag in _BLOCKS or tag == "br" else "")
            parts.append(element.text or "")
        elif element is not cell:
            parts.append(" " if tag in _BLOCKS else "")
            parts.append(element.tail or "")
    return "".join(parts)
