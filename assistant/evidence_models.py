"""The reranker and reader of answers: a tenant's own, else the company's, else the shipped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from assistant.errors import AssistantError, BusyError, NotFoundError
from assistant.models.reader import Reading
from assistant.models.shipped import ensure
from assistant.models.trained import Judged, TrainedModels
from assistant.settings import Settings
from indexes.types import FloatArray

T = TypeVar("T")
_log = logging.getLogger(__name__)


class ServedEvidenceModels:
    """What ``dialogue.weighing`` asks. Thread-safe.

    A model that is missing, damaged or too busy costs the answer some of its quality and is logged
    once; it never costs the answer.
    """

    def __init__(self, trained: TrainedModels, settings: Settings) -> None:
        self._trained = trained
        self._reads = settings.reader
        self._told: set[str] = set()
        for task in ("reranker", "reader") if settings.reader else ("reranker",):
            self._asked(task, partial(ensure, settings, task))

    def score(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> Judged[FloatArray] | None:
        """Return the probability of each pair, or None (see ``EvidenceModels``)."""
        return self._asked("reranker", lambda: self._trained.score(pairs, tenant=tenant))

    def read(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> Judged[list[Reading]] | None:
        """Return the answer in each pair's passage, or None (see ``EvidenceModels``)."""
        if not self._reads:
            return None
        return self._asked("reader", lambda: self._trained.read(pairs, tenant=tenant))

    def _asked(self, task: str, ask: Callable[[], T]) -> T | None:
        try:
            return ask()
        except AssistantError as error:
            self._tell(task, error)
            return None

    def _tell(self, task: str, error: AssistantError) -> None:
        if isinstance(error, BusyError | NotFoundError):
            return
        text = f"{task}: {error}"
        if text not in self._told:
            self._told.add(text)
            _log.warning("answers do without the %s", text)
