"""The model card: a version's passport as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from assistant.models.passport import Figure, Passport

CARD_FILE = "card.md"
GROUP = "test_"
"""How the name of a split begins that is a part of the test rows: a set, a language, a length."""
_PURPOSES = {
    "encoder": "Turns questions and passages into vectors, to find the passages that answer.",
    "reranker": "Says how probably two texts belong together, as question and passage do.",
    "reader": "Marks the words of a passage that answer a question, or says that none do.",
    "intent": "Names what a customer wants, or that it is out of scope.",
    "sentiment": "Names the sentiment of a text.",
    "topic": "Names the topic or topics of a text.",
    "risk": "Gives the probability of each risk class of a record written as text.",
    "classifier": "Gives a text one of a fixed set of labels.",
    "tagger": "Marks names, amounts and dates in a text.",
    "generator": "Writes an answer from the evidence it is given.",
    "multitask": "Answers several tasks from one pass over the text.",
    "base": "A base to tune further models from; not served itself.",
}


def card(passport: Passport) -> str:
    """Return the card as Markdown."""
    parts = [
        [f"# {passport.name} ({passport.task})", "", _purpose(passport)],
        _origin(passport),
        _data(passport),
        _figures(passport),
        _failures(passport),
        _gate(passport),
        _export(passport),
        _cost(passport),
        _again(passport),
        _notes(passport),
    ]
    return "\n".join("\n".join(part) + "\n" for part in parts if part)


def interval(figure: Figure) -> str:
    """Return a figure as ``0.8731 [0.8612, 0.8840]``."""
    return f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"


def size_text(size_bytes: float) -> str:
    """Return a size in MB, or kB below one: decimal units."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"


def _purpose(passport: Passport) -> str:
    return _line(passport.description or _PURPOSES.get(passport.task, passport.task))


def _origin(passport: Passport) -> list[str]:
    tuning = passport.recipe.get("tuning")
    method = tuning.get("method") if isinstance(tuning, Mapping) else None
    rows = [f"- Tuned from `{_line(passport.parent)}`" + (f" ({method})." if method else ".")]
    if passport.created:
        rows.append(f"- Made {passport.created}, seed {passport.seed}.")
    return ["## Origin", "", *rows]


def _data(passport: Passport) -> list[str]:
    note = passport.data
    rows = [f"- {split}: {count:,} rows" for split, count in note.rows.items()]
    licences = ", ".join(map(_line, note.licences)) or "not stated"
    return ["## Data", "", *rows, f"- Licences: {licences}", f"- SHA-256: `{note.sha256}`"]


def _figures(passport: Passport) -> list[str]:
    own = passport.gate.metric.rpartition(".")[2]
    rows = [
        (split, name, interval(figure), f"{figure.n:,}")
        for split, figures in passport.metrics.items()
        for name, figure in figures.items()
        # Of a group of the rows, what the model is judged by will do.
        if not split.startswith(GROUP) or name == own
    ]
    if not rows:
        return ["## Figures", "", "None were measured."]
    head = ["## Figures", "", "Measured through the served model; 95 % intervals.", ""]
    return [*head, *_table(("split", "metric", "value", "rows"), rows)]


def _failures(passport: Passport) -> list[str]:
    if not passport.failures:
        return []
    width = 4 if any(f.example for f in passport.failures) else 3
    columns = ("right", "said", "times", "for example")[:width]
    rows = [
        (f.right, f.said, f"{f.count:,} of {f.of:,}", f.example)[:width] for f in passport.failures
    ]
    head = ["## Where it fails", "", "Its most frequent mistakes on the rows it is judged by.", ""]
    return [*head, *_table(columns, rows)]


def _gate(passport: Passport) -> list[str]:
    return ["## Gate", "", f"{_line(passport.gate.verdict())}."]


def _export(passport: Passport) -> list[str]:
    rows: list[Sequence[object]] = [
        (f"parity: {name}", f"{value:.6g}") for name, value in passport.parity.items()
    ]
    for device, timings in passport.latency_ms.items():
        rows += [(f"{device}: {what}", f"{value:.3g} ms") for what, value in timings.items()]
    rows += [(f"{device}: memory", f"{mb:,.0f} MB") for device, mb in passport.memory_mb.items()]
    if passport.size_bytes:
        rows.append(("model file (int8)", size_text(passport.size_bytes)))
    return ["## Served model", "", *_table(("what", "value"), rows)] if rows else []


def _cost(passport: Passport) -> list[str]:
    rows = []
    if passport.trainable_parameters:
        rows.append(f"- {passport.trainable_parameters:,} trainable parameters")
    if passport.train_seconds:
        rows.append(f"- {passport.train_seconds:,.0f} s of training")
    rows += [f"- {_line(name)} {_line(version)}" for name, version in passport.libraries.items()]
    return ["## Training", "", *rows] if rows else []


def _again(passport: Passport) -> list[str]:
    lines = ["## Training it again", ""]
    lines.append("Save the recipe below as `recipe.toml` and run `assistant train recipe.toml`.")
    return [*lines, "", "```toml", *_toml(passport.recipe), "```"]


def _notes(passport: Passport) -> list[str]:
    return ["## Notes", "", *(f"- {_line(note)}" for note in passport.notes)] * bool(passport.notes)


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(_line(str(cell)).replace("|", "\\|") for cell in row) + " |"
        for row in rows
    ]
    return lines


def _line(text: str) -> str:
    return " ".join(text.split())


def _toml(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Write nested mappings as TOML (https://toml.io); what is None has no TOML and is left out."""
    plain = {k: v for k, v in recipe.items() if v is not None and not isinstance(v, Mapping)}
    if prefix and (plain or not recipe):
        yield f"[{prefix}]"
    for key, value in plain.items():
        yield f"{_toml_key(key)} = {_toml_value(value)}"
    for key, value in recipe.items():
        if isinstance(value, Mapping):
            yield from _toml(value, f"{prefix}.{_toml_key(key)}" if prefix else _toml_key(key))


def _toml_key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "")
    return key if plain.isascii() and plain.isalnum() else _toml_string(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        inner = (f"{_toml_key(k)} = {_toml_value(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return _toml_string(str(value))


def _toml_string(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    made = (
        escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text
    )
    return '"' + "".join(made) + '"'
