"""Write a long output block by block, so that a run killed at any moment can be taken up again.

The output appears whole or not at all. Until then its lines go to ``OUT.partial``, and a journal
says how many rows and bytes of it are safely on disk.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from assistant.batch_journal import Journal, sync, sync_folder, take_up, write_journal
from assistant.errors import InvalidInputError, StorageError
from assistant.tables import table_kind

FAILURES_LISTED = 1000
_AT_ONCE = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RowFailure:
    """A row without a result. ``row`` counts from 1, ``line`` is its place in the input file."""

    row: int
    line: int
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Block:
    """The next ``rows`` rows of the output: their lines, what failed, and what to count."""

    rows: int
    text: str
    failures: Sequence[RowFailure] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Progress:
    """Told at the start and after each block: ``failed`` of the ``done`` rows have no result."""

    done: int
    total: int
    failed: int


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished run has written. ``failures`` lists the first thousand; ``resumed_at`` is
    the number of rows an earlier, interrupted run had already written."""

    rows: int
    failed: int
    counts: Mapping[str, int]
    failures: tuple[RowFailure, ...]
    resumed_at: int
    seconds: float


def check_paths(source: Path, output: Path) -> None:
    """Refuse, before anything is loaded, what cannot work. Raises ``InvalidInputError``."""
    table_kind(source)
    if table_kind(output) == "csv" and output.suffix.lower() != ".csv":
        raise InvalidInputError(f"{output.name}: name the output .csv or .jsonl.")
    if not source.is_file():
        raise InvalidInputError(f"{source}: no such file.")
    if output.is_dir():
        raise InvalidInputError(f"{output} is a folder; name a file in it.")
    if not output.resolve().parent.is_dir():
        raise InvalidInputError(f"{output.parent}: no such folder; make it first.")
    if output.exists() and output.samefile(source):
        raise InvalidInputError("Input and output are the same file; choose another output.")


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Let no second run write this output; tell a disk that refuses in words."""
    lock = FileLock(f"{output}.lock", timeout=0)
    try:
        with lock:
            try:
                yield
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise InvalidInputError(
            f"{output}: another run is writing it; wait for it or choose another output."
        ) from None
    except OSError as error:
        raise StorageError(
            f"{output}: {error.strerror or error}. Rows finished so far are kept; "
            "mend the cause and run the same command again."
        ) from error


def write_blocks(
    output: Path,
    identity: dict[str, Any],
    blocks: Callable[[int], Iterator[Block]],
    *,
    header: str = "",
    total: int = 0,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Written:
    """Write the blocks that ``blocks(rows already written)`` yields; call it within ``alone``.

    ``identity`` (see Journal) must equal that of an unfinished run found, or it is refused with
    ``InvalidInputError``; ``restart`` drops it.
    """
    started = time.perf_counter()
    partial, journal_path = Path(f"{output}.partial"), Path(f"{output}.journal")
    journal = take_up(journal_path, partial, identity, restart)
    resumed_at = journal.rows
    tell = progress or _ignore
    with partial.open("r+b" if partial.exists() else "w+b") as stream:
        stream.truncate(journal.bytes)
        stream.seek(journal.bytes)
        if journal.bytes == 0:
            stream.write(header.encode())
        tell(Progress(journal.rows, total, journal.failed))
        for block in blocks(resumed_at):
            stream.write(block.text.encode())
            sync(stream)
            _count(journal, block)
            journal.bytes = stream.tell()
            write_journal(journal_path, journal)
            tell(Progress(journal.rows, max(total, journal.rows), journal.failed))
        sync(stream)
    os.replace(partial, output)
    sync_folder(output.resolve().parent)
    journal_path.unlink(missing_ok=True)
    return Written(
        rows=journal.rows,
        failed=journal.failed,
        counts=dict(journal.kinds),
        failures=tuple(RowFailure(**item) for item in journal.failures),
        resumed_at=resumed_at,
        seconds=round(time.perf_counter() - started, 3),
    )


def _ignore(_progress: Progress) -> None:
    return None


def _count(journal: Journal, block: Block) -> None:
    journal.rows += block.rows
    journal.failed += len(block.failures)
    journal.kinds = dict(Counter(journal.kinds) + Counter(block.counts))
    room = FAILURES_LISTED - len(journal.failures)
    journal.failures += [asdict(failure) for failure in block.failures[:room]]


def in_order(work: Callable[[Item], Result], items: Iterator[Item]) -> Iterator[Result]:
    """Yield ``work`` of each item, in order, two under way at a time.

    While one is being written in Python, the next is in the model, outside of it.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(_AT_ONCE, "block") as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) == _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
