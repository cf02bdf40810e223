"""Plain text: hard-wrapped lines joined, numbered and capital headings recognised."""

from __future__ import annotations

import re

from indexes.loaders.numbering import outline_level
from indexes.loaders.text import BULLET, TextBuilder, clean_line, without_contents_lines

_LINE_END = re.compile(r"\r\n|[\n\r\f\v\x85\u2028\u2029]")
_BULLET = re.compile(r"\s*[•·▪■●○◦‣∙◆►✓*–—-]\s+(?=\S)")
_ITEM = re.compile(
    r"\s*(?:[•·▪■●○◦‣∙◆►✓*–—-]\s|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,4})[.)、]\s?"
    r"|[（(][一二三四五六七八九十\d]+[）)]|[一二三四五六七八九十]+、|第[一二三四五六七八九十百零\d]+[条章节编款])"
)
_COLUMNS = re.compile(r"\S(?: {3,}|\t+ *)\S")
_RULE = re.compile(r"[\s=_*#~.·—–-]*|<[/A-Z][A-Z0-9-]*>(?:\s*\S{0,20})?")
_SENTENCE_END = re.compile(r"[.。;；:：,，!！?？…]$")
_LOWER = re.compile(r"\s*[a-z]")
_MAX_CAPITALS = 100
_FULL = 0.7


def write_text(text: str, builder: TextBuilder) -> str:
    """Write the text to ``builder``; return its first line if that reads like a title, or ""."""
    lines = _LINE_END.split(without_contents_lines(text))
    width = wrap_width(lines)
    title = ""
    for number, block in enumerate(_blocks(lines)):
        if number == 0 and len(block) == 1 and outline_level(block[0]) is None:
            title = clean_line(block[0])
        write_block(block, width, builder)
    return title if len(title) <= 80 and not _SENTENCE_END.search(title) else ""


def write_block(block: list[str], width: int, builder: TextBuilder) -> None:
    """Write lines that no blank line parts; ``width`` as ``wrap_width`` gives it."""
    if len(block) == 1 and _write_heading(block[0], builder):
        return
    paragraphs = _unwrap(block, width)
    for paragraph in paragraphs:
        # In wrapped text a numbered line that runs to the edge begins a paragraph.
        may_head = len(block) > 1 and (not width or len(paragraph) < _FULL * width)
        if may_head and _write_heading(paragraph, builder, numbered_only=True):
            continue
        line = _BULLET.sub(BULLET, paragraph, count=1)
        if len(paragraphs) > 1:
            builder.line(line)
        else:
            builder.paragraph(line)
    builder.end_run()


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


def wrap_width(lines: list[str]) -> int:
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
        if joined and width and _goes_on(previous, line, width):
            joined[-1] += "\n" + line
        else:
            joined.append(line)
        previous = line
    return joined


def _goes_on(previous: str, line: str, width: int) -> bool:
    """Whether the line is a part of the paragraph of the one before."""
    if _ITEM.match(line) or _COLUMNS.search(line) or _COLUMNS.search(previous):
        return False
    length = len(previous.rstrip())
    ended = _SENTENCE_END.search(previous.rstrip()) is not None
    if _LOWER.match(line):
        return not ended or length >= _FULL * width
    return length >= (0.9 if ended else _FULL) * width


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
