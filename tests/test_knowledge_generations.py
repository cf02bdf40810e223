"""Index generations: written in the background, taken from others, mended after damage."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_helpers import HashingEncoder, Library

import indexes.search
from assistant import knowledge
from assistant.errors import ModelError
from assistant.settings import Settings
from assistant.types import Scope

SCOPE = Scope(collection="docs")
CARD = "# Cards\n\nA lost card is blocked within one minute. A new card costs 12 euro."
LOAN = "# Loans\n\nThe interest on a car loan is fixed. Early repayment is free of charge."
FAQ = (
    "question,answer\n"
    "How do I block my card?,Call 110 at once.\n"
    "Where is the branch?,In Main Street."
)


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library(settings) as opened:
        yield opened


def generations(library: Library, index: str) -> list[Path]:
    uid = library.storage.catalog.require(SCOPE).uid
    folder = library.settings.indexes_dir / uid / index
    return sorted(folder.glob("generation-*"))


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "not within the time"
        time.sleep(0.02)


def test_generations_are_written_in_the_background(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 5)
    for number in range(8):
        library.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE)
    wait_for(lambda: bool(generations(library, "chunks")))
    library.put("late.md", LOAN, SCOPE)
    assert "late.md" in library.sources("loan", SCOPE)
    library.assert_consistent(SCOPE)


def test_an_ingest_is_written_for_the_next_start(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("assistant.live.SAVE_ITEMS", 5)
    for number in range(8):
        (tmp_path / f"{number}.md").write_text(f"{CARD} Note {number}.")
    with Library(settings) as library:
        library.ingestor.ingest([tmp_path / "0.md"], SCOPE)
        library.knowledge._compactor.close()
        assert generations(library, "chunks") == []  # too few to be worth it
    with Library(settings) as library:
        library.ingestor.ingest(sorted(tmp_path.glob("*.md")), SCOPE)
    with Library(settings) as library:
        assert len(generations(library, "chunks")) == 1
        library.assert_consistent(SCOPE)
        live = library.knowledge._live_of(library.storage.catalog.require(SCOPE))
        assert live._unsaved["chunks"] == 0


def test_searching_goes_on_while_generations_are_written(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 3)
    present: list[str] = []
    for number in range(40):
        present.append(library.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE))
        if number % 3 == 2:
            library.storage.catalog.delete_document(SCOPE, present.pop(0))
        found = {hit.document_id for hit in library.search("card", SCOPE, 200).chunks}
        assert found == set(present)
    library.assert_consistent(SCOPE)


def test_a_generation_of_another_process_is_taken(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library(settings) as one, Library(settings) as two:
        for number in range(5):
            one.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE)
        two.knowledge.refresh(SCOPE)
        one.knowledge.compact(SCOPE)
        written = generations(one, "chunks")
        assert len(written) == 1
        monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 3)
        two.put("late.md", LOAN, SCOPE)
        two.knowledge.close()  # after the compaction that "late" asked for
        live = two.knowledge._live_of(two.storage.catalog.require(SCOPE))
        assert live.needing_compaction() == []
        assert generations(two, "chunks") == written
        for library in (one, two):
            assert "late.md" in library.sources("loan", SCOPE)
            library.assert_consistent(SCOPE)


def test_a_restart_needs_no_rebuild(settings: Settings) -> None:
    with Library(settings) as library:
        library.put("card.md", CARD, SCOPE)
        library.knowledge.compact(SCOPE)
        written = generations(library, "chunks")
        late = library.put("late.md", LOAN, SCOPE)
        library.put("gone.md", LOAN, SCOPE)
    with Library(settings) as library:
        (gone,) = [d for d in library.storage.catalog.documents(SCOPE) if d.source == "gone.md"]
        library.storage.catalog.delete_document(SCOPE, gone.document_id)
        assert library.sources("card", SCOPE) == {"card.md", "late.md"}
        assert generations(library, "chunks") == written
        assert late in {hit.document_id for hit in library.search("loan", SCOPE).chunks}
        library.assert_consistent(SCOPE)


def files_of(library: Library) -> list[Path]:
    (generation,) = generations(library, "chunks")
    return [path for path in sorted(generation.iterdir()) if path.stat().st_size]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_a_damaged_index_is_built_anew(
    settings: Settings, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with Library(settings) as library:
        library.put("card.md", CARD, SCOPE)
        library.put("loan.md", LOAN, SCOPE)
        library.knowledge.compact(SCOPE)
        names = [path.name for path in files_of(library)]
    assert len(names) > 5
    for name in names:
        with Library(settings) as library:
            (path,) = [path for path in files_of(library) if path.name == name]
            damage(path)
            caplog.clear()
            assert library.sources("card", SCOPE) == {"card.md", "loan.md"}, name
            assert "anew" in caplog.text, name
            library.assert_consistent(SCOPE)


def test_an_index_ahead_of_a_restored_database_is_built_anew(
    settings: Settings, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.sqlite3"
    database = settings.data_dir / "assistant.sqlite3"
    with Library(settings) as library:
        library.put("card.md", CARD, SCOPE)
    shutil.copy(database, backup)
    with Library(settings) as library:
        library.put("loan.md", LOAN, SCOPE)
        library.knowledge.compact(SCOPE)
    for name in ("-wal", "-shm"):
        database.with_name(database.name + name).unlink(missing_ok=True)
    shutil.copy(backup, database)
    with Library(settings) as library:
        assert library.sources("card", SCOPE) == {"card.md"}
        # Its ids are those of the lost document: they must not be taken for known.
        library.put("fees.md", "# Fees\n\nA transfer abroad costs 3 euro.", SCOPE)
        assert library.sources("card", SCOPE) == {"card.md", "fees.md"}
        best = library.search("A transfer abroad costs 3 euro.", SCOPE).chunks[0]
        assert (best.source, round(best.cosine, 2)) == ("fees.md", 1.0)  # by its own vector
        library.assert_consistent(SCOPE)


def test_an_index_that_cannot_be_written_is_served_from_memory(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 2)
    library.settings.indexes_dir.write_text("a file where the folder should be")
    for number in range(5):
        library.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE)
    wait_for(lambda: "not compacted" in caplog.text)
    assert len(library.sources("card", SCOPE)) == 5


def test_another_encoder_is_refused_until_documents_are_encoded_anew(settings: Settings) -> None:
    with Library(settings) as library:
        library.put("card.md", CARD, SCOPE)
        library.put("loan.md", LOAN, SCOPE)
        library.ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True)
        library.knowledge.compact(SCOPE)
    with Library(settings, HashingEncoder("hashing-2")) as library:
        with pytest.raises(ModelError, match=r"3 of 3 documents.*'docs'.*assistant build"):
            library.search("card", SCOPE)
        before = {d.source: d for d in library.storage.catalog.documents(SCOPE)}
        report = library.ingestor.reindex(SCOPE)
        assert {f.status for f in report.files} == {"replaced"}
        assert library.sources("card", SCOPE) == {"card.md", "loan.md"}
        assert library.search("block card", SCOPE).faqs[0].answer == "Call 110 at once."
        library.assert_consistent(SCOPE)
        after = {d.source: d for d in library.storage.catalog.documents(SCOPE)}
        assert {s: d.characters for s, d in before.items()} == {
            s: d.characters for s, d in after.items()
        }
        assert library.ingestor.reindex(SCOPE).files == ()
        assert library.ingestor.reindex_all() == []


def test_rows_kept_in_memory_are_bounded_and_right(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistant.evidence.CACHED_ROWS", 3)
    for number in range(10):
        library.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE)
    for _ in range(2):
        hits = library.search("card", SCOPE, 10).chunks
        assert len({hit.source for hit in hits}) == 10
        assert len(library.knowledge._evidence._chunks._rows) == 3


def test_a_hit_whose_row_is_gone_is_left_out(library: Library) -> None:
    library.put("card.md", CARD, SCOPE)
    library.put("loan.md", LOAN, SCOPE)
    assert len(library.search("card", SCOPE).chunks) == 2
    library.knowledge._evidence._chunks._rows.clear()
    # Behind everyone's back: no version, no deletion noted.
    with sqlite3.connect(library.settings.data_dir / "assistant.sqlite3") as raw:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("DELETE FROM documents WHERE source = 'loan.md'")
    raw.close()
    assert library.sources("card", SCOPE) == {"card.md"}


def test_failed_compaction_is_not_tried_at_every_search(
    library: Library, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 1)
    monkeypatch.setattr(knowledge, "_RETRY_SECONDS", 3600.0)
    library.settings.indexes_dir.write_text("a file where the folder should be")
    for number in range(6):
        library.put(f"{number}.md", f"{CARD} Note {number}.", SCOPE)
        library.search("card", SCOPE)
    wait_for(lambda: "not compacted" in caplog.text)
    time.sleep(0.2)
    assert caplog.text.count("chunks index was not compacted") == 1


class Crowd:
    """Threads that write, delete, compact and search one collection, and what they saw."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.lock = threading.Lock()
        self.present: set[str] = set()
        self.gone: set[str] = set()
        self.problems: list[str] = []
        self.searches = 0
        self.stop = threading.Event()

    def write(self, number: int) -> None:
        for turn in range(30):
            document_id = self.library.put(f"{number}-{turn}.md", f"{CARD} Note {turn}.", SCOPE)
            with self.lock:
                self.present.add(document_id)
            if turn % 2:
                self.delete(document_id)

    def delete(self, document_id: str) -> None:
        with self.lock:
            self.present.discard(document_id)  # from here on it may be seen or not
        self.library.storage.catalog.delete_document(SCOPE, document_id)
        with self.lock:
            self.gone.add(document_id)

    def search(self) -> None:
        while not self.stop.is_set():
            with self.lock:
                must, must_not = set(self.present), set(self.gone)
            found = {hit.document_id for hit in self.library.search("card", SCOPE, 300).chunks}
            with self.lock:
                missing, ghosts = (must & self.present) - found, must_not & found
            self.searches += 1
            if missing or ghosts:
                self.problems.append(f"missing {missing}, still there {ghosts}")

    def compact(self) -> None:
        while not self.stop.is_set():
            self.library.knowledge.compact(SCOPE)

    def run(self) -> None:
        writers = [threading.Thread(target=self.write, args=(n,)) for n in range(3)]
        others = [threading.Thread(target=self.search) for _ in range(3)]
        others.append(threading.Thread(target=self.compact))
        for thread in (*writers, *others):
            thread.start()
        for thread in writers:
            thread.join()
        self.stop.set()
        for thread in others:
            thread.join()


@pytest.mark.slow
def test_a_search_begun_after_a_commit_sees_it(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.search, "MIN_COMPACTION", 10)
    library.put("first.md", CARD, SCOPE)
    crowd = Crowd(library)
    crowd.run()
    assert crowd.problems == []
    assert len(crowd.present) == 45
    assert crowd.searches > 20
    library.assert_consistent(SCOPE)
