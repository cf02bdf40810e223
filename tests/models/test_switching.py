"""From one encoder to another: nothing is lost, nothing is mixed, and nobody waits."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models as tiny
import versions_support as support

from assistant import following, switching
from assistant.errors import BusyError, ModelError
from assistant.ingest import Ingestor
from assistant.models.build import build_encoder
from assistant.models.encoders import service_running
from assistant.models.journal import read_pointer, write_pointer
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.preparing import Preparer
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.storage.catalog import COPY_TENANT
from assistant.switching import EncoderSwitch
from assistant.types import FileResult, Question, Scope

BANK, OTHER = Scope(collection="bank"), Scope(tenant="acme", collection="bank")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the base build ``tiny``, and two other encoders."""
    root = tmp_path_factory.mktemp("made")
    source = tiny.hugging_face_folder(root / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=root / "cache", encoder="tiny"), source=str(source))
    for seed in (1, 2):
        support.finished(root / f"run{seed}", seed)
    return root


@pytest.fixture
def settings(made: Path, tmp_path: Path) -> Settings:
    return Settings(
        cache_dir=made / "cache",
        data_dir=tmp_path / "data",
        encoder="tiny",
        chunk_tokens=32,
        device="cpu",
    )


@pytest.fixture
def versions(settings: Settings, made: Path) -> list[Version]:
    return [
        ModelStore.of(settings).add(
            made / f"run{seed}",
            task="encoder",
            name="tiny",
            passport=support.passport("encoder", "tiny"),
        )
        for seed in (1, 2)
    ]


@pytest.fixture
def runtime(settings: Settings, tmp_path: Path) -> Iterator[Runtime]:
    """Two tenants with documents and FAQ, some with tags."""
    opened = Runtime.open(settings)
    for number in range(6):
        opened.ingest_bytes(text(number), f"{number}.md", replace(BANK, tags=frozenset({"a"})))
    opened.ingest_bytes(b"question,answer\nlost card,call the bank\n", "faq.csv", BANK, faq=True)
    opened.ingest_bytes(text(9), "9.md", OTHER)
    yield opened
    opened.close()


def text(number: int) -> bytes:
    return f"# lost card {number}\n\nlost bank card, fee {number}. ".encode() + b"bank fee. " * 20


def state(runtime: Runtime) -> dict[tuple[str, str], dict[str, tuple[str, tuple[str, ...], int]]]:
    """What people see: by tenant and collection, each document's title, tags and chunks."""
    return {
        (tenant, info.name): {
            d.source: (d.title, d.tags, d.chunks + d.faq_entries)
            for d in runtime.documents(Scope(tenant=tenant, collection=info.name))
        }
        for tenant in ("default", "acme")
        for info in runtime.collections(tenant)
    }


def found(runtime: Runtime, scope: Scope) -> set[str]:
    """The documents a search finds, with the encoder the runtime has now."""
    vectors = runtime.encoder.encode_queries(["lost card"])
    hits = runtime.knowledge.search(scope, ["lost card"], vectors, 50)[0]
    return {hit.document_id for hit in hits.chunks}


def expect_whole(runtime: Runtime) -> None:
    for scope in (BANK, OTHER):
        chunked = {d.document_id for d in runtime.documents(scope) if d.chunks}
        assert found(runtime, scope) == chunked


def copies(runtime: Runtime) -> set[str]:
    return {
        one.tenant.removeprefix(COPY_TENANT)
        for one in runtime.storage.catalog.all_collections(copies=True)
        if one.tenant.startswith(COPY_TENANT)
    }


class Load:
    """Threads that do the same again and again, told how often, until one fails."""

    def __init__(self, *actions: Callable[[int], None]) -> None:
        self.failures: list[BaseException] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(a,)) for a in actions]
        for thread in self._threads:
            thread.start()

    def _work(self, action: Callable[[int], None]) -> None:
        for number in itertools.count(1):
            if self._stop.is_set():
                return
            try:
                action(number)
            except BaseException as error:
                self.failures.append(error)
                return

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_everything_is_there_after_the_change_and_after_the_way_back(
    runtime: Runtime, settings: Settings, versions: list[Version]
) -> None:
    store, before = ModelStore.of(settings), state(runtime)
    prints = [runtime.encoder.fingerprint]
    expect_whole(runtime)
    for version in versions:
        store.promote(version)
        reports = runtime.apply_encoder()
        assert {(r.collection, len(r.files)) for r in reports} == {("bank", 7), ("bank", 1)}
        prints.append(runtime.encoder.fingerprint)
        assert state(runtime) == before
        expect_whole(runtime)
        assert copies(runtime) == {prints[-2]}, "only the encoder before is kept"
    assert len(set(prints)) == 3
    store.rollback("encoder", "tiny")
    assert runtime.apply_encoder() == [], "its vectors were kept"
    assert runtime.encoder.fingerprint == prints[1]
    assert state(runtime) == before
    expect_whole(runtime)
    assert [info.name for info in runtime.collections("default")] == ["bank"]
    assert runtime.answer(Question("lost card", BANK)).faq_id is not None


