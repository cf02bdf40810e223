"""Micro-batching: every caller gets their own results, whatever the others do."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from assistant.errors import BusyError
from assistant.models.batching import MicroBatcher


class Work:
    """Squares numbers; can be held back, and fails on negative ones."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.started.release()
        assert self.gate.wait(30)
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [item * item for item in items]


def batcher(work: Work, **options: int) -> MicroBatcher[int, int]:
    return MicroBatcher(work, **{"workers": 1, "max_batch": 8, "max_waiting": 100, **options})


@pytest.mark.parametrize("workers", [1, 3])
def test_many_callers_each_get_their_own_in_order(workers: int) -> None:
    work = Work()
    with ThreadPoolExecutor(32) as callers:
        served = batcher(work, workers=workers, max_waiting=1000)
        asked = [[n, n + 1, n + 2] for n in range(300)]
        found = list(callers.map(served.submit, asked))
    served.close()
    assert found == [[n * n for n in items] for items in asked]
    done = [item for batch in work.batches for item in batch]
    assert sorted(done) == sorted(item for items in asked for item in items)


def test_a_lone_caller_is_served_alone_at_once() -> None:
    work = Work()
    served = batcher(work)
    assert [served.submit([n]) for n in range(3)] == [[0], [1], [4]]
    assert work.batches == [[0], [1], [2]]
    served.close()


def test_what_waits_is_grouped() -> None:
    work = Work()
    served = batcher(work, max_batch=8)
    work.gate.clear()
    with ThreadPoolExecutor(10) as callers:
        first = callers.submit(served.submit, [1])
        assert work.started.acquire(timeout=10)
        rest = [callers.submit(served.submit, [n]) for n in range(2, 10)]
        wait_for(lambda: len(served._queue) == 8)
        work.gate.set()
        assert [f.result() for f in [first, *rest]] == [[n * n] for n in range(1, 10)]
    assert [len(batch) for batch in work.batches] == [1, 8]
    served.close()


def wait_for(condition: object, ticks: int = 2000) -> None:
    assert callable(condition)
    pause = threading.Event()
    for _ in range(ticks):
        if condition():
            return
        pause.wait(0.005)
    raise AssertionError("the condition never came")


def test_a_full_queue_says_busy_with_value_limit_and_remedy() -> None:
    work = Work()
    served = batcher(work, max_waiting=2, max_batch=1)
    work.gate.clear()
    with ThreadPoolExecutor(4) as callers:
        running = callers.submit(served.submit, [1])
        assert work.started.acquire(timeout=10)
        waiting = [callers.submit(served.submit, [n]) for n in (2, 3)]
        wait_for(lambda: len(served._queue) == 2)
        with pytest.raises(BusyError, match=r"2 encoding requests.*limit is 2.*QUEUE_SIZE"):
            served.submit([4])
        work.gate.set()
        assert [f.result() for f in (running, *waiting)] == [[1], [4], [9]]
    assert served.submit([5]) == [25]
    served.close()


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    work = Work()
    served = batcher(work)
    work.gate.clear()
    with ThreadPoolExecutor(4) as callers:
        first = callers.submit(served.submit, [1])
        assert work.started.acquire(timeout=10)
        rest = [callers.submit(served.submit, [n]) for n in (2, -1, 3)]
        wait_for(lambda: len(served._queue) == 3)
        work.gate.set()
        assert first.result() == [1]
        assert rest[0].result() == [4]
        with pytest.raises(ValueError, match="negative"):
            rest[1].result()
        assert rest[2].result() == [9]
    assert served.submit([6]) == [36]
    served.close()


def test_a_deadline_frees_the_caller_and_the_work_is_dropped() -> None:
    work = Work()
    served = batcher(work, max_batch=1)
    work.gate.clear()
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(served.submit, [1])
        assert work.started.acquire(timeout=10)
        with pytest.raises(BusyError, match=r"longer than 0\.01 s"):
            served.submit([2], timeout=0.01)
        work.gate.set()
        assert first.result() == [1]
    served.close()
    assert work.batches == [[1]]


def test_closing_serves_what_waits_and_refuses_what_comes() -> None:
    work = Work()
    served = batcher(work, max_batch=1)
    work.gate.clear()
    with ThreadPoolExecutor(4) as callers:
        asked = [callers.submit(served.submit, [n]) for n in (1, 2, 3)]
        assert work.started.acquire(timeout=10)
        wait_for(lambda: len(served._queue) == 2)
        closing = callers.submit(served.close)
        wait_for(lambda: served._closed)
        with pytest.raises(BusyError, match="shutting down"):
            served.submit([9])
        work.gate.set()
        assert sorted(f.result()[0] for f in asked) == [1, 4, 9]
        closing.result(timeout=30)
    served.close()


def test_a_closed_batcher_lets_go_of_its_owner_at_once() -> None:
    """Large models own batchers; a cycle would keep them until Python looks for cycles."""

    class Owner:
        def __init__(self) -> None:
            self.batcher: MicroBatcher[int, int] = MicroBatcher(
                self.run, workers=1, max_batch=4, max_waiting=4
            )

        def run(self, items: Sequence[int]) -> list[int]:
            return list(items)

    gc.disable()
    try:
        owner = Owner()
        assert owner.batcher.submit([1, 2]) == [1, 2]
        kept = weakref.ref(owner)
        owner.batcher.close()
        del owner
        assert kept() is None
    finally:
        gc.enable()
