"""Prepared rows on disk: written whole or not at all, read back only when nothing has changed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from assistant.errors import StorageError
from assistant.tables import json_line
from training.data.card_text import card_markdown
from training.data.readers import Source
from training.data.report import DataCard, DataReport
from training.data.rows import Kind, Row, row_dict, row_from_dict
from training.data.spec import DataSpec

PIPELINE_VERSION = "3"
"""Part of the cache key; raise it whenever the same files and spec would give other rows."""

SPLITS = ("train", "valid", "test")
REJECTED = "rejected.jsonl"
SUSPECTS = "suspects.jsonl"
MANIFEST = "manifest.json"
FILES = (*(f"{name}.jsonl" for name in SPLITS), "card.json", "report.json")
"""What the manifest vouches for."""

_CARD, _REPORT = TypeAdapter(DataCard), TypeAdapter(DataReport)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Clean, split rows with their card. ``folder`` holds them and ``rejected.jsonl``.

    ``cached`` tells that they were read back, not made. ``suspects.jsonl`` lies in the folder when
    label errors were asked for.
    """

    kind: Kind
    train: tuple[Row, ...]
    valid: tuple[Row, ...]
    test: tuple[Row, ...]
    card: DataCard
    report: DataReport
    folder: Path
    cached: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label of the training rows, in alphabetical order."""
        return tuple(sorted(self.card.splits["train"].labels))


def cache_key(spec: DataSpec, kind: Kind, sources: Mapping[str, Sequence[Source]]) -> str:
    """Return a hash of all that decides the rows: files, spec, kind and this code's version."""
    files = {
        name: [(s.name, s.sha256, s.format, s.paragraphs) for s in found]
        for name, found in sources.items()
    }
    rules = spec.model_dump(mode="json", exclude={"root"})
    text = json.dumps([PIPELINE_VERSION, kind, rules, files], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load_prepared(folder: Path, kind: Kind) -> Prepared | None:
    """Return what was prepared there before; None if there is nothing whole and unchanged."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        if not _unchanged(folder):
            _log.warning("%s: prepared rows were changed; they are made anew", folder)
            return None
        card = _CARD.validate_json((folder / "card.json").read_bytes())
        report = _REPORT.validate_json((folder / "report.json").read_bytes())
        rows = {name: _read(folder / f"{name}.jsonl", kind) for name in SPLITS}
    except (OSError, ValueError, ValidationError, KeyError, TypeError) as error:
        _log.warning("%s: prepared rows cannot be used again: %s", folder, error)
        return None
    return Prepared(
        kind, rows["train"], rows["valid"], rows["test"], card, report, folder, cached=True
    )


def _unchanged(folder: Path) -> bool:
    """Compare every file with the SHA-256 that the manifest states."""
    stated = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return all(_sha256(folder / name) == stated.get(name) for name in FILES)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _read(path: Path, kind: Kind) -> tuple[Row, ...]:
    with path.open(encoding="utf-8") as stream:
        return tuple(row_from_dict(kind, json.loads(line)) for line in stream)


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give a folder to write in, which takes the place of ``folder`` when all went well.

    Raises ``StorageError`` when the disk refuses; nothing is left behind then.
    """
    work: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        yield work
        shutil.rmtree(folder, ignore_errors=True)
        work.replace(folder)
    except OSError as error:
        raise StorageError(
            f"Prepared rows could not be written to {folder.parent}: {error.strerror or error}. "
            "Free some space or choose another folder."
        ) from error
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)


def write_prepared(
    folder: Path, rows: Mapping[str, Sequence[Row]], card: DataCard, report: DataReport
) -> None:
    """Write rows, card (JSON and Markdown) and report. Raises ``OSError``."""
    for name in SPLITS:
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json_line(row_dict(row)) for row in rows[name])
    (folder / "report.json").write_bytes(_REPORT.dump_json(report, indent=1))
    (folder / "card.md").write_text(card_markdown(card), encoding="utf-8")
    (folder / "card.json").write_bytes(_CARD.dump_json(card, indent=1))
    manifest = {name: _sha256(folder / name) for name in FILES}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def card_json(card: DataCard) -> dict[str, object]:
    """Return a card as plain values for JSON."""
    value: dict[str, object] = _CARD.dump_python(card, mode="json")
    return value


def report_json(report: DataReport) -> dict[str, object]:
    """Return a report as plain values for JSON."""
    value: dict[str, object] = _REPORT.dump_python(report, mode="json")
    return value
