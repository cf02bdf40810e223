"""Tagged sentences: CoNLL columns, and JSON Lines of tokens with tags or texts with entities."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.evaluation.entities import OUTSIDE, EntitySpan, entity_spans, iob2_tags
from assistant.evaluation.folders import Faults, choose_file, shown
from assistant.tables import Row, inspect_table, read_rows

SENTENCE_SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".bioes", ".txt", ".tsv", ".jsonl")
_TAG = re.compile(r"O|[BIESLUM](-.+)?")
# BILOU and BMES say the same with other letters.
_SAME = str.maketrans("LUM", "ESI")
# Beside Chinese, Japanese and full-width characters no blank is written.
_TIGHT = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
    "\u3000-\u30ff\uff01-\uff65‘’“”…—·]"
)
_CLOSING = frozenset(".,!?;:)]}%'") | {"n't", "'s", "'re", "'ve", "'m", "'ll", "'d", "..."}
_OPENING = frozenset("([{$£€#@")
_QUOTE = '"'


@dataclass(frozen=True, slots=True)
class TaggedSentence:
    """A sentence with its entities.

    ``text`` is what a tagger is given; token ``i`` is ``text[offsets[i][0]:offsets[i][1]]``.
    ``tags`` are IOB2, one a token. Where the file has texts, tokens are single characters.
    """

    text: str
    offsets: tuple[tuple[int, int], ...]
    tags: tuple[str, ...]
    line: int


@dataclass(frozen=True, slots=True)
class TaggedSet:
    """Sentences of one file; ``unit`` of its tokens: "token" or "character".

    ``left_out``: what was wrong with faulty rows, where they were to be skipped.
    """

    file: Path
    sentences: tuple[TaggedSentence, ...]
    unit: str
    left_out: tuple[str, ...] = ()


def read_tagged_set(path: Path, *, skip_bad: bool = False) -> TaggedSet:
    """Read a file, or the file a folder means (``choose_file``).

    CoNLL: a token a line, its tag in the last column, an empty line between sentences; IOB1, IOB2,
    IOBES, BILOU and BMES are understood. JSON Lines: ``tokens`` and ``tags``, or ``text`` and
    ``entities`` (``start``, ``end``, ``label``; half-open code points). Raises InvalidInputError
    that names file, line and value; with ``skip_bad`` faulty rows are left out instead.
    """
    file = choose_file(path, SENTENCE_SUFFIXES)
    faults = Faults(file)
    read = _from_lines if file.suffix.lower() == ".jsonl" else _from_columns
    sentences = tuple(read(file, faults))
    left_out = faults.settle(skip_bad)
    if not sentences:
        raise InvalidInputError(f"{file}: no sentences; a token and its tag a line are needed.")
    single = all(end - start == 1 for s in sentences for start, end in s.offsets)
    return TaggedSet(file, sentences, "character" if single else "token", left_out)


def tags_of_spans(
    spans: Sequence[EntitySpan], offsets: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """Return IOB2 tags of tokens from entities over characters of their text.

    A token belongs to an entity that covers any of it; of overlapping entities the earlier stays.
    """
    found = []
    for span in spans:
        inside = [
            place
            for place, (start, end) in enumerate(offsets)
            if start < span.end and span.start < end
        ]
        if inside:
            found.append(EntitySpan(span.label, inside[0], inside[-1] + 1))
    return tuple(iob2_tags(found, len(offsets)))


def joined(tokens: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Return the text of tokens, spaced as people write it, and where each stands in it.

    No blank between Chinese characters, before closing marks and after opening ones. Training reads
    its rows through this too, so that a tagger meets the text it was trained on.
    """
    parts: list[str] = []
    offsets: list[tuple[int, int]] = []
    place, quoted = 0, False
    for number, token in enumerate(tokens):
        if number and not _touch(tokens[number - 1], token, quoted):
            parts.append(" ")
            place += 1
        parts.append(token)
        offsets.append((place, place + len(token)))
        place += len(token)
        quoted ^= token == _QUOTE
    return "".join(parts), tuple(offsets)


