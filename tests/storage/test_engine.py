"""Opening, migrating and refusing: what a database may do to us."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from assistant.errors import InvalidInputError, StorageError
from assistant.storage import Storage, engine
from assistant.storage.migrate import HEAD, MIGRATIONS
from assistant.storage.models import Base
from assistant.types import Scope

SCOPE = Scope(collection="docs")


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def test_the_constant_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrations_make_the_schema_of_the_models(storage: Storage) -> None:
    with storage._database.reading() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, Base.metadata) == []


def test_sqlite_is_set_up_for_many_processes(tmp_path: Path) -> None:
    with Storage(url_of(tmp_path / "a.db")) as storage, storage._database.reading() as connection:

        def pragma(name: str) -> object:
            return connection.exec_driver_sql(f"PRAGMA {name}").scalar()

        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 1
        assert pragma("foreign_keys") == 1
        assert pragma("busy_timeout") == 30_000


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Storage(url_of(path)).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    with pytest.raises(StorageError, match=r"newer version.*9999.*Upgrade the program"):
        Storage(url_of(path))
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    raw.close()


def test_many_processes_open_a_new_database_at_once(tmp_path: Path) -> None:
    script = (
        "import sys; from assistant.storage import Storage; from assistant.types import Scope\n"
        "s = Storage(sys.argv[1]); print(s.catalog.ensure(Scope(collection='docs')).id); s.close()"
    )
    command = [sys.executable, "-c", script, url_of(tmp_path / "new" / "a.db")]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=60) for process in running]
    assert [
        (out.strip(), process.returncode)
        for (out, _), process in zip(outputs, running, strict=True)
    ] == [("1", 0)] * 4, outputs


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://x/y", "'mysql' is not supported"),
        ("sqlite://", "'sqlite' is not supported: use a SQLite file"),
        ("no url", "cannot be read"),
    ],
)
def test_unusable_urls(url: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Storage(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"this is a text file, not a database" * 100)
    with pytest.raises(StorageError, match="damaged or is not a database"):
        Storage(url_of(path))
    assert path.read_bytes().startswith(b"this is a text")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot be made.*Choose a folder"):
        Storage(url_of(tmp_path / "file" / "a.db"))


def test_a_database_that_stays_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    path = tmp_path / "a.db"
    with Storage(url_of(path)) as storage:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert storage.catalog.collections("default") == []  # readers go on
        with pytest.raises(StorageError, match="Another process has been writing"):
            storage.catalog.ensure(SCOPE)
        holder.execute("ROLLBACK")
        holder.close()
        assert storage.catalog.ensure(SCOPE).id == 1


def test_a_writer_waits_for_another(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Storage(url_of(path)) as storage:
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, lambda: holder.execute("ROLLBACK"))
        release.start()
        assert storage.catalog.ensure(SCOPE).id == 1
        release.join()
        holder.close()


def test_passwords_stay_out_of_messages() -> None:
    with pytest.raises(StorageError) as caught:
        Storage("postgresql://me:hunter2@127.0.0.1:9/none?connect_timeout=2")
    assert "hunter2" not in str(caught.value)
    assert "127.0.0.1" in str(caught.value)
