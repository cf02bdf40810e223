"""Collections, uploads, documents and passages over HTTP."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient
from web_support import Service

from assistant.errors import StorageError
from assistant.runtime import Runtime
from assistant.web.uploads import safe_name

MARKDOWN = (
    "# Parking\n\nThe car park opens at six.\n\n## Fees\n\n"
    "A day ticket costs 14 crowns. A monthly permit for the green deck costs 230 crowns.\n"
)


@pytest.fixture
def name(client: TestClient) -> Iterator[str]:
    """A collection of this test's own."""
    made = f"t-{uuid.uuid4().hex[:8]}"
    yield made
    client.delete(f"/api/v1/collections/{made}")


def upload(client: TestClient, name: str, *files: tuple[str, bytes], faq: bool = False):
    return client.post(
        f"/api/v1/collections/{name}/documents",
        params={"faq": "true"} if faq else {},
        files=[("files", (filename, io.BytesIO(data))) for filename, data in files],
    )


def test_upload_ask_read_and_delete(client: TestClient, name: str) -> None:
    response = upload(client, name, ("parking.md", MARKDOWN.encode()))
    assert response.status_code == 200, response.text
    (result,) = response.json()["files"]
    assert (result["source"], result["status"], result["reason"]) == ("parking.md", "added", None)
    identifier = result["document_id"]

    asked = {"question": "What does a monthly permit for the green deck cost?", "collection": name}
    answer = client.post("/api/v1/chat", json=asked).json()
    assert "230 crowns" in answer["answer"]
    citation = next(c for c in answer["citations"] if "230" in c["quote"])

    base = f"/api/v1/collections/{name}/documents"
    listed = client.get(base).json()["documents"]
    assert [d["document_id"] for d in listed] == [identifier]
    passage = client.get(
        f"{base}/{identifier}/passage",
        params={"start": citation["start"], "end": citation["end"], "context": 40},
    ).json()
    assert passage["text"][passage["quote_start"] : passage["quote_end"]] == citation["quote"]
    assert passage["heading_path"] == ["Parking", "Fees"]
    document = client.get(f"{base}/{identifier}").json()
    assert document["text"][passage["start"] :].startswith(passage["text"])
    assert [h["title"] for h in document["headings"]] == ["Parking", "Fees"]

    assert client.delete(f"{base}/{identifier}").status_code == 204
    assert client.get(f"{base}/{identifier}").status_code == 404
    again = client.post("/api/v1/chat", json=asked).json()
    assert again["citations"] == []
    assert "230" not in again["answer"]


def test_each_file_has_its_own_result_in_the_order_sent(client: TestClient, name: str) -> None:
    response = upload(
        client,
        name,
        ("good.md", MARKDOWN.encode()),
        ("photo.pdf", b"\xff\xd8\xff\xe0 a JPEG that calls itself PDF"),
        ("huge.txt", b"word " * 300_000),
        ("strange.xyz", b"?"),
        ("also-good.txt", "营业时间为每日9点至17点。".encode()),
    )
    assert response.status_code == 207
    body = response.json()
    assert [file["source"] for file in body["files"]] == [
        "good.md", "photo.pdf", "huge.txt", "strange.xyz", "also-good.txt",
    ]  # fmt: skip
    statuses = [file["status"] for file in body["files"]]
    assert statuses == ["added", "failed", "failed", "failed", "added"]
    assert body["failed"] == 3
    reasons = [file["reason"] for file in body["files"] if file["status"] == "failed"]
    assert all(reasons)
    assert "1 MB" in reasons[1]
    assert client.get(f"/api/v1/collections/{name}").json()["documents"] == 2


def test_faq_table_gives_its_answers_word_for_word(client: TestClient, name: str) -> None:
    table = "question,answer\nMay I bring a dog to the branch?,Guide dogs only; tie up the rest.\n"
    response = upload(client, name, ("faq.csv", table.encode()), faq=True)
    assert response.json()["files"][0]["faq_entries"] == 1
    asked = {"question": "May I bring a dog to the branch?", "collection": name}
    answer = client.post("/api/v1/chat", json=asked).json()
    assert (answer["kind"], answer["answer"]) == ("faq", "Guide dogs only; tie up the rest.")


def test_the_same_file_again_is_unchanged_and_a_new_version_replaces(
    client: TestClient, name: str
) -> None:
    statuses = [
        upload(client, name, ("a.md", data)).json()["files"][0]["status"]
        for data in (MARKDOWN.encode(), MARKDOWN.encode(), MARKDOWN.replace("14", "15").encode())
    ]
    assert statuses == ["added", "unchanged", "replaced"]
    assert client.get(f"/api/v1/collections/{name}").json()["documents"] == 1


def test_two_files_of_one_name_are_two_documents(client: TestClient, name: str) -> None:
    response = upload(client, name, ("a.md", b"# One\n\nFirst."), ("a.md", b"# Two\n\nSecond."))
    assert [file["source"] for file in response.json()["files"]] == ["a.md", "a (2).md"]
    assert [file["status"] for file in response.json()["files"]] == ["added", "added"]
    texts = [
        client.get(f"/api/v1/collections/{name}/documents/{file['document_id']}").json()["text"]
        for file in response.json()["files"]
    ]
    assert "First." in texts[0]
    assert "Second." in texts[1]