def _touch(before: str, token: str, quoted: bool) -> bool:
    """Whether two neighbouring tokens are written without a blank between them."""
    if token.lower() in _CLOSING or before in _OPENING:
        return True
    if _QUOTE in (token, before):
        return quoted
    return bool(_TIGHT.match(before[-1]) or _TIGHT.match(token[0]))


# --- CoNLL columns -----------------------------------------------------------------------------


def _from_columns(file: Path, faults: Faults) -> Iterator[TaggedSentence]:
    tokens: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in _decoded(file, faults):
        cells = re.split(r"[ \t]+", line.strip(" \t"))
        if not line.strip():
            if tokens:
                yield _sentence(tokens, tags, first)
            tokens, tags = [], []
        elif cells[0] == "-DOCSTART-":
            continue
        elif len(cells) < 2:
            faults.add(number, f"{shown(line)} has one column; a token and its tag are needed")
        elif not _TAG.fullmatch(cells[-1]):
            faults.add(number, f"the tag is {shown(cells[-1])}; O, B-TYPE or I-TYPE is needed")
        else:
            first = first if tokens else number
            tokens.append(cells[0])
            tags.append(cells[-1])
    if tokens:
        yield _sentence(tokens, tags, first)


def _decoded(file: Path, faults: Faults) -> Iterator[tuple[int, str]]:
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                byte = error.object[error.start]
                faults.add(number, f"byte 0x{byte:02x} is not valid UTF-8; save the file as UTF-8")


def _sentence(tokens: Sequence[str], tags: Sequence[str], line: int) -> TaggedSentence:
    text, offsets = joined(tokens)
    known = [tag if tag == OUTSIDE else tag[0].translate(_SAME) + tag[1:] for tag in tags]
    return TaggedSentence(text, offsets, tuple(iob2_tags(entity_spans(known), len(tags))), line)


# --- JSON Lines --------------------------------------------------------------------------------


def _from_lines(file: Path, faults: Faults) -> Iterator[TaggedSentence]:
    for row in read_rows(file, inspect_table(file)):
        try:
            if row.error:
                raise ValueError(row.error)
            if "tokens" in row.values:
                yield _from_tokens(row)
            else:
                yield _from_entities(row)
        except ValueError as error:
            faults.add(row.line, str(error))


def _from_tokens(row: Row) -> TaggedSentence:
    tokens, tags = row.values["tokens"], row.values.get("tags", row.values.get("ner_tags"))
    if not _texts(tokens) or not _texts(tags) or not tokens or not all(tokens):
        raise ValueError("tokens and tags must be lists of texts that are not empty")
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tags)} tags for {len(tokens)} tokens; one a token is needed")
    wrong = next((tag for tag in tags if not _TAG.fullmatch(tag)), None)
    if wrong is not None:
        raise ValueError(f"the tag is {shown(wrong)}; O, B-TYPE or I-TYPE is needed")
    return _sentence(tokens, tags, row.line)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(part, str) for part in value)


def _from_entities(row: Row) -> TaggedSentence:
    text, entities = row.values.get("text"), row.values.get("entities")
    if not isinstance(text, str) or not text:
        raise ValueError(f"text is {shown(text)}; a text, or tokens and tags, are needed")
    if not isinstance(entities, list):
        raise ValueError(f"entities is {shown(entities)}; a list is needed, [] where there is none")
    spans = [_span(entity, text) for entity in entities]
    offsets = tuple((place, place + 1) for place in range(len(text)))
    return TaggedSentence(text, offsets, tuple(iob2_tags(spans, len(text))), row.line)


def _span(entity: Any, text: str) -> EntitySpan:
    if not isinstance(entity, dict):
        raise ValueError(f"{shown(entity)} is not an entity with start, end and label")
    label, start, end = (entity.get(key) for key in ("label", "start", "end"))
    if not isinstance(label, str) or not isinstance(start, int) or not isinstance(end, int):
        raise ValueError(f"{shown(entity)} is not an entity with start, end and label")
    if not 0 <= start < end <= len(text):
        raise ValueError(f"{start}:{end} is not a part of the text of {len(text)} characters")
    said = entity.get("text")
    if isinstance(said, str) and said != text[start:end]:
        raise ValueError(f"{start}:{end} is {shown(text[start:end])}, not {shown(said)}")
    return EntitySpan(label, start, end)
