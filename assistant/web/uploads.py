"""Uploaded files: kept on disk while they are taken in, never whole in memory."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from assistant.types import FileResult, IngestReport, Scope

if TYPE_CHECKING:
    from assistant.runtime import Runtime

MAX_FILES = 200
# A request may hold several files; each is held to the file limit on its own.
REQUEST_FILES_FACTOR = 4
_MAX_NAME_BYTES = 200
_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of an upload: its name as sent, and its content to read from."""

    filename: str
    size: int
    content: BinaryIO


def safe_name(filename: str) -> str:
    """The last part of ``filename`` as a harmless file name of at most 200 bytes."""
    text = filename.encode("utf-8", "replace").decode("utf-8").replace("\\", "/")
    name = _UNSAFE.sub("_", text.rsplit("/", 1)[-1]).strip(" .")
    if not name:
        return "upload"
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    room = _MAX_NAME_BYTES - len(suffix.encode()) - 1
    short = stem.encode()[: max(1, room)].decode("utf-8", "ignore")
    return f"{short}.{suffix[:16]}" if dot else short


def distinct(names: Sequence[str]) -> list[str]:
    """Number the names that come again (``a.md``, ``a (2).md``): each is a document of its own."""
    seen: set[str] = set()
    made: list[str] = []
    for name in names:
        stem, suffix = Path(name).stem, Path(name).suffix
        candidate, number = name, 2
        while candidate.casefold() in seen:
            candidate, number = f"{stem} ({number}){suffix}", number + 1
        seen.add(candidate.casefold())
        made.append(candidate)
    return made


def take_in(
    runtime: Runtime, uploads: Sequence[Upload], scope: Scope, *, faq: bool, max_file_mb: int
) -> IngestReport:
    """Ingest ``uploads``; a file too large, broken or unknown fails alone, with its reason.

    Files come out in the order they were sent.
    """
    kept: dict[int, Path] = {}
    refused: dict[int, FileResult] = {}
    with tempfile.TemporaryDirectory(prefix="upload-") as folder:
        names = distinct([safe_name(upload.filename) for upload in uploads])
        for index, (upload, name) in enumerate(zip(uploads, names, strict=True)):
            if upload.size > max_file_mb * 2**20:
                refused[index] = FileResult(name, "failed", _too_large(upload.size, max_file_mb))
                continue
            path = Path(folder) / name
            with path.open("wb") as target:
                shutil.copyfileobj(upload.content, target, 2**20)
            kept[index] = path
        report = (
            runtime.ingest(list(kept.values()), scope, faq=faq)
            if kept
            else IngestReport(scope.collection, (), 0.0)
        )
    return _merge(report, refused, len(uploads))


def _too_large(size: int, max_file_mb: int) -> str:
    return (
        f"the file has {size / 2**20:.0f} MB, the limit is {max_file_mb} MB; "
        "split it or raise ASSISTANT_MAX_FILE_MB"
    )


def _merge(report: IngestReport, refused: dict[int, FileResult], total: int) -> IngestReport:
    if not refused:
        return report
    taken = iter(report.files)
    files = [refused[index] if index in refused else next(taken, None) for index in range(total)]
    return replace(report, files=tuple(file for file in files if file is not None))
