"""Tables for training: columns found by name, cells turned into texts, labels and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.tables import (
    column_key,
    inspect_table,
    missing_column_message,
    read_rows,
    require_column,
)
from training.data.ledger import Ledger, RowProblem
from training.data.rows import Extra
from training.data.spec import DataSpec

Values = Mapping[str, Any]

DEFAULT_LABEL = "label"
_LIKELY_ENCODING = re.compile(r"is not valid|lone surrogate")
_TRUE = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


class Table:
    """One table file. ``needed`` columns must be in every row, ``known`` in at least one.

    A missing column raises ``InvalidInputError`` with the columns there are and the nearest: at
    once for csv, after the last row for jsonl, whose rows may differ. ``known`` may hold ``None``
    for parts the spec gives no column. ``optional`` columns may be missing everywhere.
    """

    def __init__(
        self,
        path: Path,
        spec: DataSpec,
        ledger: Ledger,
        *,
        needed: Sequence[str],
        known: Sequence[str | None] = (),
        optional: Sequence[str] = (),
    ) -> None:
        self.name = path.name
        self._path = path
        self._spec = spec
        self._ledger = ledger
        self._needed = tuple(needed)
        self._known = tuple(name for name in (*known, *spec.columns.keep) if name)
        self._optional = tuple(column_key(name) for name in optional)
        first = next(iter((*self._needed, *self._known)), "")
        self._format = inspect_table(path, encoding=spec.encoding, field_name=first)
        if self._format.kind == "csv":
            for name in (*self._needed, *self._known):
                self._require(name)

    def _require(self, name: str) -> None:
        try:
            require_column(self._format, name)
        except InvalidInputError as error:
            raise InvalidInputError(f"{self.name}: {error} {_REMEDY}") from None

    def rows(self) -> Iterator[tuple[str, Values]]:
        """Yield ``file:line`` and the values by folded column name; bad rows go to the ledger."""
        wanted = {column_key(name): name for name in (*self._needed, *self._known)}
        needed = [column_key(name) for name in self._needed]
        seen: dict[str, None] = {}
        for row in read_rows(self._path, self._format):
            source = f"{self.name}:{row.line}"
            seen.update(dict.fromkeys(row.values))
            if row.error:
                self._ledger.reject(source, _reason(row.error), row.error, _preview(row.values))
                continue
            absent = next((key for key in needed if key not in row.values), None)
            if absent is not None:
                detail = f"no value for column {wanted[absent]!r}"
                self._ledger.reject(source, "missing column", detail, _preview(row.values))
                continue
            yield source, row.values
        if seen:
            self._check_seen(wanted, seen)
        used = {*wanted, *self._optional}
        self._ledger.unused_columns[self.name] = tuple(key for key in seen if key not in used)

    def _check_seen(self, wanted: Mapping[str, str], seen: Mapping[str, None]) -> None:
        for key, name in wanted.items():
            if key not in seen:
                message = missing_column_message(name, tuple(seen))
                raise InvalidInputError(f"{self.name}: {message} {_REMEDY}")


_REMEDY = "Name the right one under [data.columns]."


def cell(values: Values, name: str) -> Any:
    """Return the value of a column, or None."""
    return values.get(column_key(name))


def text_of(value: Any, name: str) -> str:
    """Return a cell as text. Raises ``RowProblem`` for lists and objects."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise RowProblem("not a text", f"column {name!r} holds a {type(value).__name__}", str(value))


def optional_text(values: Values, name: str | None) -> str:
    """Return a column as text; empty where the spec names none."""
    return text_of(cell(values, name), name) if name else ""


def texts_of(value: Any, name: str, separator: str | None) -> list[str]:
    """Return a cell that may hold several texts: a list, or cut at the separator."""
    if isinstance(value, list):
        return [text_of(item, name) for item in value]
    text = text_of(value, name)
    if separator is None:
        return [text]
    return [part for part in (p.strip() for p in text.split(separator)) if part]


def labels_of(values: Values, spec: DataSpec) -> tuple[str, ...]:
    """Return the labels of a row, renamed by ``label_map``.

    Raises ``RowProblem``: no label or several where the set is not multi-label, or a label that is
    not in the closed set ``spec.labels``.
    """
    name = spec.columns.label or DEFAULT_LABEL
    separator = spec.separator if spec.multi_label else None
    return rename_labels(texts_of(cell(values, name), name, separator), spec)


def rename_labels(found: Sequence[str], spec: DataSpec) -> tuple[str, ...]:
    """Strip, rename and check labels; see ``labels_of``."""
    stripped = [label.strip() for label in found]
    names = [renamed(label, spec) for label in stripped if label]
    labels = tuple(dict.fromkeys(name for name in names if name))
    if names and not labels:
        raise RowProblem("left out by data.label_map", f"labels {stripped}")
    for label in labels:
        if spec.labels and label not in spec.labels:
            raise RowProblem("label not allowed", f"{label!r} is not in data.labels")
    if not spec.multi_label:
        if not labels:
            raise RowProblem("no label")
        if len(labels) > 1:
            raise RowProblem(
                "several labels", f"{list(labels)}; set data.multi_label = true to allow them"
            )
    return labels


def renamed(label: str, spec: DataSpec) -> str:
    """Return what ``label_map`` makes of a label, by its name or by ``"*"``; "" leaves it out."""
    return spec.label_map.get(label, spec.label_map.get("*", label))


def match_of(values: Values, spec: DataSpec) -> float | None:
    """Return the label of a pair in [0, 1]; None where there is no column of labels.

    Without a word in the spec, a column named ``label`` is one: taking it for positive pairs would
    teach that what does not match does.
    """
    name = spec.columns.label
    if name == "" or (name is None and column_key(DEFAULT_LABEL) not in values):
        return None
    name = name or DEFAULT_LABEL
    raw = text_of(cell(values, name), name).strip()
    raw = renamed(raw, spec)
    if not raw:
        raise RowProblem("no label")
    try:
        value = _TRUE.get(raw.lower())
        value = float(raw) if value is None else value
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise RowProblem(
            "not a match value", f"{raw!r} is not a number from 0 to 1; data.label_map can name it"
        )
    return value


def extra_of(values: Values, spec: DataSpec) -> Extra:
    """Return the columns the spec keeps, as texts."""
    return tuple((name, text_of(cell(values, name), name)) for name in spec.columns.keep)


def _reason(error: str) -> str:
    if _LIKELY_ENCODING.search(error):
        return "bytes of another encoding"
    return "broken JSON" if error.startswith("broken JSON") else "bad table row"


def _preview(values: Values) -> str:
    return " | ".join(str(value)[:200] for value in values.values())
