"""A database for each test: SQLite, and PostgreSQL too where TEST_POSTGRES_URL names one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from assistant.storage import Storage
from assistant.storage.models import Base

POSTGRES = os.environ.get("TEST_POSTGRES_URL", "")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'test.sqlite3'}"
    if not POSTGRES:
        pytest.skip("TEST_POSTGRES_URL names no empty PostgreSQL database")
    engine = create_engine(POSTGRES.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return POSTGRES


@pytest.fixture
def storage(database_url: str) -> Iterator[Storage]:
    with Storage(database_url) as opened:
        yield opened
