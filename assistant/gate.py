"""Let many pass at once, and one now and then have the place to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_SECONDS = 0.2


class Gate:
    """Many may be inside at once; ``closed`` waits until nobody is and keeps everybody out.

    ``patient``: while it waits, newcomers still enter (for long stays, which should hold up
    nobody); else they wait as well (for short ones, which would never all be out otherwise).
    Who is inside may enter again.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self._patient = patient
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = False
        self._closed = False
        self._mine = threading.local()

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Be inside for the body; waits while the gate is closed."""
        depth: int = getattr(self._mine, "depth", 0)
        with self._changed:
            while not depth and (self._closed or (self._closing and not self._patient)):
                self._changed.wait()
            self._inside += 1
        self._mine.depth = depth + 1
        try:
            yield
        finally:
            self._mine.depth = depth
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self, give_up: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Yield True with nobody inside and nobody entering; False when ``give_up`` said so first.

        One thread at a time may close a gate.
        """
        with self._changed:
            self._closing = True
            while self._inside and not give_up():
                self._changed.wait(_LOOK_SECONDS)
            self._closed = not self._inside
        try:
            yield self._closed
        finally:
            with self._changed:
                self._closing = self._closed = False
                self._changed.notify_all()
