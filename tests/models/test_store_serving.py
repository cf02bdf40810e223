"""Promotions and rollbacks under load: no request fails, each is answered by one version."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import versions_support as support
from tokenizers import Tokenizer

from assistant.errors import BusyError, ModelError, NotFoundError
from assistant.models import live_models
from assistant.models.encoder import Encoder
from assistant.models.live_models import LiveModels, ModelPool, Served
from assistant.models.manifest import ModelManifest, read_manifest
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE
from assistant.models.session import open_backend
from assistant.models.store import ModelStore
from assistant.models.versions import Version

TEXT = ["lost bank card"]


class Opened(Encoder):
    """A real encoder that counts how many of its kind are open."""

    open = 0
    most = 0
    lock = threading.Lock()

    def __init__(self, folder: Path, manifest: ModelManifest) -> None:
        super().__init__(
            manifest,
            Tokenizer.from_file(str(folder / TOKENIZER_FILE)),
            open_backend(folder / MODEL_FILE, "cpu", 1),
        )
        self.closed = False
        with Opened.lock:
            Opened.open += 1
            Opened.most = max(Opened.most, Opened.open)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        assert not self.closed, "a closed model was asked"
        vectors = super().encode_queries(texts)
        assert not self.closed, "the model was closed under a request"
        return vectors

    def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        super().close()
        with Opened.lock:
            Opened.open -= 1


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    Opened.open = Opened.most = 0
    yield
    assert Opened.open == 0


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("runs")
    return [support.finished(root / f"run{seed}", seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def versions(store: ModelStore, runs: list[Path]) -> list[Version]:
    return [store.add(run, task="intent", name="bank", passport=support.PASSPORT) for run in runs]


def vector_of(version: Version) -> np.ndarray:
    folder = version.part("int8")
    encoder = Opened(folder, read_manifest(folder))
    try:
        return encoder.encode_queries(TEXT)[0]
    finally:
        encoder.close()


def served_by(store: ModelStore, tenant: str = "shared", **more: object) -> Served[Opened]:
    return Served(store, "intent", "bank", tenant, Opened, **more)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def resident_mb() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 1e6


def test_requests_never_fail_while_versions_change_under_them(
    store: ModelStore, versions: list[Version]
) -> None:
    expected = {version.number: vector_of(version) for version in versions}
    store.promote(versions[0])
    served = served_by(store)
    stop, failures, answers = threading.Event(), [], []

    def ask() -> None:
        while not stop.is_set():
            try:
                with served.use() as (version, model):
                    vector = model.encode_queries(TEXT)[0]
                answers.append((version.number, np.array_equal(vector, expected[version.number])))
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    memory, swaps = [], 60
    for swap in range(swaps):
        if swap % 3 == 2:
            newest = store.rollback("intent", "bank")
        else:
            newest = store.promote(versions[(swap + 1) % 3])
        until(lambda wanted=newest: served.status().version == wanted or failures)
        if swap >= swaps // 3:
            gc.collect()
            memory.append(resident_mb())
    count = len(answers)
    until(lambda: len(answers) > count + 20 or failures)
    last = store.current("intent", "bank").number
    stop.set()
    for thread in threads:
        thread.join(20)
    served.close()
    assert failures == []
    assert all(same for _, same in answers), "an answer was of another version than stated"
    assert {number for number, _ in answers} == {1, 2, 3}
    assert {number for number, _ in answers[-4:]} == {last}
    # One in use, one being closed, one coming: never more, however many swaps.
    assert Opened.most <= 3
    third = len(memory) // 3
    assert np.median(memory[-third:]) - np.median(memory[:third]) < 8, memory


def test_a_request_keeps_its_version_open_as_long_as_it_takes(
    store: ModelStore, versions: list[Version]
) -> None:
    one, two, _ = versions
    store.promote(one)
    served = served_by(store)
    with served.use() as (version, model):
        assert version == one
        store.promote(two)
        until(lambda: served.status().version == two)
        assert served.status().requests == 1
        assert not model.closed
        with served.use() as (other, _):
            assert other == two
        model.encode_queries(TEXT)
    assert model.closed, "the last request closes the version that was replaced"
    served.close()


def test_a_version_that_does_not_open_leaves_the_old_one_serving(
    store: ModelStore, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = versions
    store.promote(one)
    served = served_by(store)
    with served.use() as (version, _):
        assert version == one
    store.promote(two)
    path = two.folder / "int8" / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    served.status()
    until(lambda: served.status().problem)
    assert "bank@v2 is damaged: int8/model.onnx has SHA-256" in served.status().problem
    with served.use() as (version, model):
        assert version == one
        model.encode_queries(TEXT)
    path.write_bytes(whole)  # mended: taken at the next try, without another promotion
    assert served.status().version == one
    monkeypatch.setattr(live_models, "RETRY_SECONDS", 0.0)
    served._retry_at = 0.0
    until(lambda: served.status().version == two)
    assert served.status().problem == ""
    store.promote(three)
    until(lambda: served.status().version == three)
    served.close()


def test_a_damaged_pointer_leaves_the_model_serving(
    store: ModelStore, versions: list[Version]
) -> None:
    store.promote(versions[0])
    served = served_by(store)
    with served.use():
        pass
    pointer = store.folder("intent", "bank") / "current.json"
    for text in (
        "",
        "{",
        '{"version": 2}',
        json.dumps({"format": 1, "version": "2", "before": []}),
    ):
        pointer.write_text(text)
        until(lambda: "damaged" in served.status().problem)
        with served.use() as (version, _):
            assert version == versions[0]
    assert store.verify()[0].message.count("current.json is damaged")
    store.promote(versions[1])
    until(lambda: served.status().version == versions[1])
    assert served.status().problem == ""
    assert store.verify() == []
    served.close()


def test_what_cannot_be_opened_at_first_says_why_every_time_and_recovers(
    store: ModelStore, versions: list[Version]
) -> None:
    served = served_by(store)
    with pytest.raises(NotFoundError, match="No version of intent/bank is in use"), served.use():
        pass
    (versions[0].folder / "int8" / "tokenizer.json").write_text("{}")
    edited = versions[0]
    with pytest.raises(ModelError, match="is damaged"):
        store.promote(edited)
    store.promote(versions[1])
    (versions[1].folder / "int8" / "tokenizer.json").unlink()
    for _ in range(2):
        with pytest.raises(ModelError, match=r"tokenizer.json is missing"), served.use():
            pass
    store.promote(versions[2])
    with served.use() as (version, _):
        assert version == versions[2]
    served.close()
    with pytest.raises(BusyError, match="shutting down"), served.use():
        pass
    served.close()


def test_tenants_share_one_open_model_until_one_has_its_own(
    store: ModelStore, versions: list[Version], runs: list[Path]
) -> None:
    store.promote(versions[0])
    live = LiveModels(store)
    acme, other = (live.served("intent", "bank", t, Opened) for t in ("acme", "other"))
    with acme.use() as (_, a), other.use() as (_, b):
        assert a is b
    assert Opened.most == 1
    own = store.add(runs[1], tenant="acme", task="intent", name="bank", passport=support.PASSPORT)
    store.promote(own)
    until(lambda: acme.status().version == own)
    with other.use() as (version, _):
        assert version == versions[0]
    assert {status.tenant: status.version for status in live.statuses()} == {
        "acme": own,
        "other": versions[0],
    }
    assert store.rollback("intent", "bank", "acme") is None
    until(lambda: acme.status().version == versions[0])
    assert len(live.statuses("acme")) == 1
    with pytest.raises(NotFoundError):
        live.served("intent", "absent", "acme", Opened)
    assert len(live.statuses()) == 2
    live.close()
    live.close()
    with pytest.raises(BusyError):
        live.served("intent", "bank", "new", Opened)


def test_many_first_callers_open_a_version_once(store: ModelStore, versions: list[Version]) -> None:
    store.promote(versions[0])
    live = LiveModels(store)
    start, seen = threading.Barrier(8), []

    def ask(tenant: str) -> None:
        start.wait()
        with live.served("intent", "bank", tenant, Opened).use() as (_, model):
            seen.append(id(model))

    threads = [threading.Thread(target=ask, args=(f"tenant{n % 4}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert Opened.most == 1
    live.close()


def test_the_best_precision_built_is_opened(store: ModelStore, versions: list[Version]) -> None:
    store.promote(versions[0])
    opened = []

    def opener(folder: Path, manifest: ModelManifest) -> Opened:
        opened.append(folder.name)
        return Opened(folder, manifest)

    served = Served(store, "intent", "bank", "shared", opener, precisions=("fp16", "int8"))
    with served.use():
        pass
    served.close()
    assert opened == ["int8"]
    pool = ModelPool(store)
    with pytest.raises(ModelError, match="no fp16 model"):
        pool.acquire(versions[0], "fp16", opener)
    assert len(pool) == 0


def test_where_the_better_precision_does_not_run_the_next_one_serves(
    store: ModelStore, runs: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(runs[0], tmp_path / "both")
    shutil.copytree(folder / "int8", folder / "fp16")
    manifest = replace(read_manifest(folder / "fp16"), precision="fp16")
    (folder / "fp16" / "manifest.json").write_text(manifest.to_json())
    store.promote(store.add(folder, task="intent", name="bank", passport=support.PASSPORT))

    def opener(part: Path, manifest: ModelManifest) -> Opened:
        if manifest.precision == "fp16":
            raise ModelError("CUDA did not start.")
        return Opened(part, manifest)

    both = Served(store, "intent", "bank", "shared", opener, precisions=("fp16", "int8"))
    with both.use() as (_, model):
        assert model.manifest.precision == "int8"
    assert "bank@v1 in fp16 cannot be opened: CUDA did not start." in caplog.text
    both.close()
    only = Served(store, "intent", "bank", "shared", opener, precisions=("fp16",))
    with pytest.raises(ModelError, match="CUDA did not start"), only.use():
        pass
    only.close()
