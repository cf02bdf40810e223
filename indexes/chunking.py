"""Cut a document into passages for retrieval.

The cut is the cheapest one under a cost that prefers full chunks, cuts at headings over cuts at
paragraphs over cuts inside them, and no chunk across unrelated sections. Dynamic programming finds
it in time linear in the number of sentences (each looks back over one chunk's worth of them).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from indexes.sentences import BULLET, split_long, split_sentences
from indexes.types import Chunk, Document, Heading, Span

CountTokens = Callable[[Sequence[str]], list[int]]

_MAX_CONTEXT = 240
"""Code points of title and heading path that go with a chunk: they cost tokens in each one."""

# A chunk filled to the share x costs (1 - x)^2 and these. Two neighbours with shares a and b go
# into one chunk when 1 + _PER_CHUNK - 2ab is more than the cost of crossing their boundary.
_PER_CHUNK = 0.25
_FINEST = 24
"""A chunk begins at most about every ``max_tokens / _FINEST`` tokens."""
_CUT_SENTENCE = 0.35
_CUT_LINE = 0.12
_CUT_PARAGRAPH = 0.03
_CUT_AFTER_COLON = 0.5
_CROSS = (1.21, 1.05, 0.95)
"""By rank of the sections that meet; the first is for top-level ones, the last for all deeper."""
_CROSS_INTO_PART = 0.85
"""From the text right under a heading into its first subsection."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """One sentence, and what it costs to part it from the one before or to keep them together."""

    span: Span
    section: int
    tokens: int
    lead_tokens: int
    """Tokens between the sentence before and this one: headings and bullets."""
    opens: bool
    """Whether it is the first sentence of its section."""
    cut_cost: float
    cross_cost: float


@dataclass(frozen=True, slots=True)
class _Section:
    path: tuple[Heading, ...]
    """The heading of the section, last, under those that hold it."""


def chunk_document(document: Document, count_tokens: CountTokens, max_tokens: int) -> list[Chunk]:
    """Chunks of at most ``max_tokens`` tokens each, in order; every sentence is in exactly one.

    ``count_tokens`` gives the number of tokens of each text, without special tokens; it is called
    once for all sentences (and again only for a sentence over ``max_tokens``, which is cut). A
    chunk's ``token_count`` is the sum over its sentences and inner headings. Raises ``ValueError``
    when ``max_tokens`` is below 8.
    """
    if max_tokens < 8:
        raise ValueError(f"max_tokens is {max_tokens}; give 8 or more")
    sections = _sections(document.headings)
    units = _units(document, sections, count_tokens, max_tokens)
    return [
        _chunk(document, units[:last], first, sections, max_tokens)
        for first, last in _best_cut(units, max_tokens)
    ]


def _sections(headings: Sequence[Heading]) -> list[_Section]:
    """Section 0 is what comes before the first heading; section i begins at heading i - 1."""
    sections = [_Section(())]
    path: list[Heading] = []
    for heading in headings:
        while path and path[-1].level >= heading.level:
            path.pop()
        path.append(heading)
        sections.append(_Section(tuple(path)))
    return sections


def _units(
    document: Document, sections: Sequence[_Section], count_tokens: CountTokens, max_tokens: int
) -> list[_Unit]:
    text = document.text
    placed = list(_placed_sentences(document, sections))
    ends = [0, *(span.end for span, _ in placed)]
    leads = [text[end : span.start].strip() for end, (span, _) in zip(ends, placed, strict=False)]
    counts = count_tokens([text[span.start : span.end] for span, _ in placed] + leads)
    has_root = len(sections) > 2 and all(
        section.path[0] == sections[1].path[0] for section in sections[1:]
    )
    units: list[_Unit] = []
    for index, (span, section) in enumerate(placed):
        before = placed[index - 1] if index else None
        cut = _cut_cost(text, before[0], span) if before else 0.0
        cross = 0.0
        opens = before is None or before[1] != section
        if before and opens:
            cut, cross = 0.0, _cross_cost(sections[before[1]], sections[section], has_root)
        lead = counts[len(placed) + index] if leads[index] else 0
        unit = _Unit(span, section, counts[index], lead, opens and section > 0, cut, cross)
        units.extend(_fit(text, unit, count_tokens, max_tokens))
    return units


def _placed_sentences(
    document: Document, sections: Sequence[_Section]
) -> Iterator[tuple[Span, int]]:
    """Sentences with their section's number; a heading with nothing under it is a sentence."""
    text = document.text
    headings = document.headings
    for number in range(len(sections)):
        heading = headings[number - 1] if number else None
        start = heading.start + len(heading.title) if heading else 0
        following = headings[number] if number < len(headings) else None
        spans = split_sentences(text, start, following.start if following else len(text))
        is_leaf = following is None or (heading is not None and following.level <= heading.level)
        if heading and not spans and is_leaf:
            spans = split_sentences(text, heading.start, start)
        yield from ((span, number) for span in spans)


def _cut_cost(text: str, before: Span, span: Span) -> float:
    between = text[before.end : span.start]
    breaks = between.count("\n")
    cost = (_CUT_SENTENCE, _CUT_LINE, _CUT_PARAGRAPH)[min(breaks, 2)]
    return cost + (_CUT_AFTER_COLON if text[before.end - 1] in ":：" else 0.0)


