"""The command line: help, output, exit codes. Commands that answer are in test_cli_answers.py."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import ROOT, Run

from assistant import __version__
from assistant.cli import COMMANDS, cli, run

PAGES = [
    [],
    *[[name] for name in COMMANDS],
    ["eval", "retrieval"],
    ["collections", "list"],
    ["collections", "stats"],
    ["collections", "delete"],
    ["documents", "list"],
    ["documents", "delete"],
    *[["models", name] for name in ("list", "show", "verify", "promote", "rollback", "history")],
    ["models", "delete"],
]


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_every_command_has_help(words: list[str]) -> None:
    result = CliRunner().invoke(cli, [*words, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith("Usage: ")
    assert "--data-dir" in result.output


def test_the_list_of_commands_says_what_the_commands_say() -> None:
    output = CliRunner().invoke(cli, ["--help"]).output
    for name, (_, text) in COMMANDS.items():
        assert f"{name} " in output
        assert text in " ".join(output.split())


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output == f"assistant, version {__version__}\n"


def test_starting_is_quick() -> None:
    script = "import time; t = time.process_time(); import assistant.cli as c; c.run(['--help']); "
    script += "print('CPU', time.process_time() - t)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout.rpartition("CPU")[2]) < 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense"], "No such command"),
        (["ask"], "Missing argument"),
        (["ask", "x", "--nonsense"], "No such option"),
        (["ingest", "/no/such/path"], "does not exist"),
        (["ingest"], "Missing argument"),
        (["eval", "retrieval", "--data", "/no/such/folder"], "does not exist"),
        (["batch", "missing.csv", "--output", "o.csv"], "no such file"),
        (["batch", "in.csv"], "Missing option '--output'"),
        (["serve", "--port", "99999"], "not in the range"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_wrong_use_is_exit_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSISTANT_ERROR_RATE", "1.5")
    assert run(["doctor"]) == 2
    assert "ASSISTANT_ERROR_RATE) is '1.5'" in capsys.readouterr().err


def test_the_data_folder_can_be_named_before_and_after_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--data-dir", str(tmp_path / "a"), "collections", "list"],
        ["collections", "list", "--data-dir", str(tmp_path / "b")],
        ["collections", "--data-dir", str(tmp_path / "c"), "list"],
    ):
        assert run(words) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]
    assert "collection" in capsys.readouterr().out


def test_an_unusable_data_folder_is_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(["--data-dir", str(tmp_path / "file" / "data"), "collections", "list"]) == 1
    assert "Error: " in capsys.readouterr().err


def test_empty_lists_are_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--data-dir", str(tmp_path), "collections", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    "words",
    [
        ["collections", "stats", "nowhere"],
        ["collections", "delete", "nowhere", "--yes"],
        ["documents", "list", "--collection", "nowhere"],
    ],
    ids=" ".join,
)
def test_an_unknown_collection_is_named(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--data-dir", str(tmp_path), *words]) == 1
    out, err = capsys.readouterr()
    assert "nowhere" in err
    assert "assistant ingest PATH --collection NAME" in err
    assert out == ""


@pytest.mark.parametrize("name", ["../up", "a/b", "", "nul\0", "x" * 300])
def test_impossible_collection_names_are_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.md").write_text("# A\n\nText.")
    data = tmp_path / "data"
    words = ["--data-dir", str(data), "ingest", str(tmp_path / "a.md"), "--collection", name]
    assert run(words) == 2
    assert "Error: " in capsys.readouterr().err
    assert not (tmp_path / "up").exists()


def test_a_defect_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("assistant.commands.collections.open_runtime", broken)
    assert run(["collections", "list"]) == 1
    err = capsys.readouterr().err
    assert "Unexpected error: ZeroDivisionError: boom" in err
    assert "Traceback" not in err


def test_output_to_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"{sys.executable} -m assistant --help | true",
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr


def test_a_terminal_gets_a_drawn_table_and_no_control_characters(tmp_path: Path) -> None:
    (tmp_path / "evil\x1b[31m.md").write_text("# Title\n\nSome text.")
    env = {**os.environ, "ASSISTANT_DATA_DIR": str(tmp_path / "data"), "TERM": "xterm"}
    script = [sys.executable, "-m", "assistant"]
    subprocess.run([*script, "ingest", str(tmp_path)], cwd=ROOT, env=env, check=False)
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*script, "documents", "list"], cwd=ROOT, env=env, stdout=child, stderr=child
    )
    os.close(child)
    shown = b""
    while select.select([parent], [], [], 60)[0]:
        try:
            shown += os.read(parent, 65536)
        except OSError:
            break
    process.wait()
    assert "┃" in shown.decode() or "│" in shown.decode()
    assert b"\x1b[31m.md" not in shown


def test_doctor_names_what_is_missing_and_fails(run_assistant: Run, tmp_path: Path) -> None:
    done = run_assistant(
        "--data-dir",
        tmp_path / "data",
        "doctor",
        "--json",
        env={"ASSISTANT_CACHE_DIR": str(tmp_path / "cache")},
    )
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert done.returncode == 1
    assert report["healthy"] is False
    assert checks["model"]["status"] == "fail"
    assert "assistant build" in checks["model"]["detail"]
    assert checks["knowledge"]["status"] == "warn"


def test_a_taken_port_is_told_at_once(run_assistant: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_assistant("--data-dir", tmp_path, "serve", "--port", str(port))
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert "--port" in done.stderr


@pytest.mark.slow
def test_serve_answers_and_stops_cleanly(bank: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "assistant", "--data-dir", str(bank), "serve", "--port", "0"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        ready = ""
        deadline = time.monotonic() + 60
        while "Ready: " not in ready and time.monotonic() < deadline:
            ready = process.stderr.readline()
        address = ready.split()[1].replace("localhost", "127.0.0.1")
        with urllib.request.urlopen(f"{address}/healthz", timeout=30) as response:
            assert json.load(response)["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
