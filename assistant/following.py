"""Have a running service change over to the encoder promoted, while it goes on answering."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from assistant.errors import AssistantError, BusyError
from assistant.models.encoders import pending_encoder, services_running
from assistant.models.versions import Version
from assistant.settings import Settings
from assistant.storage import Storage
from assistant.switching import EncoderSwitch
from assistant.types import IngestProgress

LOOK_SECONDS = 1.0
RETRY_SECONDS = 60.0
"""A change that failed is tried again after this time, or when another version is promoted."""

Pending = tuple[Version | None, Version | None]
_log = logging.getLogger(__name__)


class Serving(Protocol):
    """What is needed of ``assistant.runtime.Runtime``."""

    @property
    def settings(self) -> Settings: ...
    @property
    def storage(self) -> Storage: ...
    def take_over(self, switch: EncoderSwitch, give_up: Callable[[], bool]) -> bool: ...


class EncoderFollower:
    """A background thread that notices a promotion and carries it out. ``status`` is for people."""

    def __init__(self, runtime: Serving) -> None:
        self.status = ""
        self._runtime = runtime
        self._stop = threading.Event()
        self._failed: Pending | None = None
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._run, name="encoder-follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; what has been encoded is kept for the next try."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                pending = pending_encoder(self._runtime.settings)
                if pending is None:
                    self.status, self._failed = "", None
                elif pending != self._failed or time.monotonic() >= self._retry_at:
                    self._change(pending)
            except Exception as error:
                self._note(error)

    def _change(self, pending: Pending) -> None:
        self._failed, self._retry_at = pending, time.monotonic() + RETRY_SECONDS
        runtime = self._runtime
        running = services_running(runtime.settings)
        if running > 1:
            raise BusyError(
                f"{running} services run on this data, which must all change at once: stop them "
                "and start them again."
            )
        switch = EncoderSwitch(runtime.storage, runtime.settings)
        _log.info("Encoding all documents with %s, beside what is served", switch.name)

        def show(progress: IngestProgress) -> None:
            self.status = (
                f"encoding documents with {switch.name}: {progress.done} of {progress.total} in "
                "this collection; until it is done the encoder before answers"
            )
            if self._stop.is_set() or pending_encoder(runtime.settings) != pending:
                raise BusyError("The change to another encoder was called off.")

        try:
            switch.prepare(show)
            taken = runtime.take_over(switch, self._stop.is_set)
        except BaseException:
            switch.abandon()
            raise
        if not taken:
            switch.abandon()
            return
        _log.info("%s is in force from now on", switch.name)
        self.status, self._failed = "", None
        switch.drop_others()

    def _note(self, error: Exception) -> None:
        if self._stop.is_set():
            return
        self.status = f"the encoder promoted is not in force: {error}"
        _log.warning(
            "The encoder promoted is not in force: %s",
            error,
            exc_info=not isinstance(error, AssistantError | OSError),
        )
