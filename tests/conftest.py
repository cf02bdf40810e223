"""Shared fixtures. No test touches the user's data: the data folder is always a temporary one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings as hypothesis_settings
from support import ROOT, Run

from assistant.settings import Settings

# No test is judged by the clock: on a busy machine one example in hundreds takes long.
hypothesis_settings.register_profile("project", deadline=None)
hypothesis_settings.load_profile("project")

KEPT = {"ASSISTANT_CACHE_DIR", "ASSISTANT_DEV_DATA"}


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Default settings whatever the shell has set, and a data folder of the tests' own."""
    patch = pytest.MonkeyPatch()
    for name in list(os.environ):
        if name.startswith("ASSISTANT_") and name not in KEPT:
            patch.delenv(name)
    patch.setenv("ASSISTANT_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    # Models that read evidence take seconds to install in each new data folder: tests of them ask.
    patch.setenv("ASSISTANT_RERANK", "0")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def dev_data() -> Path:
    """Public data sets beside the project, where a machine has them."""
    folder = Path(os.environ.get("ASSISTANT_DEV_DATA", ROOT.parent / "shared" / "data" / "dev"))
    if not folder.is_dir():
        pytest.skip("no development data: set ASSISTANT_DEV_DATA to its folder")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a data folder of this test's own; built models are the shared ones."""
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture(scope="session")
def run_assistant() -> Run:
    """Run the command line in a process of its own: ``run("ask", "…", env={...})``."""

    def run(
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "assistant", *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory, run_assistant: Run) -> Path:
    """A data folder with the example bank loaded, made once for all workers. Only read it."""
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    folder = shared / "bank-data"
    with FileLock(shared / "bank.lock"):
        if not (folder / "ready").exists():
            done = run_assistant("build", "--data-dir", folder, timeout=600)
            assert done.returncode == 0, done.stderr
            (folder / "ready").touch()
    return folder
