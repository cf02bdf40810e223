"""The values that training reads: one frozen dataclass per kind of row, and what all share.

Every row knows its ``group`` (rows of one group never part into different splits; empty = on its
own) and its ``source`` (``file:line``, for reports). ``extra`` holds the columns a spec asked to
keep. Offsets are half-open code points.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

Kind = Literal["classify", "pairs", "tag", "read", "text", "chat"]
KINDS: tuple[Kind, ...] = ("classify", "pairs", "tag", "read", "text", "chat")
Extra: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LabelledText:
    """A text with its label; several or no labels where the set is multi-label."""

    text: str
    labels: tuple[str, ...]
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class TextPair:
    """Two texts. ``label`` is their match in [0, 1]; ``None`` marks a positive pair."""

    text_a: str
    text_b: str
    label: float | None = None
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class TaggedText:
    """Tokens with BIO tags (``O``, ``B-ORG``, ``I-ORG``), equally many.

    ``offsets[i]`` is where ``tokens[i]`` stands in ``text``.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    text: str
    offsets: tuple[tuple[int, int], ...]
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class ReadingAnswer:
    """An answer as it stands in the context, ``context[start:start + len(text)] == text``."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class ReadingExample:
    """A question on a context; ``answers`` is empty where the context does not tell."""

    id: str
    question: str
    context: str
    answers: tuple[ReadingAnswer, ...]
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text without labels, for pre-training. Line breaks are kept."""

    text: str
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message; ``role`` is ``system``, ``user`` or ``assistant``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class ChatExample:
    """A conversation to learn from; the last message is the assistant's."""

    messages: tuple[ChatMessage, ...]
    group: str = ""
    source: str = ""
    extra: Extra = ()


@dataclass(frozen=True, slots=True)
class DialogueTurn:
    """What one side said. ``role`` is ``customer`` or ``agent``; ``labels`` are its intents."""

    role: Literal["customer", "agent"]
    text: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TicketDialogue:
    """A ticket or conversation, turns in order. Readers turn it into rows of the kind asked for."""

    id: str
    turns: tuple[DialogueTurn, ...]
    source: str = ""


Row: TypeAlias = LabelledText | TextPair | TaggedText | ReadingExample | PlainText | ChatExample
ROW_TYPES: Mapping[Kind, type[Row]] = {
    "classify": LabelledText,
    "pairs": TextPair,
    "tag": TaggedText,
    "read": ReadingExample,
    "text": PlainText,
    "chat": ChatExample,
}


def row_texts(row: Row) -> tuple[str, ...]:
    """Return every text of a row, the main one first."""
    match row:
        case TextPair():
            return (row.text_a, row.text_b)
        case ReadingExample():
            return (row.question, row.context)
        case ChatExample():
            return ("\n".join(m.content for m in row.messages if m.role != "system"),)
        case _:
            return (row.text,)


def row_answer(row: Row) -> tuple[str, ...]:
    """Return what is to be learnt from a row's texts: two rows alike that differ here conflict."""
    match row:
        case LabelledText():
            return tuple(sorted(row.labels))
        case TaggedText():
            return row.tags
        case TextPair():
            return () if row.label is None else (f"{row.label:g}",)
        case ReadingExample():
            return row_labels(row)  # another span of the same context is no contradiction
        case _:
            return ()


def row_labels(row: Row) -> tuple[str, ...]:
    """Return what a row is to be balanced by: labels, entity types, match, answerable or not."""
    match row:
        case LabelledText():
            return row.labels
        case TaggedText():
            return tuple(sorted({tag[2:] for tag in row.tags if tag != "O"}))
        case TextPair():
            return () if row.label is None else (f"{row.label:g}",)
        case ReadingExample():
            return ("answer" if row.answers else "no_answer",)
        case _:
            return ()


def row_dict(row: Row) -> dict[str, Any]:
    """Return a row as plain values for JSON; ``row_from_dict`` reads it back."""
    value = _values(row)
    if not value["extra"]:
        del value["extra"]
    return value


def _values(row: Row) -> dict[str, Any]:
    """Return the fields by name. (``dataclasses.asdict`` copies every token: 50 times slower.)"""
    value = {field.name: getattr(row, field.name) for field in fields(row)}
    match row:
        case ReadingExample():
            value["answers"] = [{"text": a.text, "start": a.start} for a in row.answers]
        case ChatExample():
            value["messages"] = [{"role": m.role, "content": m.content} for m in row.messages]
    return value


def row_from_dict(kind: Kind, value: Mapping[str, Any]) -> Row:
    """Return the row ``row_dict`` wrote. Raises ``KeyError`` or ``TypeError`` if it did not."""
    found = dict(value)
    found["extra"] = tuple((str(k), str(v)) for k, v in found.get("extra", ()))
    for name, convert in _CONVERT.items():
        if name in found:
            found[name] = convert(found[name])
    return ROW_TYPES[kind](**found)


def row_hash(row: Row) -> str:
    """Return the SHA-256 of what a row teaches: everything but its source and kept columns."""
    value = _values(row)
    del value["source"], value["extra"]
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _strings(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


_CONVERT: Mapping[str, Callable[[Any], Any]] = {
    "labels": _strings,
    "tokens": _strings,
    "tags": _strings,
    "offsets": lambda spans: tuple((int(start), int(end)) for start, end in spans),
    "answers": lambda answers: tuple(ReadingAnswer(**answer) for answer in answers),
    "messages": lambda messages: tuple(ChatMessage(**message) for message in messages),
}
