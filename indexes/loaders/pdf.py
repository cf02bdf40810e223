"""PDF by PDFium: paragraphs, headings and tables put together from placed lines."""

from __future__ import annotations

import io
import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from indexes.errors import LoadError
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.pdf_layout import Block, page_blocks
from indexes.loaders.pdf_page import BREAK_HYPHEN, Line, PageLines, read_page
from indexes.loaders.text import TextBuilder, clean_line
from indexes.types import Page

# PDFium keeps global state: one thread at a time.
_LOCK = threading.Lock()
_PAGE_NUMBER = re.compile(
    r"(?:page|第)?\s*[-–—|]*\s*(?:\d{1,4}|[ivxlc]{1,6})\s*[-–—|]*\s*(?:页)?"
    r"(?:\s*(?:of|/|共)\s*\d{1,4}\s*页?)?",
    re.I,
)
_DIGITS = re.compile(r"\d+|\b[ivxlc]+\b")
_EDGE_LINES = 4
_EDGE_SHARE = 0.14
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_OPEN_END = re.compile(r"[^.!?:;。！？：；”\"')）\]]$")
_GOES_ON = re.compile(r"[a-z\u3400-\u9fff]")


def load_pdf(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the text with its pages to ``builder``; return the title of the properties, or ""."""
    with _LOCK:
        title, outline, pages = _read(data, limits)
    repeated = _repeated(pages)
    hyphens = _Hyphens(pages)
    body_size = _body_size(pages)
    paged: list[tuple[int, list[Block]]] = []
    for page in pages:
        lines = [line for line in page.lines if not _is_furniture(page, line, repeated)]
        blocks = page_blocks(lines, body_size, outline.get(page.number, {}))
        paged.append((page.number, [replace(b, text=hyphens.mend(b.text)) for b in blocks]))
    _write(paged, builder)
    empty = [page.number for page in pages if not page.lines]
    if len(empty) == len(pages):
        raise LoadError("its pages are images without text; run it through text recognition (OCR)")
    if empty:
        numbers = ", ".join(map(str, empty[:20])) + (" and more" if len(empty) > 20 else "")
        builder.warnings.append(f"no text on page {numbers}: images need text recognition (OCR)")
    return title


def _write(paged: Sequence[tuple[int, list[Block]]], builder: TextBuilder) -> None:
    """Write the blocks; a paragraph that goes on over a page's end stays in one piece."""
    starts: list[tuple[int, int]] = []
    held: Block | None = None
    for number, blocks in paged:
        start, first = -1, 0
        if held is not None:
            joins = bool(blocks) and _goes_on(held, blocks[0])
            whole = replace(held, text=f"{held.text}\n{blocks[0].text}") if joins else held
            begun = _write_block(whole, builder)
            if joins:
                start, first = begun + len(clean_line(held.text)), 1
            held = None
        for index, block in enumerate(blocks[first:], first):
            if 0 < index == len(blocks) - 1 and block.kind in ("paragraph", "item"):
                held = block
                break
            begun = _write_block(block, builder)
            start = start if start >= 0 else begun
        starts.append((number, start))
    if held is not None:
        _write_block(held, builder)
    _set_pages(starts, builder)


def _set_pages(starts: Sequence[tuple[int, int]], builder: TextBuilder) -> None:
    end = builder.length
    for number, found in reversed(starts):
        start = end if found < 0 else found
        builder.pages.insert(0, Page(number, start, end))
        end = start


def _goes_on(block: Block, following: Block) -> bool:
    text, after = block.text.strip(), following.text.strip()
    return (
        following.kind == "paragraph"
        and _OPEN_END.search(text) is not None
        and _GOES_ON.match(after) is not None
    )


def _write_block(block: Block, builder: TextBuilder) -> int:
    """Write the block and return where it begins."""
    if block.kind == "heading":
        builder.heading(block.level, block.text)
    elif block.kind == "paragraph":
        builder.paragraph(block.text)
    else:
        builder.line(block.text)
    return builder.last_start


def _read(
    data: bytes, limits: LoadLimits
) -> tuple[str, dict[int, dict[str, int]], list[PageLines]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(io.BytesIO(data))
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            reason = "protected by a password; save it without one and load it again"
            raise LoadError(reason) from error
        raise LoadError(f"the PDF is damaged ({error}); export it again") from error
    try:
        count = len(document)
        check("pages", count, limits.max_pages, "split the file")
        if not count:
            raise LoadError("the PDF has no pages")
        title = document.get_metadata_value("Title")
        return title, _outline(document), [_read_page(document, number) for number in range(count)]
    except pypdfium2.PdfiumError as error:
        raise LoadError(f"the PDF is damaged ({error}); export it again") from error
    finally:
        document.close()


def _read_page(document: Any, index: int) -> PageLines:
    import pypdfium2

    try:
        page = document[index]
    except pypdfium2.PdfiumError:
        return PageLines(index + 1, 0.0, 0.0)
    try:
        return read_page(page, index + 1)
    finally:
        page.close()


def _outline(document: Any) -> dict[int, dict[str, int]]:
    """Bookmarks as page number -> comparable title -> level from 1."""
    outline: dict[int, dict[str, int]] = {}
    for bookmark in document.get_toc(max_depth=6):
        destination = bookmark.get_dest()
        index = destination.get_index() if destination is not None else None
        title = clean_line(bookmark.get_title() or "")
        if index is not None and title:
            outline.setdefault(index + 1, {})[_comparable(title)] = bookmark.level + 1
    return outline


def _comparable(text: str) -> str:
    return re.sub(r"\W+", "", text).casefold()


def _edge_lines(page: PageLines) -> list[Line]:
    """The lines nearest to the top and the bottom of the page, where furniture stands."""
    lines = sorted(page.lines, key=lambda line: line.bottom)
    margin = _EDGE_SHARE * page.height
    low = [line for line in lines[:_EDGE_LINES] if line.bottom < margin]
    high = [line for line in lines[-_EDGE_LINES:] if line.top > page.height - margin]
    return low + high


def _pattern(text: str) -> str:
    return _DIGITS.sub("#", text.casefold()).replace(" ", "")


def _repeated(pages: Sequence[PageLines]) -> frozenset[str]:
    """Running heads and feet: the same words, numbers apart, at the edge of many pages."""
    counts = Counter(
        pattern for page in pages for pattern in {_pattern(line.text) for line in _edge_lines(page)}
    )
    least = max(3, min(len(pages) // 3, 10))
    return frozenset(pattern for pattern, count in counts.items() if count >= least)


def _is_furniture(page: PageLines, line: Line, repeated: frozenset[str]) -> bool:
    outermost = line.baseline in (page.lowest, page.highest)
    if outermost and _PAGE_NUMBER.fullmatch(line.text):
        return True
    margin = _EDGE_SHARE * page.height
    inside = margin <= line.bottom and line.top <= page.height - margin
    return not inside and _pattern(line.text) in repeated


def _body_size(pages: Sequence[PageLines]) -> float:
    sizes: Counter[float] = Counter()
    for page in pages:
        for line in page.lines:
            # Running text; tables often have smaller type and more of it.
            if len(line.cells) == 1 and len(line.words) > 4:
                sizes[round(line.size)] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 10.0


class _Hyphens:
    """Decides whether the hyphen at a line end belongs to the word, by how it is written inside."""

    def __init__(self, pages: Sequence[PageLines]) -> None:
        self._words: Counter[str] = Counter()
        if any(BREAK_HYPHEN in line.text for page in pages for line in page.lines):
            for page in pages:
                for line in page.lines:
                    self._words.update(word.casefold() for word in _WORD.findall(line.text))

    def mend(self, text: str) -> str:
        if BREAK_HYPHEN not in text:
            return text
        return re.sub(rf"(\w*){BREAK_HYPHEN}\s*(\w*)", self._join, text)

    def _join(self, match: re.Match[str]) -> str:
        before, after = match.group(1), match.group(2)
        whole, parted = f"{before}{after}", f"{before}-{after}"
        if not (before.isalpha() and after[:1].islower()):
            return parted
        return parted if self._words[parted.casefold()] > self._words[whole.casefold()] else whole
