"""Find the files to load under the paths that someone gave."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SUPPORTED_SUFFIXES: frozenset[str] = frozenset(
    {".md", ".markdown", ".txt", ".text", ".html", ".htm", ".xhtml", ".pdf", ".docx", ".pptx"}
    | {".xlsx", ".xlsm", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".eml"}
)
_OLD_OFFICE = {".doc": ".docx", ".xls": ".xlsx", ".ppt": ".pptx", ".rtf": ".docx", ".msg": ".eml"}


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that is not loaded, and why."""

    path: Path
    source: str
    reason: str


@dataclass(slots=True)
class _Walk:
    root: Path
    prefix: str
    seen_files: set[Path]
    seen_sources: set[str]
    seen_folders: set[Path] = field(default_factory=set)


def discover(paths: Sequence[Path]) -> Iterator[tuple[Path, str] | SkippedFile]:
    """Files to load as ``(path, source)``, and what is left out as ``SkippedFile``.

    Folders are walked in sorted order. ``source`` is the path relative to the folder given, or
    the name of a file given itself; when two folders hold the same relative path, the second
    one's sources begin with the folder's name. A link is followed only to a target inside the
    folder given. Each real file comes once.
    """
    seen_files: set[Path] = set()
    seen_sources: set[str] = set()
    for path in paths:
        name = path.name or path.resolve().name
        if not path.exists():
            reason = "the link leads nowhere" if path.is_symlink() else "no such file or folder"
            yield SkippedFile(path, name or str(path), reason)
        elif path.is_dir():
            walk = _Walk(path.resolve(), path.resolve().name, seen_files, seen_sources)
            yield from _folder(path, "", walk)
        else:
            walk = _Walk(
                path.resolve().parent, path.resolve().parent.name, seen_files, seen_sources
            )
            yield from _file(path, name, walk)


def _folder(folder: Path, relative: str, walk: _Walk) -> Iterator[tuple[Path, str] | SkippedFile]:
    real = folder.resolve()
    if real in walk.seen_folders:
        return
    walk.seen_folders.add(real)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        yield SkippedFile(folder, relative or folder.name, f"cannot be read: {error.strerror}")
        return
    for name in names:
        yield from _entry(folder / name, f"{relative}/{name}" if relative else name, walk)


def _entry(path: Path, source: str, walk: _Walk) -> Iterator[tuple[Path, str] | SkippedFile]:
    source = source.encode("utf-8", errors="replace").decode("utf-8")
    problem = _problem(path, walk.root)
    if problem:
        yield SkippedFile(path, source, problem)
    elif path.is_dir():
        yield from _folder(path, source, walk)
    else:
        yield from _file(path, source, walk)


def _problem(path: Path, root: Path) -> str:
    if path.name.startswith((".", "~$")):
        return "hidden or temporary"
    if not path.is_symlink():
        return ""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return "the link leads nowhere or in a circle"
    if not target.is_relative_to(root):
        return "a link to outside the folder; copy the file into the folder to load it"
    return ""


def _file(path: Path, source: str, walk: _Walk) -> Iterator[tuple[Path, str] | SkippedFile]:
    real = path.resolve()
    if real in walk.seen_files:
        return
    walk.seen_files.add(real)
    suffix = path.suffix.lower()
    if not path.is_file():
        yield SkippedFile(path, source, "not a regular file")
    elif suffix in _OLD_OFFICE:
        yield SkippedFile(path, source, f"{suffix} is not read; save it as {_OLD_OFFICE[suffix]}")
    elif suffix not in SUPPORTED_SUFFIXES:
        yield SkippedFile(
            path, source, f"{suffix or 'no file name ending'} is not a format we read"
        )
    else:
        if source in walk.seen_sources:
            source = f"{walk.prefix}/{source}"
        if source in walk.seen_sources:
            yield SkippedFile(path, source, "another file has the same folder and name")
            return
        walk.seen_sources.add(source)
        yield path, source
