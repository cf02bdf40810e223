"""The composition root: parts are made once, whoever asks first and however many ask."""

import threading
import time

import pytest

import assistant.knowledge
import assistant.models.loading
import indexes.dense
from assistant.errors import BusyError
from assistant.runtime import Runtime
from assistant.settings import Settings


def test_threads_that_ask_for_different_parts_first_never_wait_for_each_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, loads = assistant.models.loading.load_encoder, []

    def slow(given: Settings) -> object:
        loads.append(given)
        time.sleep(0.2)
        return real(given)

    monkeypatch.setattr(assistant.models.loading, "load_encoder", slow)
    runtime = Runtime.open(settings)
    start, seen = threading.Barrier(8), []

    def ask(part: str) -> None:
        start.wait()
        seen.append((part, id(getattr(runtime, part))))

    parts = ["encoder", "knowledge", "ingestor", "dialogue"] * 2
    threads = [threading.Thread(target=ask, args=(part,), daemon=True) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == len(parts), "some threads wait for each other"
    assert len(set(seen)) == 4
    assert len(loads) == 1
    runtime.close()


def test_the_encoder_may_be_asked_for_while_the_knowledge_is_being_made(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The knowledge is under way and about to ask for the encoder when another thread does."""
    under_way = threading.Event()

    def pause(_count: int) -> None:
        under_way.set()
        time.sleep(0.3)

    monkeypatch.setattr(indexes.dense, "limit_threads", pause)
    runtime = Runtime.open(settings)
    threads = [
        threading.Thread(target=getattr, args=(runtime, part), daemon=True)
        for part in ("knowledge", "encoder")
    ]
    threads[0].start()
    assert under_way.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join(15)
    assert not any(thread.is_alive() for thread in threads), "the two wait for each other"
    runtime.close()


def test_a_closed_runtime_makes_nothing_new(settings: Settings) -> None:
    runtime = Runtime.open(settings)
    runtime.close()
    runtime.close()
    with pytest.raises(BusyError, match="shutting down"):
        _ = runtime.encoder
