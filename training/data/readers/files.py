"""Read whole files that are not tables: text in any usual encoding, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError, TooLargeError
from indexes.errors import LoadError
from indexes.loaders.encoding import decode
from training.data.spec import DataSpec

MAX_FILE_BYTES = 1 << 30


def read_text(path: Path, spec: DataSpec) -> str:
    """Return a file's text, decoded as ``spec.encoding`` or as what it is found to be."""
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise TooLargeError(
            f"{path.name}: {size:,} bytes; the limit is {MAX_FILE_BYTES:,}. Split the file."
        )
    data = path.read_bytes()
    try:
        return data.decode(spec.encoding) if spec.encoding else decode(data)
    except (LoadError, UnicodeDecodeError, LookupError) as error:
        raise InvalidInputError(
            f"{path.name}: {error}. State data.encoding, for example utf-8 or gb18030."
        ) from None


def read_json(path: Path, spec: DataSpec) -> Any:
    """Return a JSON file's value. Raises ``InvalidInputError`` where it is broken."""
    try:
        return json.loads(read_text(path, spec))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path.name}: not valid JSON: {error}") from None
