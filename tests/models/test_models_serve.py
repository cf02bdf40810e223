"""The whole program: a service that runs while the registry is changed by other processes."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import tuned_models as tuned
import versions_support as support
from support import ROOT

from assistant.models.build import build_encoder
from assistant.models.heads import HeadSpec
from assistant.models.store import ModelStore
from assistant.settings import Settings

INTENT = HeadSpec("intent", "sequence", ("card", "loan", "out_of_scope"))
pytestmark = pytest.mark.slow


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A cache with the base build ``tiny``, and finished models of two kinds."""
    source = tiny.hugging_face_folder(tmp_path / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=tmp_path / "cache", encoder="tiny"), source=str(source))
    support.finished(tmp_path / "encoder", 1)
    for seed in (0, 1):
        (tmp_path / f"intent{seed}").mkdir()
        tuned.built(tmp_path / f"intent{seed}" / "int8", INTENT, precision="int8", seed=seed)
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("# lost card\n\nlost bank card fee")
    return {
        **os.environ,
        "ASSISTANT_CACHE_DIR": str(tmp_path / "cache"),
        "ASSISTANT_DATA_DIR": str(tmp_path / "data"),
        "ASSISTANT_ENCODER": "tiny",
        "ASSISTANT_CHUNK_TOKENS": "32",
        "ASSISTANT_DEVICE": "cpu",
    }


def assistant(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "assistant", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@contextmanager
def service(environment: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a running service and what it said until it was ready."""
    with subprocess.Popen(
        [sys.executable, "-m", "assistant", "serve", "--port", "0"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        said: list[str] = []
        assert process.stderr
        try:
            for line in process.stderr:
                said.append(line)
                if line.startswith("Ready"):
                    break
            found = re.search(r"http://\S+", said[-1])
            assert found, said
            reader = threading.Thread(target=process.stderr.read, daemon=True)
            reader.start()
            yield found.group(), said
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) in {0, -signal.SIGTERM}
        finally:
            process.kill()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def add(environment: dict[str, str], tmp_path: Path, folder: str, task: str, name: str) -> None:
    store = ModelStore(Path(environment["ASSISTANT_DATA_DIR"]) / "models")
    store.add(tmp_path / folder, task=task, name=name, passport=support.passport(task, name))


def test_commands_change_what_a_running_service_answers_with(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for seed in (0, 1):
        add(environment, tmp_path, f"intent{seed}", "intent", "bank")
    assistant(environment, "models", "promote", "intent/bank@v1")
    question = {"task": "intent", "texts": ["lost bank card", "fee"]}
    with service(environment) as (url, _):
        seen: list[tuple[str, str]] = []
        stop = threading.Event()

        def send() -> None:
            while not stop.is_set():
                answer = call(f"{url}/api/v1/classify", question)
                seen.append((answer["model"], json.dumps(answer["results"])))

        thread = threading.Thread(target=send)
        thread.start()
        for words, wanted in (
            (("promote", "intent/bank@v2"), "intent/bank@v2"),
            (("rollback", "intent/bank"), "intent/bank@v1"),
            (("promote", "intent/bank@v2"), "intent/bank@v2"),
        ):
            assistant(environment, "models", *words)
            deadline = time.monotonic() + 20
            while seen[-1][0] != wanted:
                assert thread.is_alive(), "a request failed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
        stop.set()
        thread.join(30)
    by_version: dict[str, set[str]] = {}
    for model, results in seen:
        by_version.setdefault(model, set()).add(results)
    assert {model: len(results) for model, results in by_version.items()} == {
        "intent/bank@v1": 1,
        "intent/bank@v2": 1,
    }
    changes = [model for model, _ in itertools.groupby(model for model, _ in seen)]
    assert [change[-2:] for change in changes] == ["v1", "v2", "v1", "v2"]


def test_an_encoder_changes_under_a_running_service_without_a_failed_request(
    environment: dict[str, str], tmp_path: Path
) -> None:
    documents = str(tmp_path / "documents")
    assistant(environment, "ingest", documents, "--collection", "bank")
    add(environment, tmp_path, "encoder", "encoder", "tiny")
    question = {"question": "lost card", "collection": "bank"}
    with service(environment) as (url, _):
        seen: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            while not stop.is_set():
                answer = call(f"{url}/api/v1/chat", question)
                assert answer["kind"] != "smalltalk"
                seen.append(answer["model_versions"]["encoder"])

        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: seen)
        before = seen[0]
        assistant(environment, "models", "promote", "encoder/tiny@v1")
        wait_for(lambda: seen[-1] != before)
        changed = seen[-1]
        listed = call(f"{url}/api/v1/models")
        assert changed[:12] == listed["encoder"][:12]
        assert (listed["encoder_change"], listed["models"][1]["note"]) == ("", "")
        # What another process stores now is of the new encoder, too.
        assistant(environment, "ingest", documents, "--collection", "more")
        call(f"{url}/api/v1/chat", {**question, "collection": "more"})
        assistant(environment, "models", "rollback", "encoder/tiny")
        wait_for(lambda: seen[-1] == before)
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        call(f"{url}/api/v1/chat", {**question, "collection": "more"})
    # One encoder, then the other, then the first again; every request was answered.
    assert [model for model, _ in itertools.groupby(seen)] == [before, changed, before]


def test_an_encoder_promoted_before_the_start_does_not_hold_it_up(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assistant(environment, "ingest", str(tmp_path / "documents"), "--collection", "bank")
    add(environment, tmp_path, "encoder", "encoder", "tiny")
    store = ModelStore(Path(environment["ASSISTANT_DATA_DIR"]) / "models")
    version = store.promote(store.versions("encoder", "tiny")[0])
    part = version.folder / "int8" / "tokenizer.json"
    whole = part.read_bytes()
    part.write_bytes(b"{}")
    question = {"question": "lost card", "collection": "bank"}
    with service(environment) as (url, _):
        before = call(f"{url}/api/v1/chat", question)["model_versions"]["encoder"]
        wait_for(lambda: "is damaged" in call(f"{url}/api/v1/models")["encoder_change"])
        assert call(f"{url}/api/v1/chat", question)["model_versions"]["encoder"] == before
    part.write_bytes(whole)
    with service(environment) as (url, _):
        wait_for(lambda: call(f"{url}/api/v1/models")["models"][1]["note"] == "")
        assert call(f"{url}/api/v1/chat", question)["model_versions"]["encoder"] != before


def test_a_setting_that_names_another_encoder_encodes_at_the_start(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assistant(environment, "ingest", str(tmp_path / "documents"), "--collection", "bank")
    environment = {**environment, "ASSISTANT_ENCODER": str(tmp_path / "encoder" / "int8")}
    with service(environment) as (url, said):
        assert any("bank: 1 documents encoded with the new encoder" in line for line in said)
        assert call(f"{url}/api/v1/chat", {"question": "lost card", "collection": "bank"})


def test_build_applies_an_encoder_of_the_registry(
    environment: dict[str, str], tmp_path: Path
) -> None:
    assistant(environment, "ingest", str(tmp_path / "documents"), "--collection", "bank")
    add(environment, tmp_path, "encoder", "encoder", "mine")
    assistant(environment, "models", "promote", "encoder/mine@v1")
    environment = {**environment, "ASSISTANT_ENCODER": "registry:encoder/mine"}
    output = assistant(environment, "build", "--no-examples")
    assert "bank: 1 replaced" in output
    assert "bank: " not in assistant(environment, "build", "--no-examples")
    answer = assistant(environment, "ask", "lost card", "--collection", "bank", "--json")
    assert '"encoder": "tiny@' in answer
