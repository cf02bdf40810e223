"""Tickets and conversations, and the rows that can be made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

from training.data.fingerprint import folded
from training.data.ledger import Ledger, RowProblem
from training.data.readers.cells import (
    Table,
    Values,
    cell,
    optional_text,
    rename_labels,
    text_of,
    texts_of,
)
from training.data.readers.tabular import with_system
from training.data.rows import (
    ChatExample,
    ChatMessage,
    DialogueTurn,
    Kind,
    LabelledText,
    PlainText,
    Row,
    TextPair,
    TicketDialogue,
)
from training.data.spec import DataSpec

CUSTOMER = frozenset({"customer", "user", "usr", "client", "caller", "human", "客户", "用户"})
AGENT = frozenset(
    {"agent", "assistant", "system", "sys", "bot", "staff", "operator", "客服", "坐席"}
)
ROLE_KEYS = ("role", "speaker", "from", "author")
TEXT_KEYS = ("text", "utterance", "content", "message")
LABEL_KEYS = ("intents", "intent", "labels", "label")
ID_KEYS = ("id", "session", "dialogue_id", "conversation", "conversation_id", "ticket")


def read_dialogues(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[TicketDialogue]:
    """Yield the dialogues of a table: one a row with a list of turns, or one turn a row.

    A row of a turn needs ``columns.group`` (its ticket), a role and a text. Names of roles and of
    the parts of a turn are known in their usual forms; ``columns.role`` and ``utterance`` name
    others. Neighbouring turns of one side become one.
    """
    columns = spec.columns
    if columns.group and columns.utterance:
        yield from _from_turns(path, spec, ledger)
        return
    known, optional = (columns.group, columns.id), ID_KEYS
    table = Table(path, spec, ledger, needed=(columns.turns,), known=known, optional=optional)
    for source, values in table.rows():
        try:
            raw = cell(values, columns.turns)
            if not isinstance(raw, list) or not raw:
                raise RowProblem("no turns", f"column {columns.turns!r} must hold a list")
            turns = [_turn(item, spec) for item in raw]
            name = _identity(values, spec) or source
            yield TicketDialogue(name, _merged(turns), source)
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text or str(values))


def _from_turns(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[TicketDialogue]:
    group, utterance = spec.columns.group or "", spec.columns.utterance or ""
    role = spec.columns.role or "role"
    table = Table(path, spec, ledger, needed=(group, utterance, role), known=(spec.columns.label,))
    tickets: dict[str, list[DialogueTurn]] = {}
    first: dict[str, str] = {}
    for source, values in table.rows():
        try:
            turn = _turn(values, spec)
            ticket = text_of(cell(values, group), group)
            tickets.setdefault(ticket, []).append(turn)
            first.setdefault(ticket, source)
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text or str(values))
    for ticket, turns in tickets.items():
        yield TicketDialogue(ticket, _merged(turns), first[ticket])


def _turn(item: Any, spec: DataSpec) -> DialogueTurn:
    if not isinstance(item, dict):
        raise RowProblem("bad turn", f"{item!r} is no object with role and text")
    columns = spec.columns
    said = _first(item, (columns.role,) if columns.role else ROLE_KEYS)
    text = text_of(_first(item, (columns.utterance,) if columns.utterance else TEXT_KEYS), "text")
    labels = _first(item, (columns.label,) if columns.label else LABEL_KEYS)
    names = texts_of(labels, "label", spec.separator) if labels else []
    return DialogueTurn(_role(said), text, tuple(name for name in names if name.strip()))


def _role(said: Any) -> Literal["customer", "agent"]:
    name = str(said or "").strip().lower()
    if name in CUSTOMER:
        return "customer"
    if name in AGENT:
        return "agent"
    raise RowProblem("unknown role", f"{said!r}; known are {', '.join(sorted(CUSTOMER | AGENT))}")


def _first(item: Values, keys: Sequence[str]) -> Any:
    return next((item[key] for key in keys if key in item), None)


def _identity(values: Values, spec: DataSpec) -> str:
    name = spec.columns.group or spec.columns.id
    if name:
        return optional_text(values, name)
    return next((str(values[key]) for key in ID_KEYS if values.get(key)), "")


def _merged(turns: Sequence[DialogueTurn]) -> tuple[DialogueTurn, ...]:
    merged = []
    for role, run in groupby((t for t in turns if t.text.strip()), key=lambda turn: turn.role):
        parts = list(run)
        labels = dict.fromkeys(label for part in parts for label in part.labels)
        merged.append(DialogueTurn(role, "\n".join(p.text for p in parts), tuple(labels)))
    return tuple(merged)


def dialogue_rows(
    dialogues: Iterator[TicketDialogue], kind: Kind, spec: DataSpec, ledger: Ledger
) -> Iterator[Row]:
    """Turn dialogues into rows of a kind.

    ``pairs``: customer turn and answer. ``classify``: customer turns with their intents. ``chat``:
    each conversation up to its last answer. ``text``: each conversation as lines.
    """
    if kind == "pairs":
        return _pairs(dialogues, spec, ledger)
    if kind == "classify":
        return _intents(dialogues, spec, ledger)
    if kind == "chat":
        return _chats(dialogues, spec, ledger)
    return (PlainText("\n".join(t.text for t in d.turns), d.id, d.source) for d in dialogues)


def _pairs(dialogues: Iterator[TicketDialogue], spec: DataSpec, ledger: Ledger) -> Iterator[Row]:
    """Leave out turns too short to mean anything and answers that are set phrases."""
    rules = spec.pairing
    pairs = [
        TextPair(question.text, answer.text, None, dialogue.id, dialogue.source)
        for dialogue in dialogues
        for question, answer in pairwise(dialogue.turns)
        if question.role == "customer"
    ]
    counts = Counter(folded(pair.text_b) for pair in pairs)
    for pair in pairs:
        if min(len(pair.text_a), len(pair.text_b)) < rules.min_chars:
            reason = "turn too short to pair"
            ledger.reject(
                pair.source, reason, f"pairing.min_chars is {rules.min_chars}", pair.text_a
            )
        elif counts[folded(pair.text_b)] > rules.max_repeats:
            detail = f"more than pairing.max_repeats = {rules.max_repeats} times"
            ledger.reject(pair.source, "set phrase as answer", detail, pair.text_b)
        else:
            yield pair


def _intents(dialogues: Iterator[TicketDialogue], spec: DataSpec, ledger: Ledger) -> Iterator[Row]:
    for dialogue in dialogues:
        for turn in dialogue.turns:
            if turn.role != "customer":
                continue
            try:
                labels = rename_labels(turn.labels, spec)
                yield LabelledText(turn.text, labels, dialogue.id, dialogue.source)
            except RowProblem as problem:
                ledger.reject(dialogue.source, problem.reason, problem.detail, turn.text)


def _chats(dialogues: Iterator[TicketDialogue], spec: DataSpec, ledger: Ledger) -> Iterator[Row]:
    for dialogue in dialogues:
        turns = list(dialogue.turns)
        while turns and turns[0].role == "agent":
            turns.pop(0)
        while turns and turns[-1].role == "customer":
            turns.pop()
        if not turns:
            ledger.reject(dialogue.source, "no answer to learn", "", str(dialogue.turns))
            continue
        messages = [
            ChatMessage("user" if t.role == "customer" else "assistant", t.text) for t in turns
        ]
        yield ChatExample(with_system(messages, spec), dialogue.id, dialogue.source)
