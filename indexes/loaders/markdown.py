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
    """Take out marks that are not Markdown and mend tables whose cells hold blank lines."""
    lines: list[str] = []
    fence = ""
    for raw in _COMMENT.sub("", source).split("\n"):
        line = raw
        match = _FENCE.match(line)
        if match is not None and not fence:
            fence = match.group(1)
        elif fence and line.strip().startswith(fence):
            fence = ""
        elif not fence:
            line = _LIQUID.sub("", _ATTRIBUTES.sub("", line))
        lines.append(line)
    return "\n".join(_mend_tables(lines))


def _mend_tables(lines: Sequence[str]) -> list[str]:
    """Join a table row that was broken over several lines (`|name|text`, blank line, ` |`)."""
    mended: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        if not line.lstrip().startswith("|") or line.rstrip().endswith("|"):
            mended.append(line)
            continue
        closing = _closing_line(lines, index)
        if closing is not None:
            pieces = [line, *lines[index : closing + 1]]
            line = " ".join(piece.strip() for piece in pieces if piece.strip())
            index = closing + 1
        mended.append(line)
    return mended


def _closing_line(lines: Sequence[str], start: int) -> int | None:
    for index in range(start, min(start + 40, len(lines))):
        line = lines[index].strip()
        if line.startswith("|") and line != "|":
            return None
        if line.endswith("|"):
            return index
    return None


def _renderer() -> Any:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
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
