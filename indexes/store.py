"""Index generations on disk: written aside, checked by checksum, swapped atomically."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from indexes.dense import APPROXIMATE_FROM, DenseSegment, read_index, train, write_index
from indexes.errors import IndexCorruptError
from indexes.lexical import Postings, Vocabulary
from indexes.segment import Contents, Segment

FORMAT_VERSION = 1
LOCK_SECONDS = 600.0
"""How long a writer waits for another process that writes the same index."""

_POINTER = "CURRENT"
_MANIFEST = "manifest.json"
_POINTER_LINE = re.compile(rb"(generation-[0-9a-f-]+) ([0-9a-f]{64})\n")
_LISTS = "lists.faiss"
_PARTIAL = ".partial-"
_REBUILD = "the index must be rebuilt from the database"


@dataclass(frozen=True, slots=True)
class Identity:
    """What an index was made with; a generation made with anything else is refused."""

    dim: int
    encoder: str
    analyzer: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A loaded base generation."""

    name: str
    segment: Segment
    vocabulary: Vocabulary
    last_item_id: int
    last_deletion_id: int


class GenerationStore:
    """The generations of one index under ``root``: ``generation-*/`` and the file ``CURRENT``.

    A generation is written to a temporary folder, flushed to the disk, renamed, and becomes
    current when ``CURRENT`` is replaced. Whatever dies on the way leaves the old one in place.
    """

    def __init__(self, root: Path, identity: Identity) -> None:
        self._root = root
        self._identity = identity

    def read(self) -> Generation | None:
        """Load the current generation; None when there is none.

        Raises IndexCorruptError naming the damaged file, or what the index was made for.
        """
        pointer = self._current()
        while pointer is not None:
            try:
                return self._read(*pointer)
            except FileNotFoundError as error:
                # Another process may have swapped and removed it while we read: look again.
                latest = self._current()
                if latest == pointer:
                    raise IndexCorruptError(f"{error.filename}: missing; {_REBUILD}") from error
                pointer = latest
        return None

    def write(
        self,
        contents: Contents,
        vocabulary: Vocabulary,
        last_deletion_id: int,
        *,
        last_item_id: int = 0,
    ) -> str:
        """Write a generation and make it current; return its name.

        ``last_item_id``: the highest id its source has seen, if that item is not in it any more.
        Raises OSError when the disk refuses and TimeoutError when another process holds the lock
        for too long; the current generation stays in both cases.
        """
        with self._locked(LOCK_SECONDS):
            self._sweep()
            partial = self._root / f"{_PARTIAL}{secrets.token_hex(8)}"
            try:
                partial.mkdir()
                _write_contents(partial, contents, vocabulary)
                latest = max(last_item_id, int(contents.ids.max(initial=0)))
                self._write_manifest(partial, len(contents), latest, last_deletion_id)
                name = f"generation-{self._next_number():06d}-{partial.name[-8:]}"
                partial.rename(self._root / name)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
            pointer = f"{name} {_sha256(self._root / name / _MANIFEST)}\n"
            _write_durably(self._root / f"{_PARTIAL}{_POINTER}", pointer.encode())
            os.replace(self._root / f"{_PARTIAL}{_POINTER}", self._root / _POINTER)
            _sync_folder(self._root)
            self._sweep()
            return name

    def clean(self) -> None:
        """Remove what an interrupted write left behind, unless a write is going on."""
        if not self._root.is_dir():
            return
        try:
            with self._locked(0):
                self._sweep()
        except OSError:  # someone is writing, or this process may only read
            return

    def _current(self) -> tuple[str, str] | None:
        """Return the current generation's name and the checksum of its manifest."""
        path = self._root / _POINTER
        try:
            found = _POINTER_LINE.fullmatch(path.read_bytes())
        except FileNotFoundError:
            return None
        if found is None:
            raise IndexCorruptError(f"{path}: names no generation; {_REBUILD}")
        return found[1].decode(), found[2].decode()

    def _generations(self) -> list[Path]:
        return sorted(p for p in self._root.glob("generation-*") if p.is_dir())

    def _next_number(self) -> int:
        numbers = [p.name.split("-")[1] for p in self._generations()]
        return 1 + max((int(n) for n in numbers if n.isdigit()), default=0)

    def _sweep(self) -> None:
        """Remove partial folders and all generations but the current one. Needs the lock."""
        try:
            current = self._current()
        except IndexCorruptError:
            current = None
        keep = current[0] if current else None
        for path in [*self._root.glob(f"{_PARTIAL}*"), *self._generations()]:
            if path.name == keep:
                continue
            if path.is_dir():
                # Readers in this or another process hold their memory maps: unlinking is safe.
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, seconds: float) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._root / "write.lock")
        try:
            lock.acquire(timeout=seconds)
        except Timeout as error:
            raise TimeoutError(
                f"{self._root}: another process has been writing this index for over "
                f"{seconds:.0f} s; wait for it or end it"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _write_manifest(
        self, folder: Path, count: int, last_item_id: int, last_deletion_id: int
    ) -> None:
        files = sorted(p for p in folder.iterdir())
        manifest = {
            "format": FORMAT_VERSION,
            **asdict(self._identity),
            "count": count,
            "last_item_id": last_item_id,
            "last_deletion_id": last_deletion_id,
            "files": {p.name: {"bytes": p.stat().st_size, "sha256": _sha256(p)} for p in files},
        }
        _write_durably(folder / _MANIFEST, json.dumps(manifest, indent=1).encode())
        _sync_folder(folder)

    def _read(self, name: str, digest: str) -> Generation:
        folder = self._root / name
        manifest = self._checked_manifest(folder, digest)
        for file, facts in manifest["files"].items():
            _check_file(folder / file, facts)
        contents, vocabulary = _read_contents(folder)
        return Generation(
            name=name,
            segment=Segment.of(contents, _read_dense(folder, contents)),
            vocabulary=vocabulary,
            last_item_id=manifest["last_item_id"],
            last_deletion_id=manifest["last_deletion_id"],
        )

    def _checked_manifest(self, folder: Path, digest: str) -> dict[str, Any]:
        path = folder / _MANIFEST
        if _sha256(path) != digest:
            raise IndexCorruptError(f"{path}: wrong checksum, the file was changed; {_REBUILD}")
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        wanted = {"format": FORMAT_VERSION, **asdict(self._identity)}
        for key, value in wanted.items():
            if manifest.get(key) != value:
                raise IndexCorruptError(
                    f"{path}: made with {key} {manifest.get(key)!r}, now {value!r}; {_REBUILD}"
                )
        return manifest


def _check_file(path: Path, facts: dict[str, Any]) -> None:
    size = path.stat().st_size
    if size != facts["bytes"]:
        raise IndexCorruptError(f"{path}: {size} bytes, expected {facts['bytes']}; {_REBUILD}")
    if _sha256(path) != facts["sha256"]:
        raise IndexCorruptError(f"{path}: wrong checksum, the file was changed; {_REBUILD}")


def _write_contents(folder: Path, contents: Contents, vocabulary: Vocabulary) -> None:
    postings = contents.postings
    arrays: dict[str, NDArray[Any]] = {
        "ids": contents.ids,
        "vectors": contents.vectors,
        "terms": postings.terms,
        "offsets": postings.offsets,
        "rows": postings.rows,
        "counts": postings.counts,
        "lengths": postings.lengths,
        "tag_rows": np.concatenate([np.empty(0, np.int32), *contents.tags.values()]),
    }
    for name, array in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, array)
            _flush(file)
    tags = {tag: int(rows.size) for tag, rows in contents.tags.items()}
    _write_durably(folder / "tags.json", json.dumps(tags).encode())
    if len(contents) >= APPROXIMATE_FROM:
        write_index(train(contents.vectors), folder / _LISTS)
        with (folder / _LISTS).open("rb") as file:
            os.fsync(file.fileno())
    # A term never holds white space, so one a line is enough.
    _write_durably(folder / "vocabulary.txt", "\n".join(vocabulary.terms()).encode())