def test_a_new_process_sees_the_same(
    runtime: Runtime, settings: Settings, versions: list[Version]
) -> None:
    ModelStore.of(settings).promote(versions[0])
    runtime.apply_encoder()
    other = Runtime.open(settings)
    assert other.encoder.fingerprint == runtime.encoder.fingerprint
    assert state(other) == state(runtime)
    expect_whole(other)
    other.close()


def test_questions_and_uploads_go_on_while_a_service_changes(
    runtime: Runtime,
    settings: Settings,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    store = ModelStore.of(settings)
    runtime.warm_up()
    answers: list[str] = []
    uploads: dict[str, int] = {}

    def ask(_: int) -> None:
        answer = runtime.answer(Question("lost card", BANK))
        assert answer.faq_id is not None
        answers.append(answer.model_versions["encoder"])

    def upload(number: int) -> None:
        name = f"new{number % 4}.md"
        result = runtime.ingest_bytes(text(100 + number), name, BANK)
        assert result.status in ("added", "replaced")
        uploads[name] = number
        if number % 5 == 0:
            gone = next(d for d in runtime.documents(BANK) if d.source == name)
            runtime.delete_document(BANK, gone.document_id)
            del uploads[name]
        time.sleep(0.01)

    with service_running(settings):
        runtime.follow_encoder()
        load = Load(ask, ask, upload)
        until(lambda: answers)
        seen = [answers[0]]
        for change in (
            lambda: store.promote(versions[0]),
            lambda: store.promote(versions[1]),
            lambda: store.rollback("encoder", "tiny"),
            lambda: store.rollback("encoder", "tiny"),
        ):
            change()
            until(lambda: load.failures or answers[-1] != seen[-1])
            seen.append(answers[-1])
        load.stop()
    assert load.failures == []
    first, second, third = seen[:3]
    assert seen == [first, second, third, second, first]
    stored = {d.source: d.title for d in runtime.documents(BANK)}
    assert {n: t for n, t in stored.items() if n.startswith("new")} == {
        name: f"lost card {100 + number}" for name, number in uploads.items()
    }
    expect_whole(runtime)
    assert runtime.encoder_change == ""


def test_an_interrupted_change_goes_on_where_it_stopped(
    runtime: Runtime, settings: Settings, versions: list[Version]
) -> None:
    before = state(runtime)
    ModelStore.of(settings).promote(versions[0])
    switch = EncoderSwitch(runtime.storage, settings)
    done = []

    def stop_after_three(progress: object) -> None:
        done.append(progress)
        if len(done) == 3:
            raise BusyError("enough")

    with pytest.raises(BusyError, match="enough"):
        switch.prepare(stop_after_three)
    switch.abandon()
    assert state(runtime) == before
    expect_whole(runtime)
    again = EncoderSwitch(runtime.storage, settings)
    reports = again.prepare()
    assert 0 < sum(len(report.files) for report in reports) < 8
    again.abandon()


def test_what_changed_meanwhile_is_noticed_in_the_last_step(
    runtime: Runtime, settings: Settings, versions: list[Version]
) -> None:
    ModelStore.of(settings).promote(versions[0])
    switch = EncoderSwitch(runtime.storage, settings)
    switch.prepare()
    before = runtime.encoder.fingerprint
    documents = {d.source: d.document_id for d in runtime.documents(BANK)}
    for change in (
        lambda: runtime.ingest_bytes(text(50), "0.md", BANK),  # other content
        lambda: runtime.ingest_bytes(text(1), "1.md", replace(BANK, tags=frozenset({"b"}))),
        lambda: runtime.ingest_bytes(text(51), "more.md", BANK),
        lambda: runtime.delete_document(BANK, documents["2.md"]),
    ):
        change()
        assert not switch.complete(), "documents would be lost or come back"
        switch.prepare()
    assert runtime.encoder.fingerprint == before
    expect_whole(runtime)
    catalog = runtime.storage.catalog
    pairs = [
        (live, catalog.require(Scope(COPY_TENANT + switch.encoder.fingerprint, live.uid)))
        for live in catalog.all_collections()
    ]
    runtime.create_collection(Scope(collection="new"))
    assert not runtime.storage.writer.exchange(pairs, "former"), "one would be left behind"
    runtime.delete_collection(Scope(collection="new"))
    runtime.delete_collection(OTHER)
    assert not runtime.storage.writer.exchange(pairs, "former"), "one is gone"
    runtime.ingest_bytes(text(9), "9.md", OTHER)
    switch.prepare()
    expected = state(runtime)
    assert runtime.take_over(switch, lambda: False)
    assert state(runtime) == expected
    expect_whole(runtime)


def test_a_document_that_cannot_be_encoded_stops_the_change(
    runtime: Runtime,
    settings: Settings,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, encoder = state(runtime), runtime.encoder.fingerprint
    real = Preparer.stored

    def broken(self: Preparer, *arguments: object) -> Iterator[object]:
        for number, step in enumerate(real(self, *arguments)):  # type: ignore[arg-type]
            yield FileResult("3.md", "failed", "the disk is odd") if number == 3 else step

    monkeypatch.setattr(Preparer, "stored", broken)
    ModelStore.of(settings).promote(versions[0])
    with pytest.raises(ModelError, match=r"1 documents of 'bank'.*3.md: the disk is odd"):
        runtime.apply_encoder()
    assert runtime.encoder.fingerprint == encoder
    assert state(runtime) == before
    expect_whole(runtime)


def test_a_disk_that_refuses_the_last_step_leaves_all_as_it_was(
    runtime: Runtime,
    settings: Settings,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, encoder = state(runtime), runtime.encoder.fingerprint
    ModelStore.of(settings).promote(versions[0])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(switching, "mark_applied", refuse)
        with pytest.raises(OSError, match="No space"):
            runtime.apply_encoder()
    assert runtime.encoder.fingerprint == encoder
    assert state(runtime) == before
    expect_whole(runtime)
    assert runtime.apply_encoder() == [], "all was encoded already"
    assert runtime.encoder.fingerprint != encoder
    assert state(runtime) == before
    expect_whole(runtime)


def test_a_service_says_why_an_encoder_is_not_in_force(
    runtime: Runtime,
    settings: Settings,
    versions: list[Version],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    store, before = ModelStore.of(settings), runtime.encoder.fingerprint
    with service_running(settings):
        runtime.follow_encoder()
        store.promote(versions[0])
        until(lambda: runtime.encoder.fingerprint != before)
        changed = runtime.encoder.fingerprint
        (versions[1].folder / "int8" / "tokenizer.json").unlink()
        home = store.folder("encoder", "tiny")
        write_pointer(home, read_pointer(home).promoted(2))  # a promotion would notice the damage
        until(lambda: "encoder/tiny@v2 is damaged" in runtime.encoder_change)
        assert runtime.encoder.fingerprint == changed
        with service_running(settings):
            store.rollback("encoder", "tiny")
            store.rollback("encoder", "tiny")
            until(lambda: "2 services run" in runtime.encoder_change)
    assert runtime.encoder.fingerprint == changed
    assert runtime.answer(Question("lost card", BANK)).faq_id is not None


def test_the_same_model_under_another_number_needs_no_work(
    runtime: Runtime, settings: Settings, versions: list[Version], made: Path
) -> None:
    store = ModelStore.of(settings)
    store.promote(versions[0])
    runtime.apply_encoder()
    same = store.add(
        made / "run1", task="encoder", name="tiny", passport=support.passport("encoder", "tiny")
    )
    store.promote(same)
    assert runtime.apply_encoder() == []
    expect_whole(runtime)


def test_a_copy_is_brought_up_to_date_in_place(runtime: Runtime, settings: Settings) -> None:
    catalog = runtime.storage.catalog
    source, target = catalog.require(BANK), catalog.ensure(Scope(collection="copy"))
    ingestor: Ingestor = runtime.ingestor
    assert len(ingestor.copy(source, target).files) == 7
    assert ingestor.copy(source, target).files == ()
    gone = next(d for d in runtime.documents(BANK) if d.source == "4.md")
    runtime.delete_document(BANK, gone.document_id)
    runtime.ingest_bytes(text(77), "5.md", BANK)
    assert [file.source for file in ingestor.copy(source, target).files] == ["5.md"]
    shown = state(runtime)
    assert shown["default", "copy"] == shown["default", "bank"]
