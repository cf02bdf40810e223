"""The small files of a model in the registry: which version is current, and what was done.

Both survive a crash at any point: the pointer is replaced whole, the log grows by whole lines.
"""

from __future__ import annotations

import getpass
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assistant.errors import ModelError

POINTER_FILE = "current.json"
EVENTS_FILE = "events.jsonl"
APPLIED_FILE = "applied.json"
_FORMAT = 1
_MAX_BEFORE = 1000


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which version is current (None: none), and those before it, oldest first.

    A promotion pushes onto ``before``, a rollback pops from it.
    """

    version: int | None = None
    before: tuple[int | None, ...] = ()

    def promoted(self, number: int) -> Pointer:
        """The pointer after promoting ``number``."""
        return Pointer(number, (*self.before, self.version)[-_MAX_BEFORE:])

    def rolled_back(self) -> Pointer:
        """The pointer after going back one step; ``before`` must not be empty."""
        return Pointer(self.before[-1], self.before[:-1])

    def without(self, number: int) -> Pointer:
        """The pointer once version ``number``, not the current one, is deleted."""
        kept: list[int | None] = []
        for step in (*self.before, self.version):
            # What remains on both sides of the deleted one may be the same version twice.
            if step != number and (not kept or kept[-1] != step):
                kept.append(step)
        return Pointer(self.version, tuple(kept[:-1]))


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the log. ``action``: added, promoted, rolled_back or deleted.

    ``version`` is the one acted upon (None: a rollback to no version of its own), ``before`` the
    one current until then, ``override`` the reason given for passing over the gate, ``steps`` the
    versions that can be gone back to afterwards, oldest first.
    """

    time: str
    user: str
    action: str
    version: int | None
    before: int | None = None
    override: str | None = None
    gate: str = ""
    steps: tuple[int | None, ...] | None = None

    def as_data(self) -> dict[str, Any]:
        """Return the event as JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def new_event(action: str, version: int | None, **more: Any) -> Event:
    """Return an event of this moment by this user."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user id, as in some containers
        user = f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Event(time=time, user=user, action=action, version=version, **more)


def read_pointer(folder: Path) -> Pointer:
    """Return the pointer in ``folder``; without a file, nothing is current.

    Raises ModelError when it is damaged.
    """
    path = folder / POINTER_FILE
    try:
        data: Any = json.loads(path.read_bytes())
        pointer = Pointer(data["version"], tuple(data["before"]))
        steps = (pointer.version, *pointer.before)
        if data["format"] != _FORMAT or not all(map(_is_step, steps)):
            raise ValueError("impossible values")
    except FileNotFoundError:
        return Pointer()
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{path} is damaged ({type(error).__name__}: {error}): choose the version to serve "
            "with `assistant models promote TASK/NAME@vN`, which writes it anew."
        ) from error
    return pointer


def _is_step(value: object) -> bool:
    return value is None or (type(value) is int and value >= 1)


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Replace the pointer in one step that is on the disk when this returns."""
    data = {
        "format": _FORMAT,
        "version": pointer.version,
        "before": list(pointer.before),
        "changed": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    write_durably(folder / POINTER_FILE, json.dumps(data) + "\n")


def read_applied(folder: Path) -> int | None:
    """Return the encoder version whose vectors are stored; None for the base build.

    Raises ModelError when the file is damaged.
    """
    path = folder / APPLIED_FILE
    try:
        number: Any = json.loads(path.read_bytes())["version"]
        if not _is_step(number):
            raise ValueError(f"version {number!r}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path} is damaged ({type(error).__name__}: {error}): delete it, then run "
            "`assistant build`, which applies the promoted encoder and encodes documents anew."
        ) from error
    return int(number) if number is not None else None


def write_durably(path: Path, text: str) -> None:
    """Write a file so that readers see the old or the new content, never part of it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_events(folder: Path) -> list[Event]:
    """Return the log, oldest first. A last line cut short by a crash is left out.

    Raises ModelError when another line is damaged.
    """
    path = folder / EVENTS_FILE
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    events = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            data = json.loads(line)
            steps = data.get("steps")
            values = {name: data[name] for name in Event.__slots__ if name != "steps"}
            events.append(Event(**values, steps=None if steps is None else tuple(steps)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"{path}, line {number}, is damaged ({type(error).__name__}: {error}): restore the "
                "file from a copy, or move it away to begin a new history."
            ) from error
    return events


@contextmanager
def recorded(folder: Path, event: Event) -> Iterator[None]:
    """Append ``event`` to the log for good if the body succeeds; a failed body leaves none.

    The caller holds the model's lock. Logged first: nothing is ever done that is not on record.
    """
    path = folder / EVENTS_FILE
    with path.open("ab+") as file:
        size = _whole_lines(file.fileno(), path)
        try:
            file.write(_line(event.as_data()))
            file.flush()
            os.fsync(file.fileno())
            yield
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise


def _whole_lines(handle: int, path: Path) -> int:
    """Cut off a line that a crash left unfinished; return the size that remains."""
    content = path.read_bytes()
    size = content.rfind(b"\n") + 1
    if size < len(content):
        os.ftruncate(handle, size)
    return size


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, ensure_ascii=True).encode() + b"\n"


def replayed(events: Sequence[Event]) -> Pointer:
    """Return the pointer these events lead to: what the last one that moved it says."""
    for event in reversed(events):
        if event.steps is not None:
            current = event.before if event.action == "deleted" else event.version
            return Pointer(current, event.steps)
    return Pointer()


def pointer_or_replay(folder: Path) -> Pointer:
    """Return the pointer; when it is damaged, the one the log leads to. Raises ModelError."""
    try:
        return read_pointer(folder)
    except ModelError:
        return replayed(read_events(folder))
