"""Put the lines of a PDF page together into paragraphs, list items, headings and table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from indexes.loaders.numbering import outline_level
from indexes.loaders.pdf_page import Line
from indexes.loaders.pdf_table import find_tables
from indexes.loaders.text import BULLET, is_contents_line

_BULLET = re.compile(r"[•·▪■●○◦‣∙◆►✓☐☒❖➢\uf0b7\uf0a7\uf0d8]\s*(?=\S)|[*–—-]\s+(?=\S)")
_ENUMERATOR = re.compile(
    r"\(?(?:\d{1,2}(?:\.\d{1,2}){0,3}|[a-zA-Z]|[ivx]{1,5})[.)]\s|\d{1,2}(?:\.\d{1,2}){1,3}\s"
    r"|[（(][一二三四五六七八九十\d]{1,3}[）)]|[一二三四五六七八九十]{1,3}、|\d{1,2}[、．]"
    r"|第[一二三四五六七八九十百零\d]{1,4}[条章节编款]"
)
_SENTENCE_END = re.compile(r"[.。;；:：,，!！?？…]['\"”’)）]?$")
_ENDED = re.compile(r"[.。;；:：!！?？]['\"”’)）]*$")
# How the item before another list item ends.
_CLOSED = re.compile(rf"{_ENDED.pattern}|\b(?:and|or)$")
_NOTE = re.compile(r"[(（].*[)）]", re.S)
_LOWER = re.compile(r"[a-z]")
_CAPITAL = re.compile(r"[A-Z\d\"“（\u3400-\u9fff]")
_NO_HEADING = re.compile(rf"^(?:{_BULLET.pattern})|[☐☒☑]|\b(?:and|or)$")
_ITEM = re.compile(r"(?:Item|ITEM)\s+\d{1,2}[A-C]?\.")
_MAX_HEADING_LINES = 3
_MAX_HEADING = 120
_LARGER = 1.15
_NEIGHBOURS = 12


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of the page; ``level`` is for headings, 1 the outermost."""

    kind: Literal["heading", "paragraph", "item", "row"]
    text: str
    level: int = 0


@dataclass(frozen=True)
class _Page:
    lines: Sequence[Line]
    body_size: float
    outline: Mapping[str, int]
    width: float


def page_blocks(lines: Sequence[Line], body_size: float, outline: Mapping[str, int]) -> list[Block]:
    """Blocks in reading order.

    ``body_size``: the document's main font size in points; ``outline``: the bookmarks that lead to
    this page, as letters of the title in lower case -> level.
    """
    lines = [line for line in lines if not is_contents_line(line.text)]
    width = _text_width(lines)
    page = _Page(lines, body_size, outline, width)
    blocks: list[Block] = []
    done = 0
    for table in find_tables(lines, width):
        blocks.extend(_titled(list(_prose(page, done, table.first))))
        blocks.extend(Block("row", row) for row in table.rows)
        done = table.last
    blocks.extend(_prose(page, done, len(lines)))
    return blocks


def _titled(blocks: list[Block]) -> list[Block]:
    """Make a heading of the short line that stands as title right above a table."""
    place = len(blocks) - 1
    if place > 0 and _NOTE.fullmatch(blocks[place].text):
        place -= 1
    if place < 0 or blocks[place].kind != "paragraph" or not _may_head(blocks[place].text):
        return blocks
    return [*blocks[:place], replace(blocks[place], kind="heading", level=5), *blocks[place + 1 :]]


def _text_width(lines: Sequence[Line]) -> float:
    widths = sorted(line.right - line.left for line in lines)
    return widths[int(0.95 * (len(widths) - 1))] if widths else 0.0


def _prose(page: _Page, start: int, stop: int) -> Iterator[Block]:
    lines = page.lines
    index = start
    while index < stop:
        count, level = _heading_at(page, index, stop)
        if count:
            yield Block("heading", _joined(lines[index : index + count]), level)
            index += count
            continue
        end = index + 1
        while end < stop and _continues(lines, end) and not _heading_at(page, end, stop)[0]:
            end += 1
        yield _body(_joined(lines[index:end]))
        index = end


def _joined(lines: Sequence[Line]) -> str:
    return "\n".join(line.text for line in lines)


def _body(text: str) -> Block:
    if _BULLET.match(text):
        return Block("item", BULLET + _BULLET.sub("", text, count=1))
    return Block("item" if _ENUMERATOR.match(text) else "paragraph", text)