def _read_dense(folder: Path, contents: Contents) -> DenseSegment | None:
    if not (folder / _LISTS).exists():
        return None
    return DenseSegment(contents.vectors, read_index(folder / _LISTS))


def _read_contents(folder: Path) -> tuple[Contents, Vocabulary]:
    def array(name: str, *, mapped: bool = True) -> Any:
        # Mapped, not read: what a search never touches costs no memory.
        mode: Any = "r" if mapped else None
        return np.load(folder / f"{name}.npy", mmap_mode=mode, allow_pickle=False).view(np.ndarray)

    tags: dict[str, Any] = {}
    start, tag_rows = 0, array("tag_rows")
    for tag, size in json.loads((folder / "tags.json").read_bytes()).items():
        tags[tag] = tag_rows[start : start + size]
        start += size
    postings = Postings(
        array("terms"), array("offsets"), array("rows"), array("counts"), array("lengths")
    )
    text = (folder / "vocabulary.txt").read_text(encoding="utf-8")
    vocabulary = Vocabulary(text.split("\n") if text else ())
    # An exact search holds all vectors in its own memory: a map would stay resident beside it.
    vectors = array("vectors", mapped=(folder / _LISTS).exists())
    return Contents(array("ids"), vectors, postings, tags), vocabulary


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        _flush(file)


def _flush(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be flushed there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
