"""Run in a process of its own by test_ingest: ingest a folder, dying at a named point.

Usage: ingest_child.py DATA_DIR FOLDER POINT COUNT; the process kills itself (SIGKILL, nothing is
cleaned up) at the COUNT-th time POINT is reached. Points are wrapped where the real code calls
them, so everything before and after is the real thing.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event
from storage_helpers import Library

from assistant.settings import Settings
from assistant.types import Scope

SCOPE = Scope(collection="docs")


class Deadline:
    def __init__(self, count: int) -> None:
        self.left = count

    def reached(self, *_arguments: Any) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def dying(function: Callable[..., Any], deadline: Deadline, *, after: bool) -> Callable[..., Any]:
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if not after:
            deadline.reached()
        result = function(*arguments, **options)
        if after:
            deadline.reached()
        return result

    return wrapped


def arm(library: Library, point: str, deadline: Deadline) -> None:
    engine = library.storage._database.engine
    if point == "before-commit":
        event.listen(engine, "commit", deadline.reached)
    elif point == "statement":
        event.listen(engine, "before_cursor_execute", lambda *a: deadline.reached())
    elif point == "stored":
        library.storage.writer.put = dying(library.storage.writer.put, deadline, after=True)
    elif point == "fsync":
        os.fsync = dying(os.fsync, deadline, after=False)
    elif point in ("before-swap", "after-swap"):
        os.replace = dying(os.replace, deadline, after=point == "after-swap")
    elif point == "folder-renamed":
        Path.rename = dying(Path.rename, deadline, after=True)  # type: ignore[method-assign]
    else:
        raise SystemExit(f"no such point: {point}")


def main(data: str, folder: str, point: str, count: str) -> None:
    with Library(Settings(data_dir=Path(data))) as library:
        arm(library, point, Deadline(int(count)))
        library.ingestor.ingest([Path(folder)], SCOPE)
        library.knowledge.compact(SCOPE)
    print("survived")


if __name__ == "__main__":
    main(*sys.argv[1:])