def _continues(lines: Sequence[Line], index: int) -> bool:
    """Whether the line belongs to the paragraph of the line before."""
    above, line = lines[index - 1], lines[index]
    if abs(above.size - line.size) > 0.15 * above.size or _BULLET.match(line.text):
        return False
    lower_start = _LOWER.match(line.text) is not None
    distance = above.baseline - line.baseline
    if distance < -2 * above.size:
        # The top of the next column.
        return lower_start and not _ENDED.search(above.text)
    if distance > max(_pitch(lines, index) * 1.25, 1.2 * above.size):
        return False
    full = _is_full(lines, index)
    if _ENUMERATOR.match(line.text):
        return full and not _CLOSED.search(above.text)
    return full or (lower_start and not _ENDED.search(above.text))


def _pitch(lines: Sequence[Line], index: int) -> float:
    """The smallest usual distance between lines around here, in points."""
    near = lines[max(0, index - _NEIGHBOURS) : index + _NEIGHBOURS]
    distances = sorted(
        distance
        for above, line in pairwise(near)
        if 0.8 * line.size < (distance := above.baseline - line.baseline) < 3 * line.size
    )
    usual = distances[len(distances) // 4] if distances else 0.0
    # A few lines do not tell wide line spacing from paragraphs.
    return usual if len(distances) > 3 else min(usual, 1.5 * lines[index].size)


def _is_full(lines: Sequence[Line], index: int) -> bool:
    """Whether the first word of the line had no room on the line before."""
    above, line = lines[index - 1], lines[index]
    near = lines[max(0, index - _NEIGHBOURS) : index + _NEIGHBOURS]
    margin = max(
        (other.right for other in near if other.left < above.right and other.right > above.left),
        default=above.right,
    )
    word = line.words[0]
    room = margin - above.right
    # One long word may be a whole Chinese line, which breaks anywhere.
    needed = min(word.right - word.left, 1.5 * line.size if ord(word.text[0]) > 0x2E7F else 1e9)
    return room < needed + 0.5 * line.size


def _heading_at(page: _Page, index: int, stop: int) -> tuple[int, int]:
    """How many lines from ``index`` on make up a heading, and its level; (0, 0) for none."""
    lines = page.lines
    for count in range(min(_MAX_HEADING_LINES, stop - index), 0, -1):
        key = re.sub(r"\W+", "", _joined(lines[index : index + count])).casefold()
        if key in page.outline:
            return count, page.outline[key]
    line = lines[index]
    if not _may_head(line.text):
        return 0, 0
    level = _style_level(line, page.body_size)
    if level:
        count = _heading_lines(lines, index, stop)
        return (count, level) if _may_head(_joined(lines[index : index + count])) else (0, 0)
    numbered = outline_level(line.text)
    if _stands_alone(page, index) and (numbered or not _ENUMERATOR.match(line.text)):
        return 1, numbered or 4
    return 0, 0


def _may_head(text: str) -> bool:
    if not 2 <= len(text) <= _MAX_HEADING or _NO_HEADING.search(text):
        return False
    letters = sum(character.isalpha() for character in text)
    if letters * 2 < len(text) or _CAPITAL.match(text) is None:
        return False
    if text[0].isdigit() and outline_level(text) is None:
        return False
    return _ITEM.match(text) is not None or not _SENTENCE_END.search(text)


def _style_level(line: Line, body_size: float) -> int:
    """1 for the largest type, 2 for larger, 3 for bold at the size of the text, 0 for none."""
    if line.size > 1.5 * body_size:
        return 1
    if line.size > _LARGER * body_size:
        return 2
    return 3 if line.is_bold and line.size > 0.95 * body_size else 0


def _heading_lines(lines: Sequence[Line], index: int, stop: int) -> int:
    count = 1
    first = lines[index]
    # One line too many is enough to see that it is a paragraph.
    while count <= _MAX_HEADING_LINES and index + count < stop:
        line = lines[index + count]
        distance = lines[index + count - 1].baseline - line.baseline
        same_style = abs(line.size - first.size) < 0.3 and line.is_bold == first.is_bold
        if not same_style or not 0 < distance < 1.5 * first.size or _ENUMERATOR.match(line.text):
            break
        if not _is_full(lines, index + count):
            break
        count += 1
    return count


def _stands_alone(page: _Page, index: int) -> bool:
    """A short line set apart from what is above, with a paragraph of full lines below."""
    lines, width = page.lines, page.width
    line = lines[index]
    if index + 1 >= len(lines) or line.right - line.left > 0.55 * width or len(line.cells) > 1:
        return False
    below = lines[index + 1]
    pitch = _pitch(lines, index)
    apart_above = index == 0 or lines[index - 1].baseline - line.baseline > 1.25 * pitch
    apart_below = line.baseline - below.baseline > 1.05 * pitch
    return apart_above and apart_below and below.right - below.left > 0.8 * width
