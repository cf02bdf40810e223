"""How much one file may ask of the machine that loads it."""

from __future__ import annotations

from dataclasses import dataclass

from indexes.errors import LoadError

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadLimits:
    """Bounds on one file. A file beyond any of them is refused with the value and the limit."""

    max_bytes: int = 100 * _MIB
    """Size of the file itself."""
    max_expanded_bytes: int = 400 * _MIB
    """Size of the contents of a docx, pptx or xlsx once unpacked."""
    max_expansion: int = 200
    """Unpacked size of one part of a zip over its packed size; parts under 1 MiB are let pass."""
    max_xml_bytes: int = 64 * _MIB
    """Size of one unpacked XML part: parsers take ten times that in memory."""
    max_parts: int = 20_000
    """Files inside a docx, pptx or xlsx."""
    max_pages: int = 3_000
    max_rows: int = 200_000
    """Rows of one table, spreadsheet or record file."""
    max_text: int = 20_000_000
    """Code points of text taken from the file."""
    max_markup: int = 32_000_000
    """Code points of an HTML page, tags included; a sixth of it for Markdown."""
    max_depth: int = 200
    """Nesting of HTML elements or JSON values."""


def check(what: str, value: int, limit: int, remedy: str) -> None:
    """Raise ``LoadError`` when ``value`` is over ``limit``; ``what`` begins the sentence."""
    if value > limit:
        raise LoadError(f"{what}: {value:,}, over the limit of {limit:,}; {remedy}")
