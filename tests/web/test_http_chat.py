"""POST /api/v1/chat: the contract, streaming, refusals, and staying responsive."""

from __future__ import annotations

import json
import threading
import time

import pytest
from fastapi.testclient import TestClient

from assistant.errors import BusyError, ModelError, NotFoundError, StorageError, TooLargeError
from assistant.runtime import Runtime
from assistant.types import Question, Scope

CHAT = "/api/v1/chat"
KNOWN = {"question": "How long does an international transfer take?", "collection": "bank"}
CONTRACT = {
    "answer", "kind", "confidence", "language", "faq_id", "citations", "candidates",
    "conversation_id", "model_versions", "timings_ms",
}  # fmt: skip


def events(body: str) -> list[tuple[str, dict]]:
    """Parse server-sent events by hand: one `event:` and one `data:` line each."""
    found = []
    for block in body.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        found.append((name[7:], json.loads(data[6:])))
    return found


def test_answer_is_the_contract_and_quotes_the_document(client: TestClient) -> None:
    response = client.post(CHAT, json=KNOWN)
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == CONTRACT
    assert answer["kind"] == "faq"
    assert answer["language"] == "en"
    assert 0 <= answer["confidence"] <= 1
    citation = answer["citations"][0]
    text = client.get(
        f"/api/v1/collections/bank/documents/{citation['document_id']}"
    ).json()["text"]  # fmt: skip
    assert text[citation["start"] : citation["end"]] == citation["quote"] == answer["answer"]


def test_chinese_question_gets_a_chinese_answer(client: TestClient) -> None:
    answer = client.post(CHAT, json={"question": "白金卡年费多少？", "collection": "bank"}).json()
    assert answer["language"] == "zh"
    assert "980" in answer["answer"]


def test_conversation_is_continued_and_kept(client: TestClient) -> None:
    first = client.post(CHAT, json=KNOWN).json()
    identifier = first["conversation_id"]
    second = client.post(
        CHAT, json={**KNOWN, "question": "and what does it cost?", "conversation_id": identifier}
    ).json()
    assert second["conversation_id"] == identifier
    turns = client.get(f"/api/v1/conversations/{identifier}").json()["turns"]
    assert [turn["question"] for turn in turns] == [KNOWN["question"], "and what does it cost?"]
    assert turns[0]["answer"] == first
    listed = client.get("/api/v1/conversations").json()["conversations"]
    assert identifier in {entry["conversation_id"] for entry in listed}


@pytest.mark.parametrize("way", ["header", "field"])
def test_stream_gives_the_text_in_pieces_then_the_answer(client: TestClient, way: str) -> None:
    headers = {"Accept": "text/event-stream"} if way == "header" else {}
    body = KNOWN if way == "header" else {**KNOWN, "stream": True}
    response = client.post(CHAT, json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    *pieces, (last, answer) = events(response.text)
    assert last == "answer"
    assert set(answer) == CONTRACT
    assert {name for name, _ in pieces} == {"delta"}
    assert len(pieces) > 1
    assert "".join(data["text"] for _, data in pieces) == answer["answer"]


def test_refused_question_is_an_http_error_also_when_streaming(client: TestClient) -> None:
    response = client.post(CHAT, json={"question": "  ", "stream": True})
    assert response.status_code == 422
    assert response.json()["error"]["type"] == "invalid_input"


def test_failure_in_mid_stream_is_an_error_event(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(_question: Question):
        yield "The first words "
        raise BusyError("256 questions wait, the limit; try again in a moment.")

    monkeypatch.setattr(runtime, "stream", stream)
    response = client.post(CHAT, json={**KNOWN, "stream": True})
    assert response.status_code == 200
    (first, _), (last, data) = events(response.text)
    assert (first, last) == ("delta", "error")
    assert data["error"] == {
        "type": "busy", "message": "256 questions wait, the limit; try again in a moment.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "hint"),
    [
        ({"question": ""}, 422, ""),
        ({"question": "\n\t 　"}, 422, ""),
        ({"question": "a\0b"}, 422, "NUL"),
        ({"question": "x" * 5000}, 413, "4,000"),
        ({"question": "hello", "colection": "bank"}, 422, "colection"),
        ({"question": 7}, 422, "question"),
        ({"question": "hello", "tags": ["a"] * 40}, 422, "tags"),
        ({"question": "hello", "collection": "../../etc"}, 422, "../../etc"),
        ({"question": "hello", "conversation_id": "x" * 500}, 422, "conversation_id"),
        ({}, 422, "question"),
    ],
)
def test_unusable_request_is_refused_with_its_reason(
    client: TestClient, body: dict, status: int, hint: str
) -> None:
    response = client.post(CHAT, json=body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"type", "message"}
    assert hint in error["message"]


@pytest.mark.parametrize("body", [rb'{"question": "\ud800"}', rb'{"question": "a \udfff b"}'])
def test_lone_surrogates_are_refused(client: TestClient, body: bytes) -> None:
    response = client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert "surrogate" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "question", ["😀🎉", "مرحبا كيف الحال", "<script>alert(1)</script>", "ﷺ" * 50]
)
def test_odd_but_valid_text_is_answered(client: TestClient, question: str) -> None:
    response = client.post(CHAT, json={"question": question, "collection": "bank"})
    assert response.status_code == 200
    assert response.json()["kind"] in {"clarify", "abstain", "smalltalk", "faq", "grounded"}


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "application/json"), (b"question=hello", "application/x-www-form-urlencoded"),
     (b"\xff\xfe", "application/json"), (b"[" * 100_000, "application/json")],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(client: TestClient, content: bytes, kind: str) -> None:
    response = client.post(CHAT, content=content, headers={"Content-Type": kind})
    assert response.status_code in {400, 422}
    assert set(response.json()) == {"error"}


