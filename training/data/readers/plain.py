"""Plain text for pre-training: lines, or documents of any kind the product can load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assistant.errors import InvalidInputError
from indexes.errors import LoadError
from indexes.loaders import load
from training.data.readers.files import read_text
from training.data.rows import PlainText
from training.data.spec import DataSpec

BLOCK_CHARS = 1000
"""Paragraphs of a document are joined to blocks of about this length."""


def read_lines(path: Path, spec: DataSpec) -> Iterator[PlainText]:
    """Yield each line that is not blank."""
    for number, line in enumerate(read_text(path, spec).splitlines(), 1):
        if line.strip():
            yield PlainText(line, "", f"{path.name}:{number}")


def read_document(path: Path) -> Iterator[PlainText]:
    """Yield blocks of whole paragraphs from one document. Raises ``InvalidInputError``."""
    try:
        document = load(path, source=path.name)
    except LoadError as error:
        raise InvalidInputError(f"{path.name}: {error}") from None
    block: list[str] = []
    number = 0
    for paragraph in [*document.text.split("\n\n"), None]:
        if block and (paragraph is None or sum(map(len, block)) + len(paragraph) > BLOCK_CHARS):
            number += 1
            yield PlainText("\n\n".join(block), "", f"{path.name}#{number}")
            block = []
        if paragraph and paragraph.strip():
            block.append(paragraph)
