"""Fine-tuned models over HTTP: what is answered, by which version, and what is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models as tiny
import tuned_models as tuned
import versions_support as support
from fastapi.testclient import TestClient

from assistant.models.build import build_encoder
from assistant.models.heads import HeadSpec
from assistant.models.loading import open_classifier, open_tagger
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import DEFAULT_TENANT
from assistant.web.api import create_app

INTENT = HeadSpec("intent", "sequence", ("card", "loan", "out_of_scope"))
TEXTS = ["lost bank card", "银行卡丢了？", "fee"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the base build ``tiny``, and finished models of every kind."""
    root = tmp_path_factory.mktemp("made")
    source = tiny.hugging_face_folder(root / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=root / "cache", encoder="tiny"), source=str(source))
    for name, heads, seed in (
        ("intent0", [INTENT], 0),
        ("intent1", [INTENT], 1),
        ("tagger", [tuned.TAGS], 0),
        ("multitask", [tuned.SENTIMENT, tuned.TOPICS, tuned.TAGS], 2),
    ):
        (root / name).mkdir()
        tuned.built(root / name / "int8", *heads, precision="int8", seed=seed)
    return root


@pytest.fixture
def settings(made: Path, tmp_path: Path) -> Settings:
    return Settings(
        cache_dir=made / "cache", data_dir=tmp_path / "data", encoder="tiny", device="cpu"
    )


