"""Split Chinese and English text into the sentences that can stand as quotes.

Rules, not a model: they are exact about offsets, need no download, and run at tens of megabytes a
second. A line is always a boundary, because the loaders put each paragraph, list item and table
row on a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexes.types import Span

MAX_SENTENCE = 300
"""Longest sentence in code points; longer ones are cut at clause marks."""

BULLET = "• "
"""What the loaders put before an item of an unordered list; no part of its sentence."""

_LINE = re.compile(r"[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_BULLET = re.compile(r"(?:[•·▪■●○◦‣∙◆◇►➢✓\-*–—]\s+)+")
_CLOSERS = "\"'”’」』）)]】》〉}»"
_END = re.compile(rf"(?:[。！？｡]+|[.!?…]+)(?:[{re.escape(_CLOSERS)}]*)")
_FULL_STOPS = frozenset("。！？｡")
_CJK = re.compile(r"[\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
_OPENERS = "\"'“‘「『（([【《〈«"
_BRACKETS = {"(": ")", "（": "）", "[": "]", "【": "】", "《": "》"}
_BRACKET_REACH = 120
_LAST_TOKEN = re.compile(r"[^\s\"'“‘「『（(\[【《〈«,;，；]*$")
_NEXT_WORD = re.compile(r"[A-Za-z]+")
_ENUMERATOR = re.compile(r"(?:\d{1,3}(?:\.\d{1,3})*|[A-Za-z]|[ivxIVX]{1,5})$")
_GLUED = re.compile(r"[A-Z][a-z]+(?:\s|[,'’])")
_GLUED_BEFORE = re.compile(r"(?:^|[\s,(])[a-z]{2,}$|[a-z]\)$")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Always followed by the name or example that they introduce.
_TITLES = _words(
    "mr mrs ms mx dr prof st rev gen col capt lt sgt rep sen gov hon messrs vs cf e.g i.e eg ie "
    "viz approx ca incl excl esp mt ft"
)
# An abbreviation only before a number: "No. 5", but "No. Please call us."
_BEFORE_NUMBER = _words(
    "no nos fig figs sec secs art arts vol vols p pp para paras eq ref refs ch tel ext "
    "jan feb mar apr jun jul aug sep sept oct nov dec pt sched cl reg"
)
# These may end a sentence; they do when a word that often begins one follows.
_MAYBE_END = _words(
    "inc ltd corp co llc plc jr sr etc bros dept est assn univ u.s u.k u.n e.u d.c u.s.a a.m p.m "
    "ph.d n.a s.a b.a m.a l.p l.l.c n.v b.v acct min max avg al"
)
_STARTERS = _words(
    "a after all although an any as at because before both but by each for from he her here his "
    "how however i if in it its many may more most my no not on once only our please she since "
    "some such that the their then there these they this those to under until we what when where "
    "which while who why with you your"
)

_FIELD = re.compile(r"[^:;：；]{1,80}: ")
_STRONG = re.compile(r"[；;](?=\s|[\u2e80-\uffef])|；|[。！？](?!$)|: |：")
_WEAK = re.compile(r"，|、|, |\) |） ?| [–—-] ")
_SPACE = re.compile(r"\s+")


def split_sentences(text: str, start: int, end: int) -> list[Span]:
    """Sentences of ``text[start:end]``, in order, as non-overlapping spans into ``text``.

    A span has no white space at its ends, no list bullet, at least one letter or digit, and at
    most ``MAX_SENTENCE`` code points. A line that is a table row (``Header: value; Header:
    value``) is one sentence.
    """
    spans: list[Span] = []
    for line in _LINE.finditer(text, start, end):
        left, right = _trim(text, line.start(), line.end())
        bullet = _BULLET.match(text, left, right)
        if bullet is not None:
            left = bullet.end()
        for first, last in _line_sentences(text, left, right):
            pieces = split_long(text, first, last, MAX_SENTENCE)
            spans.extend(piece for piece in pieces if _is_wordy(text, piece.start, piece.end))
    return spans


def is_table_row(line: str) -> bool:
    """Whether ``line`` reads ``Header: value; Header: value`` (the first header may be missing)."""
    fields = line.split("; ")
    if len(fields) < 2:
        return False
    named = sum(_FIELD.match(field) is not None for field in fields)
    return named >= 2 and (named >= len(fields) - 1 or 3 * named >= 2 * len(fields))


def split_long(text: str, start: int, end: int, limit: int) -> Iterator[Span]:
    """Cut ``text[start:end]`` into spans of at most ``limit`` code points (``limit`` >= 1).

    Cuts fall after the last strong clause mark that fits, else a weak one, else at white space,
    else anywhere. Nothing but white space lies between the spans.
    """
    start, end = _trim(text, start, end)
    while end - start > limit:
        cut = _cut(text, start, start + limit)
        left, right = _trim(text, start, cut)
        yield Span(left, right)
        start, end = _trim(text, cut, end)
    if start < end:
        yield Span(start, end)


def _cut(text: str, start: int, stop: int) -> int:
    # Not in the first third: a cut there leaves a scrap that says nothing.
    earliest = start + (stop - start) // 3
    for marks in (_STRONG, _WEAK, _SPACE):
        cuts = [match.end() for match in marks.finditer(text, earliest, stop)]
        if cuts:
            return cuts[-1]
    return stop


def _line_sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    if is_table_row(text[start:end]):
        yield start, end
        return
    first = start
    for match in _END.finditer(text, start, end):
        if match.end() < end and _is_boundary(text, first, match, end):
            yield _trim(text, first, match.end())
            first = _skip_space(text, match.end(), end)
    if first < end:
        yield first, end


def _is_boundary(text: str, first: int, match: re.Match[str], end: int) -> bool:
    if _inside_brackets(text, first, match.start(), end):
        return False
    if match.group()[0] in _FULL_STOPS:
        return True
    after = match.end()
    following = text[after]
    if not following.isspace():
        return _glued_boundary(text, match, following)
    following = text[_skip_space(text, after, end)]
    if match.group()[0] != ".":
        return not following.islower()
    starts = following.isupper() or following.isdigit() or following in _OPENERS + "•$€£¥"
    if not (starts or _CJK.match(following)):
        return False
    return _dot_ends_sentence(text, first, match, _skip_space(text, after, end))


def _glued_boundary(text: str, match: re.Match[str], following: str) -> bool:
    """A sentence end with no space after it: usual before Chinese, a slip in English."""
    before = text[match.start() - 1] if match.start() else " "
    if _CJK.match(following):
        if match.group()[0] == "…" or match.group().startswith(".."):
            return match.group()[-1] in _CLOSERS
        return match.group()[0] in "!?" or _CJK.match(before) is not None
    if match.group() != "." or _GLUED.match(text, match.end()) is None:
        return False
    return _GLUED_BEFORE.search(text, max(0, match.start() - 30), match.start()) is not None


def _dot_ends_sentence(text: str, first: int, match: re.Match[str], following: int) -> bool:
    if match.group()[0:2] == ".." or match.group()[-1] in _CLOSERS:
        return True
    token_match = _LAST_TOKEN.search(text, max(first, match.start() - 40), match.start())
    token = token_match.group() if token_match else ""
    if match.start() - len(token) <= first and _ENUMERATOR.match(token):
        return False
    lowered = token.lower()
    if lowered in _TITLES:
        return False
    if lowered in _BEFORE_NUMBER:
        return not text[following].isdigit()
    if lowered in _MAYBE_END or (len(token) == 1 and token.isalpha() and token.isupper()):
        word = _NEXT_WORD.match(text, following)
        return word is not None and word.group().lower() in _STARTERS
    return True


def _inside_brackets(text: str, first: int, position: int, end: int) -> bool:
    """Whether a bracket opened in this sentence closes only after ``position``, not far off."""
    for opener, closer in _BRACKETS.items():
        opened = text.rfind(opener, max(first, position - 2 * _BRACKET_REACH), position)
        if opened >= 0 and text.find(closer, opened, position) < 0:
            closes = text.find(closer, position, min(end, position + _BRACKET_REACH))
            # When nothing but closers follow, the end of the bracket is the end of the sentence.
            if closes > position + 1:
                return True
    return False


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _skip_space(text: str, position: int, end: int) -> int:
    while position < end and text[position].isspace():
        position += 1
    return position


def _is_wordy(text: str, start: int, end: int) -> bool:
    return any(text[index].isalnum() for index in range(start, end))
