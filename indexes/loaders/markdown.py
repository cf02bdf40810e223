"""Markdown (CommonMark and tables), by way of HTML so that both read alike."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Any

from indexes.loaders.encoding import decode
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.markup import write_html
from indexes.loaders.text import TextBuilder, clean_line

_FRONT_MATTER = re.compile(
    r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.S
)
_FRONT_TITLE = re.compile(r"^title[ \t]*:[ \t]*(.+?)[ \t]*$", re.M | re.I)
_ATTRIBUTES = re.compile(
    r"[ \t]*\{:?[ \t]*(?:[#.][\w.:-]+|[\w-]+=(?:\"[^\"\n]*\"|[\w-]+))"
    r"(?:[ \t]+(?:[#.][\w.:-]+|[\w-]+=(?:\"[^\"\n]*\"|[\w-]+)))*[ \t]*\}"
)
_LIQUID = re.compile(r"\{%-?.*?-?%\}")
_FENCE = re.compile(r"^(?: {0,3}|\t*)(```+|~~~+)")
_LEFT_MARK = re.compile(r"\*\*(?=\S)|(?<=\S)\*\*")
_IN_CELL = re.compile(r"^[-*+]\s+|(?<=\|)[-*+]\s+|```\w*")
_SPACED_LINK = re.compile(r"\]\(\s*([^()<>\n\"']*[^()<>\n\"'\s]\s+[^()<>\n\"']*)\)")
_SEPARATOR = re.compile(r"\s*\|?(?:\s*:?-+:?\s*\|)+(?:\s*:?-+:?)?\s*")
_MAX_CELL_LINES = 80
_COMMENT = re.compile(r"<!--.*?-->", re.S)
_TAG = re.compile(r"</?([A-Za-z][\w-]*)[\s/>]")
_TAG_NAMES = (
    "a abbr b blockquote body br caption center cite code col colgroup dd del details dfn div dl "
    "dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 head header hr html i iframe img input "
    "ins kbd label li main mark meta nav ol p picture pre q s samp script section small source "
    "span strike strong style sub summary sup svg table tbody td tfoot th thead tr tt u ul var "
    "video wbr"
)
_KNOWN_TAGS = frozenset(_TAG_NAMES.split())


def load_markdown(data: bytes, builder: TextBuilder, limits: LoadLimits) -> str:
    """Write the text to ``builder``; return the title of the front matter, or ""."""
    source = decode(data).replace("\r\n", "\n")
    check("characters of Markdown", len(source), limits.max_markup // 6, "split the file")
    title, source = _front_matter(source)
    write_html(_renderer().render(_prepare(source)), builder, limits)
    return title


def _front_matter(source: str) -> tuple[str, str]:
    match = _FRONT_MATTER.match(source)
    if match is None:
        return "", source
    found = _FRONT_TITLE.search(match.group(1))
    title = clean_line(found.group(1).strip("\"'")) if found else ""
    return title, source[match.end() :]


def _prepare(source: str) -> str:
    """Take out marks that are not Markdown and mend tables whose cells hold several lines."""
    lines = _COMMENT.sub("", source).split("\n")
    prepared: list[str] = []
    fence = ""
    columns = index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        match = _FENCE.match(line)
        if fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif match is not None:
            fence = match.group(1)
        elif line.lstrip().startswith("|"):
            if not columns:
                columns = _pipes(line) - 1
                prepared.extend(_table_start(line, lines[index : index + 1], columns))
            line, index = _whole_row(lines, index, columns)
            line = _clean(line)
        else:
            columns = 0
            line = _clean(line)
        prepared.append(line)
    return "\n".join(prepared)


def _table_start(line: str, following: Sequence[str], columns: int) -> list[str]:
    """What makes a table of rows that follow other text directly, or that have no header."""
    if columns < 1 or any(map(_SEPARATOR.fullmatch, following)):
        return [""]
    indent = line[: len(line) - len(line.lstrip())]
    return ["", indent + "|" + " |" * columns, indent + "|" + "-|" * columns]


def _whole_row(lines: Sequence[str], start: int, columns: int) -> tuple[str, int]:
    """The table row at ``start - 1`` with the lines that its cells go on over; and what is next.

    Some exports write cells of several lines as they are (`|name|text`, blank line, `more |`).
    """
    line = lines[start - 1]
    pipes = _pipes(line)
    if pipes > columns and line.rstrip().endswith("|"):
        return line, start
    pieces = [line]
    for index in range(start, min(start + _MAX_CELL_LINES, len(lines))):
        pieces.append(lines[index])
        pipes += _pipes(lines[index])
        if _SEPARATOR.fullmatch(lines[index]):
            break
        if pipes > columns and lines[index].rstrip().endswith("|"):
            indent = line[: len(line) - len(line.lstrip())]
            return indent + " ".join(filter(None, map(_cell_line, pieces))), index + 1
    return line, start


def _pipes(line: str) -> int:
    return line.count("|") - line.count("\\|")


def _cell_line(line: str) -> str:
    return _IN_CELL.sub("", line.strip()).strip()


def _clean(line: str) -> str:
    if "{" in line:
        line = _LIQUID.sub("", _ATTRIBUTES.sub("", line))
    # Targets with spaces, which vendors' exports have, are no links in CommonMark.
    return _SPACED_LINK.sub(r"](<\1>)", line) if "](" in line else line


def _renderer() -> Any:
    from markdown_it import MarkdownIt

    # Four spaces before a line are mostly a slip of nesting; code stands between fences.
    parser = MarkdownIt("commonmark", {"html": True}).disable("code")
    parser.enable(["table", "strikethrough"])
    parser.add_render_rule("html_inline", _render_html)
    parser.add_render_rule("html_block", _render_html)
    parser.add_render_rule("text", _render_text)
    return parser


def _render_html(_: Any, tokens: Sequence[Any], index: int, *__: Any) -> str:
    # `<InstanceId>` in a manual is a placeholder to show, not markup.
    content: str = tokens[index].content
    names = {name.lower() for name in _TAG.findall(content)}
    return content if names <= _KNOWN_TAGS else html.escape(content)


def _render_text(_: Any, tokens: Sequence[Any], index: int, *__: Any) -> str:
    # CommonMark takes `**提示：**请` for plain asterisks, since no space follows the mark.
    return html.escape(_LEFT_MARK.sub("", tokens[index].content))