@pytest.fixture
def store(settings: Settings) -> ModelStore:
    return ModelStore.of(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    runtime = Runtime.open(settings)
    app = create_app(runtime, page=False)
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened
    runtime.close()


def add(store: ModelStore, folder: Path, task: str, name: str = "bank", **place: str) -> Version:
    return store.add(folder, task=task, name=name, passport=support.passport(task, name), **place)


def ask(client: TestClient, path: str, **body: object) -> tuple[int, dict]:
    response = client.post(f"/api/v1/{path}", json=body)
    return response.status_code, response.json()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_texts_are_classified_as_by_the_model_itself(
    client: TestClient, store: ModelStore, settings: Settings, made: Path
) -> None:
    store.promote(add(store, made / "intent0", "intent"))
    status, body = ask(client, "classify", task="intent", texts=TEXTS)
    assert status == 200
    assert body["model"] == "intent/bank@v1"
    classifier = open_classifier(settings, "intent", "bank")
    expected = classifier.classify(TEXTS)
    classifier.close()
    for result, wanted in zip(body["results"], expected, strict=True):
        assert result["label"] == wanted.label
        assert result["labels"] == list(wanted.labels)
        assert result["probabilities"] == pytest.approx(dict(wanted.probabilities))
        assert list(result["probabilities"]) == list(INTENT.labels)
    assert ask(client, "classify", task="intent", model="bank", texts=TEXTS) == (200, body)


def test_entities_are_found_as_by_the_model_itself(
    client: TestClient, store: ModelStore, settings: Settings, made: Path
) -> None:
    store.promote(add(store, made / "tagger", "tagger", "names"))
    status, body = ask(client, "entities", texts=TEXTS)
    assert (status, body["model"]) == (200, "tagger/names@v1")
    tagger = open_tagger(settings)
    expected = tagger.tag(TEXTS)
    tagger.close()
    assert any(expected)
    for result, wanted, text in zip(body["results"], expected, TEXTS, strict=True):
        assert [(e["start"], e["end"], e["label"]) for e in result["entities"]] == [
            (e.start, e.end, e.label) for e in wanted
        ]
        assert all(text[e["start"] : e["end"]] == e["text"] for e in result["entities"])


def test_one_model_of_several_heads_serves_their_tasks(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    store.promote(add(store, made / "multitask", "multitask", "all"))
    status, body = ask(client, "classify", task="sentiment", texts=TEXTS)
    assert (status, body["model"]) == (200, "multitask/all@v1")
    assert list(body["results"][0]["probabilities"]) == list(tuned.SENTIMENT.labels)
    status, body = ask(client, "classify", task="topics", texts=TEXTS)
    assert list(body["results"][0]["probabilities"]) == list(tuned.TOPICS.labels)
    assert ask(client, "entities", texts=TEXTS)[1]["model"] == "multitask/all@v1"
    assert ask(client, "classify", task="intent", texts=TEXTS)[0] == 404
    # A model of the task's own comes first, once there is one.
    store.promote(add(store, made / "tagger", "tagger", "names"))
    until(lambda: ask(client, "entities", texts=TEXTS)[1]["model"] == "tagger/names@v1")


def test_a_tenants_own_model_answers_it(client: TestClient, store: ModelStore, made: Path) -> None:
    store.promote(add(store, made / "intent0", "intent"))
    shared = ask(client, "classify", task="intent", texts=TEXTS)[1]
    store.promote(add(store, made / "intent1", "intent", tenant=DEFAULT_TENANT))
    add(store, made / "intent1", "intent", tenant="other")

    def answers() -> dict:
        return ask(client, "classify", task="intent", texts=TEXTS)[1]

    until(lambda: answers()["results"] != shared["results"])
    listed = client.get("/api/v1/models").json()
    assert {row["tenant"] for row in listed["models"]} == {"shared", DEFAULT_TENANT}
    assert [(s["model"], s["version"], s["tenant"]) for s in listed["serving"]] == [
        ("intent/bank", 1, DEFAULT_TENANT)
    ]
    store.rollback("intent", "bank", DEFAULT_TENANT)
    until(lambda: answers()["results"] == shared["results"])


def test_promotions_and_rollbacks_under_load_fail_no_request(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    versions = [add(store, made / f"intent{n}", "intent") for n in range(2)]
    expected = {}
    for version in versions:
        store.promote(version)
        until(
            lambda ref=version.ref: (
                ask(client, "classify", task="intent", texts=TEXTS)[1]["model"] == ref
            )
        )
        expected[version.ref] = ask(client, "classify", task="intent", texts=TEXTS)[1]
    assert len({str(answer["results"]) for answer in expected.values()}) == 2
    stop, wrong, counts = threading.Event(), [], dict.fromkeys(expected, 0)

    def send() -> None:
        while not stop.is_set():
            status, body = ask(client, "classify", task="intent", texts=TEXTS)
            if status != 200 or body != expected[body["model"]]:
                wrong.append((status, body))
                return
            counts[body["model"]] += 1

    threads = [threading.Thread(target=send) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        for back in (True, False):
            newest = store.rollback("intent", "bank") if back else store.promote(versions[1])
            until(
                lambda wanted=newest: (
                    wrong
                    or client.get("/api/v1/models").json()["serving"][0]["version"] == wanted.number
                )
            )
    stop.set()
    for thread in threads:
        thread.join(20)
    assert wrong == []
    assert min(counts.values()) > 0
    assert ask(client, "classify", task="intent", texts=TEXTS)[1] == expected[versions[1].ref]


def test_a_version_that_does_not_open_is_shown_and_not_served(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    one, two = (add(store, made / f"intent{n}", "intent") for n in range(2))
    store.promote(one)
    assert ask(client, "classify", task="intent", texts=TEXTS)[1]["model"] == one.ref
    store.promote(two)
    (two.folder / "int8" / "tokenizer.json").write_text("{}")

    def problem() -> str:
        return client.get("/api/v1/models").json()["serving"][0]["problem"]

    until(problem)
    assert "bank@v2 is damaged" in problem()
    assert ask(client, "classify", task="intent", texts=TEXTS)[1]["model"] == one.ref
    assert client.get("/healthz").status_code == 200


def test_a_model_of_another_kind_is_refused_and_the_old_one_serves(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    one, tagger = (add(store, made / name, "intent") for name in ("intent0", "tagger"))
    store.promote(one)
    assert ask(client, "classify", task="intent", texts=TEXTS)[0] == 200
    store.promote(tagger)
    until(lambda: client.get("/api/v1/models").json()["serving"][0]["problem"])
    said = client.get("/api/v1/models").json()["serving"][0]
    assert "cannot classify texts" in said["problem"]
    assert said["version"] == 1
    assert ask(client, "classify", task="intent", texts=TEXTS)[0] == 200


def test_models_are_listed_with_their_figures(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    store.promote(add(store, made / "intent0", "intent"))
    body = client.get("/api/v1/models").json()
    assert body["encoder"].startswith("tiny@")
    base, intent = body["models"]
    assert (base["task"], base["version"], base["current"]) == ("encoder", None, True)
    assert (intent["version"], intent["current"], intent["gate_passed"]) == (1, True, True)
    assert intent["figure"] == {"value": 0.91, "low": 0.87, "high": 0.94, "n": 200}
    assert body["serving"] == []


def test_nothing_in_use_is_404_and_says_what_to_do(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    for path, body in (("classify", {"task": "intent"}), ("entities", {})):
        status, said = ask(client, path, texts=TEXTS, **body)
        assert (status, said["error"]["type"]) == (404, "not_found")
        assert "assistant train" in said["error"]["message"]
    store.promote(add(store, made / "intent0", "intent"))
    assert ask(client, "classify", task="intent", model="absent", texts=TEXTS)[0] == 404
    assert client.get("/api/v1/models").json()["serving"] == []


def test_a_damaged_model_is_503_and_says_what_to_do(
    client: TestClient, store: ModelStore, made: Path
) -> None:
    version = add(store, made / "intent0", "intent")
    store.promote(version)
    graph = version.folder / "int8" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    status, said = ask(client, "classify", task="intent", texts=TEXTS)
    assert (status, said["error"]["type"]) == (503, "model_error")
    assert "is damaged: int8/model.onnx has SHA-256" in said["error"]["message"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "task: Field required"),
        ({"task": "intent"}, 422, "texts: Field required"),
        ({"task": "intent", "texts": []}, 422, "at least 1 item"),
        ({"task": "intent", "texts": ["x"] * 257}, 422, "at most 256"),
        ({"task": "intent", "texts": [""]}, 422, "texts.0"),
        ({"task": "intent", "texts": ["x", " \n"]}, 422, "texts.1: is empty"),
        ({"task": "intent", "texts": ["a\0b"]}, 422, "NUL"),
        ({"task": "intent", "texts": ["x" * 200_001]}, 413, "texts.0"),
        ({"task": "intent", "texts": "x"}, 422, "texts"),
        ({"task": "intent", "texts": [3]}, 422, "texts.0"),
        ({"task": "intent", "texts": ["x"], "modle": "y"}, 422, "modle"),
        ({"task": "intents", "texts": ["x"]}, 422, "no task 'intents'.*intent, sentiment"),
        ({"task": "encoder", "texts": ["x"]}, 422, "encoder does not classify"),
        ({"task": "../intent", "texts": ["x"]}, 422, "no task"),
        ({"task": "intent", "model": "../x", "texts": ["x"]}, 422, "Model name"),
    ],
)
def test_unusable_requests_are_told_apart(
    client: TestClient, body: dict, status: int, message: str
) -> None:
    import re

    found, said = ask(client, "classify", **body)
    assert found == status, said
    assert re.search(message, said["error"]["message"])