def test_a_declared_size_beyond_the_limit_is_refused_unread(client: TestClient, name: str) -> None:
    response = client.post(
        f"/api/v1/collections/{name}/documents",
        content=b"x",
        headers={
            "Content-Type": "multipart/form-data; boundary=x",
            "Content-Length": str(10**9),
        },
    )
    assert response.status_code == 413
    assert "4 MB" in response.json()["error"]["message"]


def test_an_endless_upload_is_cut_off_at_the_limit(service: Service, name: str) -> None:
    """Sent in chunks without a declared size, until the server answers or hangs up."""
    host, port = urlsplit(service.url).netloc.split(":")
    head = (
        f"POST /api/v1/collections/{name}/documents HTTP/1.1\r\nHost: {host}:{port}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
    block, sent = b"x" * 2**20, 0
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(head.encode() + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 256 and not select.select([line], [], [], 0)[0]:
                line.sendall(f"{len(block):x}\r\n".encode() + block + b"\r\n")
                sent += 1
        assert b" 413 " in line.recv(200)
    # The limit is 4 MB; the rest of what was sent lay in buffers on the way.
    assert sent < 64


def test_upload_without_files_is_refused(client: TestClient, name: str) -> None:
    response = client.post(f"/api/v1/collections/{name}/documents")
    assert response.status_code == 422
    assert "files" in response.json()["error"]["message"]


def test_collections_are_made_listed_and_deleted(client: TestClient, name: str) -> None:
    made = client.post("/api/v1/collections", json={"name": name})
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["documents"]) == (name, 0)
    names = [c["name"] for c in client.get("/api/v1/collections").json()["collections"]]
    assert name in names
    assert "bank" in names
    assert client.delete(f"/api/v1/collections/{name}").status_code == 204
    assert client.get(f"/api/v1/collections/{name}").status_code == 404
    assert client.delete(f"/api/v1/collections/{name}").status_code == 404


@pytest.mark.parametrize("bad", ["../up", "a/b", ".hidden", "a\\b", "x" * 65, " ", "a\nb"])
def test_a_dangerous_collection_name_is_refused(client: TestClient, bad: str) -> None:
    response = client.post("/api/v1/collections", json={"name": bad})
    assert response.status_code == 422
    assert response.json()["error"]["type"] == "invalid_input"


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/collections/..%2F..%2Fetc/documents",
        "/api/v1/collections/%2e%2e/documents",
        "/api/v1/collections/no-such/documents",
        "/api/v1/collections/bank/documents/no-such",
        "/api/v1/collections/bank/documents/no-such/passage?start=0&end=1",
        "/api/v1/conversations/no-such",
    ],
)
def test_what_does_not_exist_is_a_clean_error(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code in {404, 422}
    assert set(response.json()["error"]) == {"type", "message"}


@pytest.mark.parametrize(
    ("start", "end"), [(5, 2), (0, 10**9), (-1, 3), ("a", 3), (10**30, 10**30)]
)
def test_a_range_outside_the_document_is_refused(
    client: TestClient, start: object, end: object
) -> None:
    document = client.get("/api/v1/collections/bank/documents").json()["documents"][0]
    response = client.get(
        f"/api/v1/collections/bank/documents/{document['document_id']}/passage",
        params={"start": str(start), "end": str(end)},
    )
    assert response.status_code == 422


def test_pages_of_a_pdf_are_told(client: TestClient) -> None:
    listed = client.get("/api/v1/collections/bank/documents").json()["documents"]
    pdf = next(d for d in listed if d["source"].endswith(".pdf"))
    base = f"/api/v1/collections/bank/documents/{pdf['document_id']}"
    pages = client.get(base).json()["pages"]
    assert [page["number"] for page in pages] == list(range(1, len(pages) + 1))
    last = pages[-1]
    passage = client.get(
        f"{base}/passage", params={"start": last["start"] + 1, "end": last["start"] + 5}
    ).json()
    assert passage["page"] == last["number"]


def test_a_full_disk_is_told_and_the_service_goes_on(
    client: TestClient, name: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object, **_kwargs: object) -> None:
        raise StorageError("The disk is full; nothing of this upload was kept. Free some space.")

    with monkeypatch.context() as patch:
        patch.setattr(runtime, "ingest", full)
        response = upload(client, name, ("a.md", MARKDOWN.encode()))
    assert response.status_code == 503
    assert response.json()["error"]["type"] == "storage_error"
    assert upload(client, name, ("a.md", MARKDOWN.encode())).status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\费用.xlsx", "费用.xlsx"),
        ("a\x00b\n.md", "a_b_.md"),
        ("", "upload"),
        ("..", "upload"),
        ("/", "upload"),
        ("\ud800.md", "_.md"),
        (".md", "md"),
    ],
)
def test_file_names_are_made_harmless(sent: str, kept: str) -> None:
    assert safe_name(sent) == kept


def test_a_very_long_file_name_keeps_its_ending() -> None:
    kept = safe_name("名" * 500 + ".docx")
    assert kept.endswith(".docx")
    assert len(kept.encode()) <= 200