def _cross_cost(before: _Section, section: _Section, has_root: bool) -> float:
    shared = _shared_depth(before.path, section.path)
    if shared == len(before.path):
        return _CROSS_INTO_PART
    rank = shared - (1 if has_root else 0)
    return _CROSS[min(max(rank, 0), len(_CROSS) - 1)]


def _shared_depth(first: Sequence[Heading], second: Sequence[Heading]) -> int:
    depth = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        depth += 1
    return depth


def _fit(text: str, unit: _Unit, count_tokens: CountTokens, max_tokens: int) -> Iterator[_Unit]:
    """The unit, or its parts when it alone is over ``max_tokens``."""
    if unit.tokens <= max_tokens:
        yield unit
        return
    length = unit.span.end - unit.span.start
    limit = max(1, min(length - 1, length * max_tokens * 9 // (unit.tokens * 10)))
    spans = list(split_long(text, unit.span.start, unit.span.end, limit))
    counts = count_tokens([text[span.start : span.end] for span in spans])
    for index, (span, tokens) in enumerate(zip(spans, counts, strict=True)):
        part = replace(unit, span=span, tokens=tokens)
        if index:
            part = replace(part, lead_tokens=0, opens=False, cut_cost=_CUT_SENTENCE, cross_cost=0.0)
        if span.end - span.start == 1:
            yield replace(part, tokens=min(tokens, max_tokens))
        else:
            yield from _fit(text, part, count_tokens, max_tokens)


def _best_cut(units: Sequence[_Unit], max_tokens: int) -> list[tuple[int, int]]:
    """The cheapest way to cut ``units`` into chunks, as half-open ranges of indexes."""
    costs = [0.0] + [float("inf")] * len(units)
    starts = [0] * (len(units) + 1)
    allowed = _allowed_starts(units, max_tokens)
    for end in range(1, len(units) + 1):
        if end < len(units) and not allowed[end]:
            continue
        tokens, crossing, last_section = 0, 0.0, units[end - 1].section
        for start in range(end - 1, -1, -1):
            unit = units[start]
            tokens += unit.tokens
            # A chunk over several sections begins with the heading of its first.
            lead = unit.lead_tokens if unit.section != last_section else 0
            if tokens > max_tokens:
                break
            if allowed[start] and tokens + lead <= max_tokens:
                size = 1 - tokens / max_tokens
                cost = costs[start] + unit.cut_cost + size * size + _PER_CHUNK + crossing
                if cost < costs[end]:
                    costs[end], starts[end] = cost, start
            tokens += unit.lead_tokens
            crossing += unit.cross_cost
    ranges = []
    end = len(units)
    while end > 0:
        ranges.append((starts[end], end))
        end = starts[end]
    return ranges[::-1]


def _allowed_starts(units: Sequence[_Unit], max_tokens: int) -> list[bool]:
    """Where a chunk may begin: among very short sentences not at each, to bound the work."""
    allowed: list[bool] = []
    tokens = max_tokens
    for unit in units:
        tokens += unit.lead_tokens
        large = tokens + unit.tokens > max_tokens // 2
        starts = unit.opens or large or tokens >= max_tokens // _FINEST
        tokens = unit.tokens if starts else tokens + unit.tokens
        allowed.append(starts)
    return allowed


def _chunk(
    document: Document,
    until: Sequence[_Unit],
    place: int,
    sections: Sequence[_Section],
    max_tokens: int,
) -> Chunk:
    """Make a chunk of the units from ``place`` on; those before say where it may begin."""
    units = until[place:]
    before = until[place - 1].span.end if place else 0
    first, last = units[0], units[-1]
    path = sections[first.section].path
    start, end = first.span.start, last.span.end
    tokens = sum(unit.tokens for unit in units) + sum(unit.lead_tokens for unit in units[1:])
    if first.opens and _shared_depth(path, sections[last.section].path) < len(path):
        # Several sections: each has its heading in the text, the first one like the others.
        start = path[-1].start
        path = path[:-1]
        tokens += first.lead_tokens
    elif (
        # The piece before may end in a bullet, where a long sentence was cut.
        document.text.endswith(BULLET, before, start) and tokens + first.lead_tokens <= max_tokens
    ):
        start -= len(BULLET)
        tokens += first.lead_tokens
    titles = tuple(heading.title for heading in path)
    return Chunk(
        start=start,
        end=end,
        text=document.text[start:end],
        context=_context(document.title, titles),
        heading_path=titles,
        page=_page(document, start),
        token_count=tokens,
        sentences=tuple(unit.span for unit in units),
    )


def _context(title: str, path: Sequence[str]) -> str:
    """``title > heading > heading``, shortened from its middle when it is long."""
    parts = [title, *(path[1:] if path and path[0] == title else path)]
    while len(parts) > 2 and sum(len(part) + 3 for part in parts) > _MAX_CONTEXT:
        del parts[1]
    bound = (_MAX_CONTEXT - 3 * (len(parts) - 1)) // len(parts)
    return " > ".join(part if len(part) <= bound else part[: bound - 1] + "…" for part in parts)


def _page(document: Document, start: int) -> int | None:
    index = bisect_right(document.pages, start, key=lambda page: page.start)
    return document.pages[max(index - 1, 0)].number if document.pages else None
