"""Serve many callers at once with few runs: a bounded queue in front of a batch function."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from assistant.errors import BusyError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Request(Generic[Item, Result]):
    """One caller's items and the results so far."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.cancelled = False
        self.done = threading.Event()


class MicroBatcher(Generic[Item, Result]):
    """Groups what concurrent callers submit and hands it to ``run`` on worker threads.

    There is no waiting window: an idle worker starts at once, and what arrives while all workers
    are busy forms the next batches, shared out evenly among them.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        workers: int,
        max_batch: int,
        max_waiting: int,
    ) -> None:
        self._run = run
        self._workers = max(1, workers)
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._queue: deque[_Request[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._closed = False

    def submit(self, items: Sequence[Item], timeout: float | None = None) -> list[Result]:
        """Return the results for ``items`` in their order; blocks until they are there.

        Raises BusyError when the queue is full, the timeout (seconds) passes or the batcher is
        closed, and whatever ``run`` raised for the batch.
        """
        request: _Request[Item, Result] = _Request(items)
        with self._changed:
            if self._closed:
                raise BusyError("The encoder is shutting down; send the request again later.")
            if len(self._queue) >= self._max_waiting:
                raise BusyError(
                    f"{len(self._queue)} encoding requests are waiting, the limit is "
                    f"{self._max_waiting}: try again in a moment or raise ASSISTANT_QUEUE_SIZE."
                )
            self._queue.append(request)
            self._start_workers()
            self._changed.notify()
        if not request.done.wait(timeout):
            request.cancelled = True
            raise BusyError(f"Encoding took longer than {timeout} s; try again in a moment.")
        if request.error is not None:
            raise request.error
        return request.results

    def close(self) -> None:
        """Serve what is queued, then stop the workers. Safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            threads = list(self._threads)
        for thread in threads:
            thread.join()
        # ``run`` is mostly a method of this batcher's owner. Without it the two are no cycle, so
        # that the owner's memory, perhaps hundreds of MB, goes when it is let go of.
        self._run = _nothing

    def _start_workers(self) -> None:
        while len(self._threads) < self._workers:
            thread = threading.Thread(
                target=self._work, name=f"micro-batch-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while batch := self._take():
            self._serve(batch)

    def _take(self) -> list[_Request[Item, Result]]:
        """Wait for requests and take this worker's share; empty when closed and drained."""
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            share = min(self._max_batch, -(-len(self._queue) // self._workers))
            return [self._queue.popleft() for _ in range(share)]

    def _serve(self, batch: Sequence[_Request[Item, Result]]) -> None:
        live = [request for request in batch if not request.cancelled]
        try:
            self._answer(live)
        except BaseException as error:  # the worker must live on, whatever one request causes
            if len(live) > 1:
                # One bad request must not fail the others it happened to travel with.
                for request in live:
                    self._serve([request])
            for request in live:
                request.error = error if len(live) == 1 else request.error
        for request in batch:
            request.done.set()

    def _answer(self, live: Sequence[_Request[Item, Result]]) -> None:
        items = [item for request in live for item in request.items]
        results = list(self._run(items)) if items else []
        start = 0
        for request in live:
            request.results = results[start : start + len(request.items)]
            start += len(request.items)


def _nothing(items: Sequence[Item]) -> Sequence[Result]:
    raise BusyError(f"This model is closed; {len(items)} texts came too late.")
