"""Names and texts made fit to store."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

from assistant.errors import InvalidInputError
from assistant.types import Scope

MAX_NAME = 64
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Replace what a database cannot hold (NUL, lone surrogates) by U+FFFD.

    One code point for one, so that offsets into the text stay right.
    """
    return _UNSTORABLE.sub("�", text)


def valid_name(name: str, what: str) -> str:
    """Return a collection's or tenant's name in NFC, or raise InvalidInputError.

    Letters and digits of any script, hyphen, underscore, dot, and spaces inside; 1 to 64 code
    points; no leading dot. Names never become file names: this is for people and URLs.
    """
    name = unicodedata.normalize("NFC", name)
    fits = 1 <= len(name) <= MAX_NAME and not name.startswith(".") and name == name.strip()
    if fits and all(_allowed(character) for character in name):
        return name
    raise InvalidInputError(
        f"{what} {name[:80]!r} is not a valid name. Use 1 to {MAX_NAME} letters, digits, hyphens, "
        "underscores, dots and spaces inside; no slash, and no dot at the start."
    )


def _allowed(character: str) -> bool:
    # Marks belong to letters in many scripts (Devanagari vowels, for one).
    return character in "-_. " or unicodedata.category(character)[0] in "LMN"


def valid_scope(scope: Scope) -> Scope:
    """Return the scope with its tenant and collection checked."""
    return Scope(
        tenant=valid_name(scope.tenant, "The tenant"),
        collection=valid_name(scope.collection, "The collection"),
        tags=scope.tags,
    )


def now() -> str:
    """The time, ISO 8601, UTC, to the millisecond: sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