def test_a_megabyte_question_is_refused_before_it_is_parsed(client: TestClient) -> None:
    response = client.post(CHAT, json={"question": "为" * 2**20})
    assert response.status_code == 413
    assert "1 MB" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (BusyError("full"), 503, "busy"),
        (ModelError("gone"), 503, "model_error"),
        (StorageError("disk full"), 503, "storage_error"),
        (NotFoundError("no such"), 404, "not_found"),
        (TooLargeError("long"), 413, "too_large"),
    ],
)
def test_expected_errors_have_their_status(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception,
    status: int, name: str,
) -> None:  # fmt: skip
    def fail(_question: Question) -> None:
        raise error

    monkeypatch.setattr(runtime, "answer", fail)
    response = client.post(CHAT, json=KNOWN)
    assert response.status_code == status
    assert response.json() == {"error": {"type": name, "message": str(error)}}
    assert ("retry-after" in response.headers) == (status == 503)


def test_unexpected_error_shows_an_id_and_nothing_else(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def fail(_question: Question) -> None:
        raise RuntimeError("password is hunter2")

    monkeypatch.setattr(runtime, "answer", fail)
    response = client.post(CHAT, json=KNOWN)
    assert response.status_code == 500
    assert response.json()["error"]["type"] == "internal"
    assert "hunter2" not in response.text
    assert "Traceback" not in response.text
    identifier = response.json()["error"]["message"].split("id ")[1].split(")")[0]
    record = next(r for r in caplog.records if identifier in r.getMessage())
    assert "hunter2" in str(record.exc_info)


def test_a_slow_answer_does_not_hold_up_the_others(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, release = threading.Event(), threading.Event()
    real = runtime.answer

    def slow(question: Question):
        started.set()
        assert release.wait(20)
        return real(question)

    monkeypatch.setattr(runtime, "answer", slow)
    replies: list[int] = []
    asking = threading.Thread(
        target=lambda: replies.append(client.post(CHAT, json=KNOWN).status_code)
    )
    asking.start()
    assert started.wait(10)
    begin = time.monotonic()
    assert client.get("/healthz").status_code == 200
    assert time.monotonic() - begin < 5
    assert not replies
    release.set()
    asking.join(20)
    assert replies == [200]


def test_tags_narrow_what_may_be_seen(
    client: TestClient, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Scope] = []
    real = runtime.answer

    def note(question: Question):
        seen.append(question.scope)
        return real(question)

    monkeypatch.setattr(runtime, "answer", note)
    answer = client.post(CHAT, json={**KNOWN, "tags": ["nobody"]}).json()
    assert seen == [Scope("default", "bank", frozenset({"nobody"}))]
    assert answer["citations"] == []
