"""Starting and stopping: the whole program as a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


def get(url: str) -> tuple[int, str]:
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.status, response.read().decode()


@pytest.mark.slow
def test_the_program_starts_answers_and_ends_on_a_signal(root: Path, tmp_path: Path) -> None:
    env = {**os.environ, "ASSISTANT_DATA_DIR": str(tmp_path), "ASSISTANT_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=root, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            ready = next(line for line in process.stderr if line.startswith("Ready"))
            url = re.search(r"http://\S+", ready).group()  # type: ignore[union-attr]
            status, body = get(f"{url}/healthz")
            assert (status, json.loads(body)["status"]) == (200, "ok")
            status, body = get(f"{url}/")
            assert status == 200
            assert "gradio" in body
            begin = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) in {0, -signal.SIGTERM}
            assert time.monotonic() - begin < 10
        finally:
            process.kill()


@pytest.mark.slow
def test_an_open_page_does_not_hold_up_the_end(root: Path, tmp_path: Path) -> None:
    """Every open page keeps an endless stream; the server must not wait for it, nor complain."""
    env = {**os.environ, "ASSISTANT_DATA_DIR": str(tmp_path), "ASSISTANT_PORT": "0"}
    with subprocess.Popen(
        [sys.executable, "app.py"], cwd=root, env=env, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            ready = next(line for line in process.stderr if line.startswith("Ready"))
            url = re.search(r"http://\S+", ready).group()  # type: ignore[union-attr]
            get(f"{url}/")
            with urllib.request.urlopen(f"{url}/gradio_api/heartbeat/abc", timeout=30) as stream:
                assert b"ALIVE" in stream.readline()
                begin = time.monotonic()
                process.send_signal(signal.SIGINT)
                process.wait(20)
                assert time.monotonic() - begin < 6
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


@pytest.mark.slow
def test_a_taken_port_ends_the_program_with_its_reason(root: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        env = {
            **os.environ,
            "ASSISTANT_DATA_DIR": str(tmp_path),
            "ASSISTANT_PORT": str(taken.getsockname()[1]),
        }
        done = subprocess.run(
            [sys.executable, "app.py"], cwd=root, env=env, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert env["ASSISTANT_PORT"] in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_start_program_is_short(root: Path) -> None:
    assert len((root / "app.py").read_text("utf-8").splitlines()) < 40
