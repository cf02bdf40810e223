"""Files into collections: what goes in, what fails, and what survives."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import event
from storage_helpers import HashingEncoder, Library

from assistant import encoding, ingest
from assistant.errors import BusyError, InvalidInputError, ModelError, StorageError
from assistant.settings import Settings
from assistant.types import IngestProgress, Scope
from indexes.types import FloatArray, Span

SCOPE = Scope(collection="docs")
HERE = Path(__file__).parent
FAQ = "question,answer\nHow do I block my card?,Call 110.\nWhere is the branch?,In Main Street.\n"


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library(settings) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "files"
    (made / "sub").mkdir(parents=True)
    (made / "a.md").write_text("# Cards\n\nA lost card is blocked at once.")
    (made / "b.txt").write_text("转账手续费为每笔五元。", encoding="utf-8")
    (made / "sub" / "c.md").write_text("# Loans\n\nEarly repayment is free.")
    return made


def statuses(library: Library, *paths: Path, scope: Scope = SCOPE, **options: bool):
    report = library.ingestor.ingest(list(paths), scope, **options)
    return {file.source: file.status for file in report.files}


def test_a_folder_goes_in_and_stays_unchanged(library: Library, folder: Path) -> None:
    expected = {"a.md": "added", "b.txt": "added", "sub/c.md": "added"}
    report = library.ingestor.ingest([folder], SCOPE)
    assert {f.source: f.status for f in report.files} == expected
    assert report.collection == "docs"
    assert report.failed == ()
    assert all(f.chunks == 1 and f.document_id for f in report.files)
    assert library.sources("card", SCOPE) == set(expected)
    calls, version = library.encoder.calls, library.storage.catalog.require(SCOPE).version
    again = library.ingestor.ingest([folder], SCOPE)
    assert {f.status for f in again.files} == {"unchanged"}
    assert [f.document_id for f in again.files] == [f.document_id for f in report.files]
    assert library.encoder.calls == calls  # nothing was encoded
    assert library.storage.catalog.require(SCOPE).version == version  # nothing was written


def test_only_what_changed_is_replaced(library: Library, folder: Path) -> None:
    statuses(library, folder)
    (folder / "a.md").write_text("# Cards\n\nA lost card is replaced in two days.")
    (folder / "new.md").write_text("# New\n\nSomething new.")
    assert statuses(library, folder) == {
        "a.md": "replaced",
        "b.txt": "unchanged",
        "new.md": "added",
        "sub/c.md": "unchanged",
    }
    texts = " ".join(hit.text for hit in library.search("lost card", SCOPE).chunks)
    assert "two days" in texts
    assert "blocked at once" not in texts


def test_other_tags_chunk_size_or_encoder_replace(
    library: Library, folder: Path, settings: Settings
) -> None:
    file = folder / "a.md"
    assert statuses(library, file) == {"a.md": "added"}
    tagged = Scope(collection="docs", tags=frozenset({"staff"}))
    assert statuses(library, file, scope=tagged) == {"a.md": "replaced"}
    assert statuses(library, file, scope=tagged) == {"a.md": "unchanged"}
    with Library(settings.model_copy(update={"chunk_tokens": 64})) as other:
        assert statuses(other, file, scope=tagged) == {"a.md": "replaced"}
    with Library(settings, HashingEncoder("hashing-2")) as other:
        assert statuses(other, file, scope=tagged) == {"a.md": "replaced"}


def test_a_table_read_as_faq_and_as_a_document(library: Library, tmp_path: Path) -> None:
    table = tmp_path / "faq.csv"
    table.write_text(FAQ)
    assert statuses(library, table, faq=True) == {"faq.csv": "added"}
    info = library.storage.catalog.stats(SCOPE)
    assert (info.chunks, info.faq_entries) == (0, 2)
    assert library.search("branch", SCOPE).faqs[0].answer == "In Main Street."
    assert statuses(library, table) == {"faq.csv": "replaced"}
    info = library.storage.catalog.stats(SCOPE)
    assert (info.chunks > 0, info.faq_entries) == (True, 0)
    assert library.search("branch", SCOPE).faqs == ()


def test_broken_files_are_named_and_the_rest_goes_in(library: Library, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"\xff\xd8\xff\xe0 not a pdf" * 50)
    (folder / "empty.md").write_text("")
    (folder / "photo.png").write_bytes(b"\x89PNG")
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "out.md").symlink_to("/etc/hostname")
    report = library.ingestor.ingest([folder, folder / "missing.md"], SCOPE)
    failed = {f.source: f.reason for f in report.failed}
    assert set(failed) == {"broken.pdf", "empty.md", "photo.png", "out.md", "missing.md"}
    assert all(failed.values())
    assert sum(f.status == "added" for f in report.files) == 3
    assert library.storage.catalog.stats(SCOPE).documents == 3


def test_a_table_without_questions_is_no_faq(library: Library, folder: Path) -> None:
    report = library.ingestor.ingest([folder / "b.txt"], SCOPE, faq=True)
    assert [f.status for f in report.files] == ["failed"]


def test_nothing_given_makes_no_collection(library: Library, tmp_path: Path) -> None:
    report = library.ingestor.ingest([tmp_path / "missing"], SCOPE)
    assert [f.status for f in report.files] == ["failed"]
    assert library.storage.catalog.collections("default") == []


def test_files_of_the_same_name_stay_apart(library: Library, tmp_path: Path) -> None:
    for bank in ("north", "south"):
        (tmp_path / bank).mkdir()
        (tmp_path / bank / "terms.md").write_text(f"The terms of the {bank}.")
    result = statuses(library, tmp_path / "north", tmp_path / "south")
    assert len(result) == 2
    assert set(result.values()) == {"added"}
    texts = {hit.text for hit in library.search("terms", SCOPE).chunks}
    assert texts == {"The terms of the north.", "The terms of the south."}


@pytest.mark.parametrize("name", ["../x", "", "a/b", "x" * 65])
def test_names_are_checked_before_any_work(library: Library, folder: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64 letters"):
        library.ingestor.ingest([folder], Scope(collection=name))
    with pytest.raises(InvalidInputError, match="1 to 64 letters"):
        library.ingestor.ingest_bytes(b"text", "a.txt", Scope(collection=name))
    assert library.encoder.calls == 0


@pytest.mark.parametrize("tags", [{""}, {"x" * 65}, {"\ud800"}, {str(n) for n in range(65)}])
def test_tags_are_checked(library: Library, folder: Path, tags: set[str]) -> None:
    with pytest.raises(InvalidInputError, match="at most 64 tags"):
        library.ingestor.ingest([folder], Scope(collection="docs", tags=frozenset(tags)))


@pytest.mark.parametrize(
    ("given", "kept"),
    [("a.txt", "a.txt"), ("C:\\Users\\me\\b.txt", "b.txt"), ("../../c.txt", "c.txt")]
    + [("条款 1.txt", "条款 1.txt"), ("d\x00\n.txt", "d\ufffd.txt")],
)
def test_uploaded_names_lose_their_folders(library: Library, given: str, kept: str) -> None:
    result = library.ingestor.ingest_bytes(b"Some text.", given, SCOPE)
    assert (result.source, result.status) == (kept, "added")
    assert library.ingestor.ingest_bytes(b"Some text.", given, SCOPE).status == "unchanged"


@pytest.mark.parametrize("name", ["", "/", "..", ".env", "x" * 300 + ".txt"])
def test_uploaded_names_that_are_none(library: Library, name: str) -> None:
    with pytest.raises(InvalidInputError, match="file name"):
        library.ingestor.ingest_bytes(b"Some text.", name, SCOPE)


def test_an_uploaded_file_that_cannot_be_read(library: Library) -> None:
    result = library.ingestor.ingest_bytes(b"\xff\xd8\xff\xe0" * 100, "a.pdf", SCOPE)
    assert result.status == "failed"
    assert result.reason
    assert library.storage.catalog.collections("default") == []


def test_progress_tells_each_file_in_order(library: Library, folder: Path) -> None:
    seen: list[IngestProgress] = []
    report = library.ingestor.ingest([folder], SCOPE, progress=seen.append)
    assert [p.latest for p in seen] == list(report.files)
    assert [(p.done, p.total) for p in seen] == [(1, 3), (2, 3), (3, 3)]


def test_a_long_document_tells_where_it_is_and_needs_little_memory(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_IN_MEMORY", 1000)  # so that vectors go to a file
    text = "\n\n".join(f"## Part {n}\n\n" + f"This is sentence {n}. " * 30 for n in range(400))
    path = tmp_path / "long.md"
    path.write_text(text)
    seen: list[IngestProgress] = []
    report = library.ingestor.ingest([path], SCOPE, progress=seen.append)
    (file,) = report.files
    assert file.chunks >= 400
    inside = [p for p in seen if p.latest is None]
    assert [p.chunks_done for p in inside] == sorted({p.chunks_done for p in inside})
    assert {(p.current, p.done, p.total, p.chunks_total) for p in inside} == {
        ("long.md", 0, 1, file.chunks)
    }
    assert inside[-1].chunks_done == file.chunks
    hit = library.search("This is sentence 217.", SCOPE, 1).chunks[0]
    own = library.encoder.encode_queries([hit.text])[0]
    again = library.encoder.encode_queries([hit.sentences[0].text])[0]
    assert float(again @ hit.sentences[0].vector) > 0.999  # each vector with its own chunk
    assert own.shape == again.shape


class Choosy(HashingEncoder):
    """Fails on one text, as a tokeniser might."""

    def encode_passages_with_spans(
        self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> tuple[FloatArray, list[FloatArray]]:
        if any("poison" in text for text in texts):
            raise TypeError("cannot take this")
        return super().encode_passages_with_spans(texts, contexts, spans)


def test_a_document_the_encoder_cannot_take_fails_alone(settings: Settings, folder: Path) -> None:
    (folder / "b.txt").write_text("poison")
    with Library(settings, Choosy()) as library:
        report = library.ingestor.ingest([folder], SCOPE)
        assert [(f.source, f.status) for f in report.files] == [
            ("a.md", "added"),
            ("b.txt", "failed"),
            ("sub/c.md", "added"),
        ]
        assert "TypeError: cannot take this" in (report.files[1].reason or "")


class Busy(HashingEncoder):
    """Its queue is full the first time."""

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        if self.calls == 0:
            self.calls += 1
            raise BusyError("full")
        return super().encode_queries(texts)


def test_ingestion_waits_for_a_busy_encoder(settings: Settings) -> None:
    with Library(settings, Busy()) as library:
        result = library.ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True)
        assert (result.status, result.faq_entries) == ("added", 2)


class Broken(HashingEncoder):
    """A model that does not work."""

    def encode_passages_with_spans(
        self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> tuple[FloatArray, list[FloatArray]]:
        raise ModelError("the model is damaged")


def test_a_broken_model_ends_the_ingest(settings: Settings, folder: Path) -> None:
    with Library(settings, Broken()) as library, pytest.raises(ModelError, match="damaged"):
        library.ingestor.ingest([folder], SCOPE)


def fill_disk(library: Library, pages: int) -> None:
    """Let the database grow by this many pages more, then refuse as a full disk does."""

    def limit(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + pages}")

    event.listen(library.storage._database.engine, "checkout", limit)


def test_a_full_disk_keeps_what_was_stored(
    library: Library, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "GROUP_FILES", 1)
    (folder / "b.txt").write_text("A very long text about fees. " * 3_000)
    seen: list[int] = []

    def progress(event: IngestProgress) -> None:
        if event.done and event.done not in seen:
            seen.append(event.done)
        if event.done == 1 and event.latest is not None:
            fill_disk(library, 4)

    report = library.ingestor.ingest([folder], SCOPE, progress=progress)
    first, second, third = report.files
    assert first.status == "added"
    assert (second.status, third.status) == ("failed", "failed")
    assert "is full; nothing of this step was kept" in (second.reason or "")
    assert "not tried" in (third.reason or "")
    assert seen == [1, 2, 3]
    assert library.sources("card", SCOPE) == {"a.md"}
    with pytest.raises(StorageError, match="full"):
        library.ingestor.ingest_bytes(b"more fees " * 5_000, "d.txt", SCOPE)
    with Library(settings) as roomy:  # space was made
        assert set(statuses(roomy, folder).values()) == {"unchanged", "added"}
        roomy.assert_consistent(SCOPE)


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        cwd=HERE.parent,
        env={"PYTHONPATH": f"{HERE.parent}:{HERE}", "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def assert_recovers(settings: Settings, files: Path) -> None:
    """After any death: nothing half-written, indexes as the database, and the rest goes in."""
    raw = sqlite3.connect(settings.data_dir / "assistant.sqlite3")
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    raw.close()
    with Library(settings) as library:
        for collection in library.storage.catalog.collections("default"):
            assert collection.chunks == collection.documents  # one chunk each, or none of it
            library.assert_consistent(SCOPE)
        before = {c.name: c.documents for c in library.storage.catalog.collections("default")}
        result = list(statuses(library, files).values())
        assert result.count("unchanged") == before.get("docs", 0)
        assert result.count("added") == 12 - before.get("docs", 0)
        library.assert_consistent(SCOPE)
    with Library(settings) as library:
        library.assert_consistent(SCOPE)
        assert len(library.sources("note", SCOPE)) == 12


@pytest.fixture
def twelve(tmp_path: Path) -> Path:
    made = tmp_path / "twelve"
    made.mkdir()
    for number in range(12):
        (made / f"{number:02}.md").write_text(f"# Note {number}\n\nThis is note {number}.")
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("point", "count"),
    [("before-commit", 3), ("before-commit", 9), ("statement", 40), ("statement", 75)]
    + [("stored", 1), ("stored", 7), ("fsync", 1), ("fsync", 6), ("fsync", 11)]
    + [("folder-renamed", 1), ("before-swap", 1), ("after-swap", 1)],
)
def test_killed_at_a_point(settings: Settings, twelve: Path, point: str, count: int) -> None:
    child = start(HERE / "ingest_child.py", settings.data_dir, twelve, point, count)
    output, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL, (output, errors)
    assert_recovers(settings, twelve)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_killed_at_any_time(settings: Settings, twelve: Path, delay: float) -> None:
    child = start(HERE / "ingest_child.py", settings.data_dir, twelve, "stored", 1000)
    database = settings.data_dir / "assistant.sqlite3"
    until = time.monotonic() + 30
    while not database.exists() and time.monotonic() < until:
        time.sleep(0.001)
    time.sleep(delay)
    child.kill()
    child.communicate(timeout=60)
    assert_recovers(settings, twelve)


@pytest.mark.slow
def test_two_processes_ingest_at_once(settings: Settings, twelve: Path, folder: Path) -> None:
    (folder / "03.md").write_text("# Note 3\n\nThis is another note 3.")  # both have this one
    (folder / "04.md").write_text((twelve / "04.md").read_text())  # and this, the very same
    children = [
        start(HERE / "ingest_child.py", settings.data_dir, files, "stored", 1000)
        for files in (twelve, folder, twelve)
    ]
    for child in children:
        output, errors = child.communicate(timeout=120)
        assert (child.returncode, output) == (0, "survived\n"), errors
    with Library(settings) as library:
        info = library.storage.catalog.stats(SCOPE)
        assert (info.documents, info.chunks) == (15, 15)
        library.assert_consistent(SCOPE)
