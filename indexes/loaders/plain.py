"""Plain text: hard-wrapped lines joined, numbered and capital headings recognised."""

from __future__ import annotations

import re

from indexes.loaders.encoding import decode
from indexes.loaders.limits import LoadLimits
from indexes.loaders.numbering import outline_level
from indexes.loaders.text import BULLET, TextBuilder, clean_line

_LINE_END = re.compile(r"\r\n|[\n\r\f\v\x85\u2028\u2029]")
_BULLET = re.compile(r"\s*[•·▪■●○◦‣∙◆►✓*–—-]\s+(?=\S)")
_ITEM = re.compile(
    r"\s*(?:[•·▪■●○◦‣∙◆►✓*–—-]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)、]\s?"
    r"|[（(][一二三四五六七八九十\d]+[）)]|[一二三四五六七八九十]+、|第[一二三四五六七八九十百零\d]+[条章节编款])"
)
_COLUMNS = re.compile(r"\S(?: {3,}|\t+ *)\S")
_RULE = re.compile(r"[\s=_*#~.·—–-]*|<[/A-Z][A-Z0-9-]*>(?:\s*\S{0,20})?")
_SENTENCE_END = re.compile(r"[.。;；:：,，!！?？…]$")
_MAX_CAPITALS = 100


def load_text(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the text to ``builder``; return a title when the first line reads like one, or ""."""
    return write_text(decode(data), builder)


def write_text(text: str, builder: TextBuilder) -> str:
    """As ``load_text``, for text that is decoded already."""
    lines = _LINE_END.split(text)
    width = _wrap_width(lines)
    title = ""
    for number, block in enumerate(_blocks(lines)):
        if number == 0 and len(block) == 1 and outline_level(block[0]) is None:
            title = clean_line(block[0])
        if len(block) == 1 and _write_heading(block[0], builder):
            continue
        lines_of_block = _unwrap(block, width)
        for line in lines_of_block:
            # In wrapped text a numbered line is the first one of its paragraph, not a heading.
            may_head = len(block) > 1 and not width
            _write_line(line, builder, is_run=len(lines_of_block) > 1, may_head=may_head)
        builder.end_run()
    return title if len(title) <= 80 and not _SENTENCE_END.search(title) else ""


def _blocks(lines: list[str]) -> list[list[str]]:
    """Runs of lines between blank ones; rules and bare SGML tags count as blank."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        if _RULE.fullmatch(line):
            if blocks[-1]:
                blocks.append([])
        else:
            blocks[-1].append(line)
    return blocks if blocks[-1] else blocks[:-1]


def _wrap_width(lines: list[str]) -> int:
    """The column at which the file was wrapped, or 0 when each paragraph is one line."""
    lengths = sorted(len(line.rstrip()) for line in lines if line.strip())
    if len(lengths) < 4:
        return 0
    width = lengths[int(0.95 * (len(lengths) - 1))]
    if not 30 <= width <= 120:
        return 0
    # Wrapped lines end shortly before the width; paragraphs of one line each do so by chance.
    full = sum(0.75 * width <= length <= width + 5 for length in lengths)
    return width if full >= 0.3 * len(lengths) else 0


def _unwrap(block: list[str], width: int) -> list[str]:
    joined: list[str] = []
    previous = ""
    for line in block:
        starts_item = _ITEM.match(line) is not None or _COLUMNS.search(line) is not None
        wrapped = width and len(previous.rstrip()) >= 0.7 * width
        if joined and wrapped and not starts_item and not _COLUMNS.search(previous):
            joined[-1] += "\n" + line
        else:
            joined.append(line)
        previous = line
    return joined


def _write_line(line: str, builder: TextBuilder, *, is_run: bool, may_head: bool) -> None:
    if may_head and _write_heading(line, builder, numbered_only=True):
        return
    line = _BULLET.sub(BULLET, line, count=1)
    if is_run:
        builder.line(line)
    else:
        builder.paragraph(line)


def _write_heading(line: str, builder: TextBuilder, *, numbered_only: bool = False) -> bool:
    text = clean_line(line)
    if _COLUMNS.search(line.strip()):
        return False
    level = outline_level(text)
    if level is None and not numbered_only and _is_capitals(text):
        level = 2
    if level is None:
        return False
    builder.heading(level, text)
    return True


def _is_capitals(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    return (
        text.isupper()
        and letters >= 4
        and len(text) <= _MAX_CAPITALS
        and (not _SENTENCE_END.search(text) and letters * 2 > len(text))
    )
