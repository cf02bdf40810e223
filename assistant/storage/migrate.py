"""Bring a database to the schema of this version, once, whoever opens it first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection, inspect, text

from assistant.errors import StorageError
from assistant.storage.engine import Database, sqlite_path

HEAD = "0002"
"""The newest revision this version knows; a test holds it against the migrations."""

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK_SECONDS = 120
_POSTGRES_LOCK = 0x61737369  # any number of our own; it only has to be the same everywhere


def migrate(database: Database) -> None:
    """Upgrade to ``HEAD``. Raise StorageError for a database of a newer version.

    The whole upgrade is one transaction: a process killed within leaves the old schema.
    """
    with database.reading() as connection:
        if _revision(connection) == HEAD:
            return
    with _exclusive(database), database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRES_LOCK})"))
        revision = _revision(connection)
        if revision == HEAD:
            return
        _upgrade(connection, revision, database.place)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return str(found) if found is not None else None


@contextmanager
def _exclusive(database: Database) -> Iterator[None]:
    if not database.is_sqlite:
        yield
        return
    path = sqlite_path(database.url)
    lock = FileLock(f"{path}.migrate.lock", timeout=_LOCK_SECONDS)
    try:
        with lock:
            yield
    except Timeout as error:
        raise StorageError(
            f"Another process has been upgrading {path} for more than {_LOCK_SECONDS} seconds. "
            "Wait for it to end and try again."
        ) from error


def _upgrade(connection: Connection, revision: str | None, place: str) -> None:
    # Imported here: Alembic takes a while to load and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StorageError(
            f"{place} was written by a newer version of this program (schema {revision}; this "
            f"version knows up to {HEAD}). Upgrade the program, or choose another data folder."
        )
    command.upgrade(config, HEAD)
