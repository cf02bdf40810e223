"""Health, headers, cross-site requests, feedback, the API's description, and the page's waiting."""

from __future__ import annotations

import asyncio
import logging

import pytest
from fastapi.testclient import TestClient
from starlette.requests import Request

from assistant.errors import ModelError, StorageError
from assistant.runtime import Runtime
from assistant.types import Scope
from assistant.web import page as page_module
from assistant.web.api import create_app
from assistant.web.security import CONTENT_POLICY, scope_of


def test_health_is_ok_when_questions_can_be_answered(client: TestClient) -> None:
    response = client.get("/healthz")
    assert response.status_code == 200
    assert response.json()["checks"] == {"model": "ok", "database": "ok"}


def test_health_names_the_part_that_is_missing(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_tenant: str) -> None:
        raise StorageError("The database cannot be reached.")

    monkeypatch.setattr(runtime, "collections", gone)
    response = client.get("/healthz")
    assert response.status_code == 503
    assert response.json()["status"] == "unavailable"
    assert response.json()["checks"] == {
        "model": "ok", "database": "The database cannot be reached.",
    }  # fmt: skip


def test_a_model_that_cannot_load_is_told_and_the_rest_works(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(_self: object = None) -> None:
        raise ModelError("The encoder is not built; run `assistant build`.")

    monkeypatch.setattr(runtime, "warm_up", missing)
    with (
        caplog.at_level(logging.ERROR),
        TestClient(create_app(runtime, page=False)) as client,
    ):
        assert client.get("/api/v1/collections").status_code == 200
    assert "assistant build" in caplog.text


def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/healthz", "/api/v1/collections", "/api/v1/nothing", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "SAMEORIGIN"
        assert headers["content-security-policy"] == CONTENT_POLICY
    assert "http" not in CONTENT_POLICY
    assert "frame-ancestors 'self'" in CONTENT_POLICY


def test_another_site_may_neither_read_nor_change(client: TestClient) -> None:
    foreign = {"Origin": "https://evil.example"}
    read = client.get("/api/v1/collections", headers=foreign)
    assert not [name for name in read.headers if name.startswith("access-control-")]
    for method, path in (
        ("POST", "/api/v1/chat"),
        ("POST", "/api/v1/collections/bank/documents"),
        ("DELETE", "/api/v1/collections/bank"),
    ):
        refused = client.request(method, path, headers=foreign)
        assert refused.status_code == 403
        assert refused.json()["error"]["type"] == "forbidden"
    null = client.post("/api/v1/chat", json={"question": "hi"}, headers={"Origin": "null"})
    assert null.status_code == 403
    assert client.get("/api/v1/collections/bank").status_code == 200


def test_the_own_page_and_a_proxy_in_front_may(client: TestClient) -> None:
    body = {"question": "hello", "collection": "bank"}
    own = client.post("/api/v1/chat", json=body, headers={"Origin": "http://testserver"})
    assert own.status_code == 200
    behind = {"Origin": "https://help.bank.example", "X-Forwarded-Host": "help.bank.example"}
    assert client.post("/api/v1/chat", json=body, headers=behind).status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/api/v1/nothing", "/api", "/api/v2/chat"])
def test_unknown_paths_are_json_404(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found"


def test_a_wrong_method_says_which_is_right(client: TestClient) -> None:
    response = client.get("/api/v1/chat")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


def test_the_description_covers_every_path_and_its_errors(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    tags = {tag["name"] for tag in described["tags"]}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)
            assert set(operation["tags"]) <= tags
            if path.startswith("/api/"):
                assert {"404", "413", "422", "503"} <= set(operation["responses"])
                schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/ErrorBody")
    assert {"/api/v1/chat", "/healthz", "/api/v1/feedback"} <= set(described["paths"])


def test_feedback_is_kept_and_a_later_one_replaces_it(client: TestClient) -> None:
    asked = {"question": "hello", "collection": "bank"}
    identifier = client.post("/api/v1/chat", json=asked).json()["conversation_id"]
    body = {"conversation_id": identifier, "turn_index": 0, "rating": "up"}
    assert client.post("/api/v1/feedback", json=body).status_code == 204
    changed = {**body, "rating": "down", "comment": "太笼统了"}
    assert client.post("/api/v1/feedback", json=changed).status_code == 204
    (turn,) = client.get(f"/api/v1/conversations/{identifier}").json()["turns"]
    assert (turn["rating"], turn["comment"]) == ("down", "太笼统了")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"rating": "meh"}, 422),
        ({"turn_index": -1}, 422),
        ({"turn_index": 99}, 404),
        ({"conversation_id": "nobody"}, 404),
        ({"comment": "x" * 5000}, 413),
    ],
)
def test_unusable_feedback_is_refused(client: TestClient, change: dict, status: int) -> None:
    asked = {"question": "hello", "collection": "bank"}
    identifier = client.post("/api/v1/chat", json=asked).json()["conversation_id"]
    body = {"conversation_id": identifier, "turn_index": 0, "rating": "up", **change}
    assert client.post("/api/v1/feedback", json=body).status_code == status


def test_every_request_acts_for_the_one_tenant() -> None:
    request = Request({"type": "http", "headers": []})
    assert scope_of(request) == Scope("default", "default", frozenset())


def test_the_api_works_when_the_page_cannot_be_built(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_self: object) -> None:
        raise ImportError("gradio is not what it was")

    monkeypatch.setattr(page_module.Page, "_build", broken)
    with TestClient(create_app(runtime)) as client:
        shown = client.get("/")
        assert shown.status_code == 503
        assert "gradio" not in shown.text
        assert client.get("/healthz").status_code == 200
    assert "gradio is not what it was" in caplog.text


def test_a_request_for_the_page_waits_until_it_is_built(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi import FastAPI

    class Slow(page_module.Page):
        def _build(self) -> FastAPI:
            import time

            time.sleep(0.5)
            made = FastAPI()
            made.get("/")(lambda: {"page": "ready"})
            return made

    async def visit() -> list[dict]:
        slow, sent = Slow(runtime), []

        async def receive() -> dict:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "GET", "path": "/", "raw_path": b"/", "root_path": "",
            "query_string": b"", "headers": [], "http_version": "1.1", "scheme": "http",
            "server": ("testserver", 80), "client": ("testclient", 1),
        }  # fmt: skip
        async with slow.running():
            await slow(scope, receive, send)
        return sent

    start, body = asyncio.run(visit())[:2]
    assert start["status"] == 200
    assert body["body"] == b'{"page":"ready"}'
