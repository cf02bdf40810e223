"""A real service over part of the example bank, once for the session; and a real browser."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from page_support import browser, visit
from web_support import Service

from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Scope
from assistant.web.api import create_app

__all__ = ["browser", "visit"]

COLLECTION = "bank"
# Small, but with headings, pages, both languages and approved answers.
DOCUMENTS = (
    "documents/en/transfers-guide.html",
    "documents/en/account-terms.md",
    "documents/en/home-loans-brochure.pdf",
)
TABLES = ("faq_en.csv", "faq_zh.csv")


@pytest.fixture(scope="session")
def runtime(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    bank = root / "examples" / "bank"
    opened = Runtime.open(Settings(data_dir=tmp_path_factory.mktemp("web"), max_file_mb=1))
    scope = Scope(collection=COLLECTION)
    for paths, faq in ((DOCUMENTS, False), (TABLES, True)):
        report = opened.ingest([bank / path for path in paths], scope, faq=faq)
        assert not report.failed, report.failed
    yield opened
    opened.close()


@pytest.fixture
def client(runtime: Runtime) -> Iterator[TestClient]:
    """The API without the page, as an HTTP client that sees a 500 as a browser would."""
    with TestClient(create_app(runtime, page=False), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="session")
def service(runtime: Runtime) -> Iterator[Service]:
    """The whole service, page included, on a free port of the loopback interface."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(runtime), log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.started
    yield Service(f"http://127.0.0.1:{listener.getsockname()[1]}", runtime)
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()
