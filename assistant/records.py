"""Render a record as a sentence, so that a text model can score it: in training and in service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIELDS = "; "
NAME = ": "
_HIDDEN = ("", None)


def render_record(record: Mapping[str, Any]) -> str:
    """Return ``field name: value; field name: value.`` in the record's order.

    Underscores become blanks; empty values are left out; whole numbers lose ``.0``; nested records
    are named by both fields. The same record always gives the same text.
    """
    parts = [f"{name}{NAME}{value}" for name, value in _flat(record, "")]
    return FIELDS.join(parts) + "." if parts else ""


def _flat(record: Mapping[str, Any], prefix: str) -> list[tuple[str, str]]:
    parts: list[tuple[str, str]] = []
    for key, value in record.items():
        name = f"{prefix}{str(key).replace('_', ' ').strip()}"
        if isinstance(value, Mapping):
            parts += _flat(value, f"{name} ")
        elif isinstance(value, list | tuple):
            parts.append((name, ", ".join(_plain(item) for item in value)))
        elif value not in _HIDDEN:
            parts.append((name, _plain(value)))
    return parts


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
