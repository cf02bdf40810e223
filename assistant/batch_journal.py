"""The journal of a batch: what is safely on disk, so that a killed run can be taken up."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from assistant.errors import InvalidInputError


@dataclass(slots=True)
class Journal:
    """What is safely in ``OUT.partial``. ``identity`` must be equal for a run to be taken up."""

    identity: dict[str, Any]
    rows: int = 0
    bytes: int = 0
    failed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)


_CHANGED = {
    "format": "it was written by another version of this program",
    "input": "the input file has changed",
    "collection": "it is from another collection",
    "knowledge": "the collection or the models have changed since",
    "options": "it was made with other options",
}


def take_up(path: Path, partial: Path, identity: dict[str, Any], restart: bool) -> Journal:
    """Return the journal to go on with: the one found when it fits, else a new one."""
    fresh = Journal(identity)
    if not path.exists() or not partial.exists():
        return fresh
    found = _read_journal(path)
    if restart or found is None:
        return fresh
    changed = [why for key, why in _CHANGED.items() if found.identity.get(key) != identity[key]]
    if changed:
        raise InvalidInputError(
            f"{partial.name} holds {found.rows:,} answered rows of an unfinished run, but "
            f"{' and '.join(changed)}. Use --restart to drop them and start anew."
        )
    return found if partial.stat().st_size >= found.bytes else fresh


def _read_journal(path: Path) -> Journal | None:
    try:
        return Journal(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return None


def write_journal(path: Path, journal: Journal) -> None:
    """Replace the journal on disk at once: a reader finds the old one or the new one, whole."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(asdict(journal), stream)
        sync(stream)
    os.replace(temporary, path)


def sync(stream: IO[Any]) -> None:
    """Return when what was written to ``stream`` is on the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Make a rename durable. Not every system can open a folder; those order renames themselves."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
