"""Rows from csv, tsv and jsonl tables, by the columns that the spec names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.records import render_record
from assistant.tables import column_key
from training.data.ledger import Ledger, RowProblem
from training.data.readers.cells import (
    DEFAULT_LABEL,
    Table,
    Values,
    cell,
    extra_of,
    labels_of,
    match_of,
    optional_text,
    text_of,
    texts_of,
)
from training.data.rows import (
    ChatExample,
    ChatMessage,
    Kind,
    LabelledText,
    PlainText,
    Row,
    TextPair,
)
from training.data.spec import DataSpec

ROLES = {"human": "user", "customer": "user", "gpt": "assistant", "agent": "assistant"}


def read_table(path: Path, kind: Kind, spec: DataSpec, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of one table. Raises ``InvalidInputError`` for a missing column."""
    build, needed, known = _PLANS[kind](spec)
    optional = (DEFAULT_LABEL,) if kind == "pairs" and spec.columns.label is None else ()
    known = (*known, spec.columns.group)
    table = Table(path, spec, ledger, needed=needed, known=known, optional=optional)
    for source, values in table.rows():
        try:
            yield from build(source, values, spec)
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text or str(dict(values)))


Build = Callable[[str, Values, DataSpec], Iterator[Row]]
Plan = tuple[Build, tuple[str, ...], tuple[str | None, ...]]


def _classify(spec: DataSpec) -> Plan:
    label = spec.columns.label or DEFAULT_LABEL
    if spec.multi_label:  # a row without the column has none of the labels
        return _labelled, _text_columns(spec), (label,)
    return _labelled, (*_text_columns(spec), label), ()


def _pairs(spec: DataSpec) -> Plan:
    columns = spec.columns
    return _paired, (columns.text_a, columns.text_b), (columns.label,)


def _plain(spec: DataSpec) -> Plan:
    return _text_only, _text_columns(spec), ()


def _chat(spec: DataSpec) -> Plan:
    columns = spec.columns
    if columns.prompt and columns.response:
        return _prompted, (columns.prompt, columns.response), ()
    if columns.prompt or columns.response:
        raise InvalidInputError("columns.prompt and columns.response go together; name both.")
    return _messages, (columns.messages,), ()


_PLANS: Mapping[Kind, Callable[[DataSpec], Plan]] = {
    "classify": _classify,
    "pairs": _pairs,
    "text": _plain,
    "chat": _chat,
}


def _text_columns(spec: DataSpec) -> tuple[str, ...]:
    record = tuple(name for name in spec.columns.record if name != "*")
    if spec.columns.record:
        return record
    return spec.columns.text


def _labelled(source: str, values: Values, spec: DataSpec) -> Iterator[Row]:
    yield LabelledText(
        _main_text(values, spec),
        labels_of(values, spec),
        optional_text(values, spec.columns.group),
        source,
        extra_of(values, spec),
    )


def _text_only(source: str, values: Values, spec: DataSpec) -> Iterator[Row]:
    group = optional_text(values, spec.columns.group)
    yield PlainText(_main_text(values, spec), group, source, extra_of(values, spec))


def _paired(source: str, values: Values, spec: DataSpec) -> Iterator[Row]:
    columns = spec.columns
    left = text_of(cell(values, columns.text_a), columns.text_a)
    rights = texts_of(cell(values, columns.text_b), columns.text_b, spec.separator)
    if not rights:
        raise RowProblem("empty text", f"column {columns.text_b!r}", left)
    group = optional_text(values, columns.group)
    for right in rights:
        yield TextPair(left, right, match_of(values, spec), group, source, extra_of(values, spec))


def _prompted(source: str, values: Values, spec: DataSpec) -> Iterator[Row]:
    messages = [
        ChatMessage("user", optional_text(values, spec.columns.prompt)),
        ChatMessage("assistant", optional_text(values, spec.columns.response)),
    ]
    group = optional_text(values, spec.columns.group)
    yield ChatExample(with_system(messages, spec), group, source, extra_of(values, spec))


def _messages(source: str, values: Values, spec: DataSpec) -> Iterator[Row]:
    raw = cell(values, spec.columns.messages)
    if not isinstance(raw, list) or not raw:
        raise RowProblem("no messages", f"column {spec.columns.messages!r} must hold a list")
    messages = [_message(item) for item in raw]
    if messages[-1].role != "assistant":
        raise RowProblem("no answer to learn", "the last message is not the assistant's")
    group = optional_text(values, spec.columns.group)
    yield ChatExample(with_system(messages, spec), group, source, extra_of(values, spec))


def _message(item: Any) -> ChatMessage:
    if not isinstance(item, dict):
        raise RowProblem("bad message", "each message must be an object with role and content")
    role = str(item.get("role", item.get("from", ""))).lower()
    role = ROLES.get(role, role)
    if role not in ("system", "user", "assistant"):
        raise RowProblem("bad message", f"role {role!r} is not system, user or assistant")
    return ChatMessage(role, text_of(item.get("content", item.get("value")), "content"))


def with_system(messages: list[ChatMessage], spec: DataSpec) -> tuple[ChatMessage, ...]:
    """Put the spec's system prompt first, unless the conversation has one."""
    if spec.system_prompt and messages[0].role != "system":
        return (ChatMessage("system", spec.system_prompt), *messages)
    return tuple(messages)


def _main_text(values: Values, spec: DataSpec) -> str:
    if spec.columns.record:
        return _record_text(values, spec)
    parts = [text_of(cell(values, name), name) for name in spec.columns.text]
    return "\n".join(part for part in parts if part.strip())


def _record_text(values: Values, spec: DataSpec) -> str:
    columns = spec.columns
    if columns.record == ("*",):
        taken = {
            column_key(n) for n in (columns.label or DEFAULT_LABEL, columns.group, columns.id) if n
        }
        taken.update(column_key(name) for name in columns.keep)
        return render_record({key: v for key, v in values.items() if key not in taken})
    if len(columns.record) == 1 and isinstance(cell(values, columns.record[0]), dict):
        return render_record(cell(values, columns.record[0]))
    return render_record({name: cell(values, name) for name in columns.record})
