"""The database engine: connections, transactions, and errors a user can act on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from assistant.errors import InvalidInputError, StorageError

BUSY_SECONDS = 30
_WRITING = "assistant_writing"


def parse_url(text: str) -> URL:
    """Return the URL with its driver named; raise InvalidInputError for another database."""
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise InvalidInputError(
            "The database URL cannot be read. Give one such as sqlite:///folder/file.sqlite3 or "
            "postgresql://user:password@host/name."
        ) from error
    name = url.get_backend_name()
    if name == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if name == "sqlite" and url.database and url.database != ":memory:":
        return url
    raise InvalidInputError(
        f"The database {name!r} is not supported: use a SQLite file or PostgreSQL."
    )


def open_engine(url: URL) -> Engine:
    """Make the engine, and for SQLite the folder its file is in."""
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(url, pool_size=8, max_overflow=32, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise InvalidInputError(
                "PostgreSQL needs its driver: install the extra `postgres` of this package."
            ) from error
    path = sqlite_path(url)
    try:
        # Conversations are in it: not for other users of the machine to read.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The data folder {path.parent} cannot be made: {error.strerror}. "
            "Choose a folder you may write to (ASSISTANT_DATA_DIR)."
        ) from error
    engine = create_engine(url, pool_size=8, max_overflow=32)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def sqlite_path(url: URL) -> Path:
    """The file behind a SQLite URL."""
    return Path(url.database or "")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own transaction handling is off: _begin_sqlite opens each one explicitly.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_SECONDS * 1000}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
        "cache_size = -8000",
        "temp_store = MEMORY",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes the lock at once: turning a read transaction into a write later fails at once
    # with "database is locked" when another writer came between, whatever the timeout.
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


class Database:
    """Transactions on one engine; every driver error becomes a StorageError."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.engine = open_engine(url)
        self.place = url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout."""
        with translated(self.place), self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that is kept as a whole or not at all."""
        with translated(self.place), self.engine.connect() as connection:
            connection.execution_options(**{_WRITING: True})
            with connection.begin():
                yield connection

    def flush(self) -> None:
        """Have every commit so far on the disk, so that a derived file never outlives its source.

        In WAL mode with synchronous=NORMAL a power cut may undo the last commits; a checkpoint
        syncs the log first.
        """
        if self.is_sqlite:
            with translated(self.place), self.engine.connect() as connection:
                raw = connection.connection.driver_connection
                if isinstance(raw, sqlite3.Connection):
                    raw.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn a driver's error into a StorageError that names the remedy."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            "A name or id holds a lone surrogate, which is not text. Give it in plain characters."
        ) from error
    except PoolTimeoutError as error:
        raise StorageError("All database connections are in use; try again in a moment.") from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StorageError(_explain(str(getattr(error, "orig", None) or error), place)) from error


_EXPLANATIONS = (
    (
        r"database or disk is full|No space left",
        "The disk of {place} is full; nothing of this step was kept. Free some space and repeat.",
    ),
    (
        r"database (table )?is locked",
        f"Another process has been writing to {{place}} for more than {BUSY_SECONDS} seconds; "
        "nothing of this step was kept. Repeat it when that is done.",
    ),
    (
        r"readonly database|read-only",
        "{place} is read-only. Give write permission, or choose another data folder.",
    ),
    (
        r"not a database|malformed|disk image",
        "{place} is damaged or is not a database ({reason}). Restore it from a backup, or move it "
        "away and ingest again.",
    ),
    (
        r"unable to open",
        "{place} cannot be opened. Check that the folder exists and may be written to.",
    ),
    (
        r"disk I/O error",
        "The disk of {place} failed to read or write; nothing of this step was kept. "
        "Check its space and health and repeat.",
    ),
)


def _explain(reason: str, place: str) -> str:
    reason = " ".join(reason.split())[:300]
    for pattern, message in _EXPLANATIONS:
        if re.search(pattern, reason, re.IGNORECASE):
            return message.format(place=place, reason=reason)
    return f"The database {place} refused: {reason}. Nothing of this step was kept."
