"""Tagged text from CoNLL columns, from tables of tokens and tags, and from texts with spans."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.evaluation.sentences import joined
from training.data.bio import detect_scheme, to_bio
from training.data.ledger import Ledger, RowProblem
from training.data.readers.cells import Table, cell, extra_of, optional_text, text_of
from training.data.readers.files import read_text
from training.data.rows import Extra, TaggedText
from training.data.spans import Span, cut_tokens, find_nearest
from training.data.spec import DataSpec

_REPAIRED = "entity tags repaired"


@dataclass(frozen=True, slots=True)
class _Sentence:
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    source: str
    group: str = ""
    extra: Extra = ()


def read_conll(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[TaggedText]:
    """Yield the sentences of a file with one token a line and columns apart by blanks or tabs.

    ``columns.token_column`` and ``columns.tag_column`` choose among any number of columns.
    ``-DOCSTART-`` begins a document; sentences of one document are one group.
    """
    yield from _to_rows(list(_sentences(path, spec, ledger)), spec, ledger)


def _sentences(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[_Sentence]:
    """Cut the file at blank lines; a sentence with a bad line is rejected as a whole."""
    block: list[tuple[int, str]] = []
    document = 0
    for number, line in enumerate(read_text(path, spec).splitlines(), 1):
        if line.startswith("-DOCSTART-"):
            document += 1
        elif line.strip():
            if not (line.startswith("# ") and not block):  # a comment before a sentence
                block.append((number, line))
            continue
        yield from _sentence(path.name, block, document, spec, ledger)
        block = []
    yield from _sentence(path.name, block, document, spec, ledger)


def _sentence(
    name: str, block: Sequence[tuple[int, str]], document: int, spec: DataSpec, ledger: Ledger
) -> Iterator[_Sentence]:
    if not block:
        return
    tokens, tags = [], []
    for number, line in block:
        cells = line.split("\t") if "\t" in line else line.split()
        try:
            tokens.append(cells[spec.columns.token_column].strip())
            tags.append(cells[spec.columns.tag_column].strip())
        except IndexError:
            detail = f"{len(cells)} columns; tokens are in column {spec.columns.token_column}, "
            detail += f"tags in {spec.columns.tag_column}"
            ledger.reject(f"{name}:{number}", "bad line of columns", detail, line)
            return
        if len(cells) == 1:
            ledger.reject(f"{name}:{number}", "bad line of columns", "a token without a tag", line)
            return
    group = f"{name}#{document}" if document else ""
    yield _Sentence(tuple(tokens), tuple(tags), f"{name}:{block[0][0]}", group)


def read_tag_table(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[TaggedText]:
    """Yield rows of a table with a column of tokens and one of tags: lists, or apart by blanks."""
    columns = spec.columns
    table = Table(path, spec, ledger, needed=(columns.tokens, columns.tags), known=(columns.group,))
    sentences = []
    for source, values in table.rows():
        try:
            tokens = _items(cell(values, columns.tokens), columns.tokens)
            tags = _items(cell(values, columns.tags), columns.tags)
            if len(tokens) != len(tags):
                detail = f"{len(tokens)} tokens, {len(tags)} tags"
                raise RowProblem("tokens and tags differ in number", detail, " ".join(tokens))
            group = optional_text(values, columns.group)
            extra = extra_of(values, spec)
            sentences.append(_Sentence(tokens, tags, source, group, extra))
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text)
    yield from _to_rows(sentences, spec, ledger)


def _items(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(text_of(item, name) for item in value)
    return tuple(text_of(value, name).split())


def _to_rows(
    sentences: Sequence[_Sentence], spec: DataSpec, ledger: Ledger
) -> Iterator[TaggedText]:
    scheme = detect_scheme(sentence.tags for sentence in sentences)
    for sentence in sentences:
        pairs = [(tk, tg) for tk, tg in zip(sentence.tokens, sentence.tags, strict=True) if tk]
        if not pairs:
            ledger.reject(sentence.source, "empty text")
            continue
        tags, repairs = to_bio([_renamed(tag, spec) for _, tag in pairs], scheme)
        ledger.mend(_REPAIRED, repairs)
        tokens = tuple(token for token, _ in pairs)
        text, offsets = joined(tokens)
        yield TaggedText(
            tokens, tuple(tags), text, offsets, sentence.group, sentence.source,
            sentence.extra,
        )  # fmt: skip


def _renamed(tag: str, spec: DataSpec) -> str:
    """Apply ``label_map`` to the type in a tag; a type mapped to ``O`` is no entity."""
    match = re.match(r"^([BIESLUM][-_])(.+)$", tag)
    prefix, label = match.groups() if match else ("", tag)
    name = spec.label_map.get(label, label)
    return "O" if name == "O" else f"{prefix}{name}"


def read_entities(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[TaggedText]:
    """Yield rows of a table of texts with entity spans ``{start, end, label, text?}``."""
    columns = spec.columns
    if len(columns.text) != 1:
        raise InvalidInputError("columns.text must name one column, into which the spans point.")
    name = columns.text[0]
    table = Table(path, spec, ledger, needed=(name, columns.entities), known=(columns.group,))
    for source, values in table.rows():
        try:
            text = text_of(cell(values, name), name)
            spans = _spans(cell(values, columns.entities), text, spec, ledger)
            group = optional_text(values, columns.group)
            yield _tagged(text, spans, group, source, extra_of(values, spec))
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text)


def _tagged(
    text: str, spans: Sequence[tuple[int, int, str]], group: str, source: str, extra: Extra
) -> TaggedText:
    offsets = cut_tokens(text, [border for start, end, _ in spans for border in (start, end)])
    if not offsets:
        raise RowProblem("empty text", text=text)
    tags = [_tag(span, spans) for span in offsets]
    tokens = tuple(text[start:end] for start, end in offsets)
    return TaggedText(tokens, tuple(tags), text, tuple(offsets), group, source, extra)


def _tag(token: Span, spans: Sequence[tuple[int, int, str]]) -> str:
    for start, end, label in spans:
        if start <= token[0] and token[1] <= end:
            return f"{'B' if token[0] == start else 'I'}-{label}"
    return "O"


def _spans(entities: Any, text: str, spec: DataSpec, ledger: Ledger) -> list[tuple[int, int, str]]:
    """Return spans that do not overlap (longer ones first served), at most one mended each."""
    if not isinstance(entities, list):
        raise RowProblem("bad entities", "must be a list of {start, end, label}", text)
    found = [_span(entity, text, spec, ledger) for entity in entities]
    spans: list[tuple[int, int, str]] = []
    for start, end, label in sorted(found, key=lambda span: (span[0] - span[1], span[0])):
        if any(start < other_end and other_start < end for other_start, other_end, _ in spans):
            ledger.mend("overlapping entities left out")
        elif label != "O":
            spans.append((start, end, label))
    return sorted(spans)


def _span(entity: Any, text: str, spec: DataSpec, ledger: Ledger) -> tuple[int, int, str]:
    try:
        start, end, label = int(entity["start"]), int(entity["end"]), str(entity["label"])
    except (TypeError, KeyError, ValueError):
        raise RowProblem("bad entities", f"{entity!r} lacks start, end or label", text) from None
    said = entity.get("text")
    if not 0 <= start < end <= len(text) or (said and text[start:end] != said):
        place = find_nearest(text, said, start) if isinstance(said, str) else None
        if place is None:
            detail = f"{said!r} at {start} to {end} does not stand in the text"
            raise RowProblem("entity not in text", detail, text)
        ledger.mend("entity places mended")
        start, end = place, place + len(str(said))
    while text[start].isspace():
        start += 1  # a token never begins with a blank, so neither may an entity
    return start, end, spec.label_map.get(label, label)
