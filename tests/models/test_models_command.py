"""``assistant models``: what a person sees, what a program reads, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny_models as tiny
import versions_support as support

from assistant.cli import run
from assistant.models.build import build_encoder
from assistant.models.encoders import service_running
from assistant.models.loading import load_encoder
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the base build ``tiny``, and another encoder to add."""
    root = tmp_path_factory.mktemp("made")
    source = tiny.hugging_face_folder(root / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=root / "cache", encoder="tiny"), source=str(source))
    support.finished(root / "run", 1)
    return root


@pytest.fixture(autouse=True)
def settings(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in (
        ("CACHE_DIR", made / "cache"),
        ("DATA_DIR", tmp_path / "data"),
        ("ENCODER", "tiny"),
        ("CHUNK_TOKENS", "32"),
    ):
        monkeypatch.setenv(f"ASSISTANT_{name}", str(value))
    return Settings()


@pytest.fixture
def store(settings: Settings) -> ModelStore:
    return ModelStore.of(settings)


def add(store: ModelStore, made: Path, *, good: bool = True, **place: str) -> Version:
    task, name = place.pop("task", "intent"), place.pop("name", "bank")
    chosen = support.PASSPORT if good else support.FAILED
    passport = support.passport(task, name, metrics=chosen.metrics, gate=chosen.gate)
    return store.add(made / "run", task=task, name=name, passport=passport, **place)


class Said:
    """Runs ``assistant models`` and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = 0
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> str:
        self._capsys.readouterr()  # what was said before
        self.code = run(["models", *arguments])
        self.out, self.err = self._capsys.readouterr()
        return self.out

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


@pytest.fixture
def models(capsys: pytest.CaptureFixture[str]) -> Said:
    return Said(capsys)


def test_the_list_shows_versions_figures_and_the_base_encoder(
    models: Said, store: ModelStore, made: Path
) -> None:
    first = models.json("list")
    assert [(row["task"], row["name"], row["current"]) for row in first] == [
        ("encoder", "tiny", True)
    ]
    store.promote(add(store, made))
    add(store, made, good=False)
    add(store, made, task="topic", name="news", tenant="银行 A")
    lines = [line.split("\t") for line in models("list").splitlines()]
    assert " ".join(lines[0]) == "model tenant version current created metric size gate note"
    assert [line[:4] for line in lines[1:]] == [
        ["encoder/tiny", "shared", "base", "yes"],
        ["intent/bank", "shared", "v1", "yes"],
        ["intent/bank", "shared", "v2", ""],
        ["topic/news", "银行 A", "v1", ""],
    ]
    assert lines[2][5] == "accuracy 0.9100 [0.8700, 0.9400]"
    assert lines[2][6].endswith("B")
    assert [line[7] for line in lines[2:4]] == ["passed", "not passed"]
    rows = models.json("list", "--task", "intent")
    assert [(row["version"], row["current"]) for row in rows] == [(1, True), (2, False)]
    assert rows[0]["figure"] == {"value": 0.91, "low": 0.87, "high": 0.94, "n": 200}
    assert [row["task"] for row in models.json("list", "--tenant", "银行 A")] == [
        "encoder",
        "topic",
    ]


def test_a_damaged_version_is_listed_with_what_is_wrong(
    models: Said, store: ModelStore, made: Path
) -> None:
    version = add(store, made)
    (version.folder / "passport.json").write_text("{")
    row = models.json("list", "--task", "intent")[0]
    assert "passport.json cannot be read" in row["note"]


def test_a_passport_is_readable_and_complete(models: Said, store: ModelStore, made: Path) -> None:
    store.promote(add(store, made))
    add(store, made)
    text = models("show", "intent/bank")
    assert "intent/bank@v1, tenant shared, current; int8" in text
    for part in ("CC-BY-4.0", "0.9100 [0.8700, 0.9400]", 'method = "lora"', "at least 0.9"):
        assert part in text
    shown = models.json("show", "intent/bank@v2")
    assert shown["model"] == "intent/bank@v2"
    assert shown["current"] is False
    assert shown["passport"]["data"]["licences"] == ["CC-BY-4.0"]
    assert shown["sizes_bytes"]["int8"] > 1000
    models("show", "intent/bank@v7")
    assert (models.code, "there is v1, v2" in models.err) == (1, True)
    models("show", "intent/absent")
    assert (models.code, "there is intent/bank" in models.err) == (1, True)
    base = models.json("show", "encoder/tiny")
    assert base["name"] == "tiny"
    assert base["size_bytes"] > 1000


def test_promotion_holds_to_the_gate_and_records_the_override(
    models: Said, store: ModelStore, made: Path
) -> None:
    add(store, made)
    add(store, made, good=False)
    assert "intent/bank@v1 is current" in models("promote", "intent/bank@v1")
    models("promote", "intent/bank@v2")
    assert models.code == 2
    assert "did not pass its gate" in models.err
    assert store.current("intent", "bank").number == 1
    said = models.json("promote", "intent/bank@v2", "--override", "wanted for a test")
    assert (said["model"], said["before"]) == ("intent/bank@v2", 1)
    assert "intent/bank@v1 is current" in models("rollback", "intent/bank")
    events = models.json("history", "intent/bank")
    assert [event["action"] for event in events] == [
        *("added", "added", "promoted", "promoted", "rolled_back")
    ]
    assert events[3]["override"] == "wanted for a test"
    assert "wanted for a test" in models("history", "intent/bank")
    models("rollback", "intent/bank")
    assert models.code == 2
    assert "nothing to go back to" in models.err


def test_a_tenant_goes_back_to_the_shared_model(
    models: Said, store: ModelStore, made: Path
) -> None:
    store.promote(add(store, made))
    add(store, made, tenant="acme")
    models("promote", "intent/bank@v1", "--tenant", "acme")
    assert models.code == 0
    said = models.json("rollback", "intent/bank", "--tenant", "acme")
    assert (said["model"], said["tenant"]) == ("intent/bank@v1", "shared")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "bank"], "names no model"),
        (["show", "intents/bank"], "no task 'intents'"),
        (["show", "intent/../bank"], "Model name"),
        (["promote", "intent/bank"], "names no version"),
        (["promote", "intent/bank@2"], "names no version|ends in no version"),
        (["rollback", "intent/bank@v1"], "Leave @v1 out"),
        (["delete", "intent/bank", "--yes"], "names no version"),
        (["list", "--tenant", "../x"], "Tenant"),
    ],
)
def test_wrong_use_is_exit_code_2(models: Said, words: list[str], message: str) -> None:
    import re

    models(*words)
    assert models.code == 2
    assert re.search(message, models.err)


def test_verify_names_all_damage(models: Said, store: ModelStore, made: Path) -> None:
    one, two = add(store, made), add(store, made)
    three = add(store, made, task="topic", name="news", tenant="acme")
    store.promote(one)
    assert models("verify") == "3 models checked, 0 problems.\n"
    assert models.code == 0
    graph = one.folder / "int8" / "model.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(data)
    (two.folder / "int8" / "tokenizer.json").unlink()
    (three.folder / "run.pkl").write_bytes(b"\x80\x04.")
    pointer = store.folder("intent", "bank") / "current.json"
    pointer.write_text(pointer.read_text().replace('"version": 1', '"version": 9'))
    said = models.json("verify")
    assert models.code == 1
    found = {(p["model"], p["tenant"]): p["problem"] for p in said["problems"]}
    assert "SHA-256" in found["intent/bank@v1", "shared"]
    assert "tokenizer.json is missing" in found["intent/bank@v2", "shared"]
    assert "run.pkl was not there" in found["topic/news@v1", "acme"]
    pointer_problems = [p["problem"] for p in said["problems"] if p["model"] == "intent/bank"]
    assert any("v9 is not there" in problem for problem in pointer_problems)
    assert any("history leads to v1" in problem for problem in pointer_problems)
    assert "run.pkl" not in models("verify", "intent/bank")
    assert models.code == 1
    models("verify", "topic/news")
    assert (models.code, "run.pkl" in models.out) == (1, True)
    models("verify", "encoder/tiny")
    assert models.code == 0
    models("verify", "intent/absent")
    assert (models.code, "no model intent/absent" in models.err) == (1, True)


def test_verify_covers_the_base_encoder(
    models: Said, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    shutil.copytree(made / "cache", tmp_path / "cache")
    monkeypatch.setenv("ASSISTANT_CACHE_DIR", str(tmp_path / "cache"))
    next((tmp_path / "cache").rglob("tokenizer.json")).write_text("{}")
    said = models.json("verify")
    assert models.code == 1
    assert [problem["model"] for problem in said["problems"]] == ["encoder/tiny"]


def test_a_version_not_in_use_can_be_deleted(models: Said, store: ModelStore, made: Path) -> None:
    store.promote(add(store, made))
    add(store, made)
    models("delete", "intent/bank@v1", "--yes")
    assert (models.code, "in use" in models.err) == (2, True)
    assert models.json("delete", "intent/bank@v2", "--yes")["deleted"] == "intent/bank@v2"
    assert [version.number for version in store.versions("intent", "bank")] == [1]
    assert add(store, made).number == 3, "a number is never given twice"
    assert store.verify() == []


# --- an encoder ----------------------------------------------------------------------------------


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.md").write_text(f"# lost card {number}\n\nlost bank card fee {number}")
    assert run(["ingest", str(folder), "--collection", "bank"]) == 0
    return folder


def answers(settings: Settings) -> int:
    """How many chunks the collection finds; ModelError when its vectors are another encoder's."""
    from assistant.runtime import Runtime
    from assistant.types import Scope

    runtime = Runtime.open(settings)
    try:
        vectors = runtime.encoder.encode_queries(["lost card"])
        found = runtime.knowledge.search(Scope(collection="bank"), ["lost card"], vectors, 5)
        return len(found[0].chunks)
    finally:
        runtime.close()


def fingerprint(settings: Settings) -> str:
    encoder = load_encoder(settings)
    encoder.close()
    return encoder.fingerprint


def test_promoting_an_encoder_encodes_what_is_stored(
    models: Said, store: ModelStore, made: Path, settings: Settings, documents: Path
) -> None:
    base = fingerprint(settings)
    add(store, made, task="encoder", name="tiny")
    assert "encoder/tiny@v1 is current" in models("promote", "encoder/tiny@v1")
    assert "bank: 3 documents encoded with the new encoder" in models.err
    assert fingerprint(settings) != base
    assert answers(settings) == 3
    (documents / "3.md").write_text("# a fee\n\nbank card fee")
    assert run(["ingest", str(documents), "--collection", "bank"]) == 0
    assert answers(settings) == 4
    assert "The base build of tiny is current" in models("rollback", "encoder/tiny")
    assert "bank: 1 documents encoded" in models.err, "the vectors from before are still there"
    assert fingerprint(settings) == base
    assert answers(settings) == 4


def test_a_damaged_encoder_is_not_put_in_force(
    models: Said, store: ModelStore, made: Path, settings: Settings, documents: Path
) -> None:
    base = fingerprint(settings)
    version = add(store, made, task="encoder", name="tiny")
    store.promote(version)
    (version.folder / "int8" / "tokenizer.json").write_text("{}")
    from assistant.errors import ModelError
    from assistant.runtime import Runtime

    runtime = Runtime.open(settings)
    with pytest.raises(ModelError, match=r"encoder/tiny@v1 is damaged.*tokenizer.json"):
        runtime.apply_encoder()
    runtime.close()
    assert fingerprint(settings) == base
    assert answers(settings) == 3


def test_a_running_service_is_left_to_change_over_itself(
    models: Said, store: ModelStore, made: Path, settings: Settings, documents: Path
) -> None:
    base = fingerprint(settings)
    add(store, made, task="encoder", name="tiny")
    with service_running(settings):
        models("promote", "encoder/tiny@v1")
        assert models.code == 0
        assert "in the background" in models.err
        assert fingerprint(settings) == base
        assert answers(settings) == 3
        rows = models.json("list")
        assert [(row["version"], row["current"]) for row in rows] == [(None, True), (1, True)]
        assert "not in force yet" in rows[1]["note"]
    models("promote", "encoder/tiny@v1")  # again, with no service: carried out here
    assert "bank: 3 documents encoded" in models.err
    assert answers(settings) == 3
    rows = models.json("list")
    assert [(row["version"], row["current"]) for row in rows] == [(None, False), (1, True)]
    assert rows[1]["note"] == ""
