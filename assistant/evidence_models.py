"""The reranker and reader of answers: a tenant's own, else the company's, else the shipped."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from assistant.dialogue.weighing import Judged
from assistant.errors import AssistantError, BusyError, NotFoundError
from assistant.models.reader import Reading
from assistant.models.shipped import ensure
from assistant.models.trained import TrainedModels
from assistant.settings import Settings
from indexes.types import FloatArray

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
            try:
                ensure(settings, task)
            except AssistantError as error:
                self._tell(task, error)

    def score(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> Judged[FloatArray] | None:
        """Return the probability of each pair, or None (see ``EvidenceModels``)."""
        try:
            found = self._trained.score(pairs, tenant=tenant)
        except AssistantError as error:
            self._tell("reranker", error)
            return None
        return Judged(found.model, found.scores)

    def read(self, tenant: str, pairs: Sequence[tuple[str, str]]) -> Judged[list[Reading]] | None:
        """Return the answer in each pair's passage, or None (see ``EvidenceModels``)."""
        if not self._reads:
            return None
        try:
            found = self._trained.read(pairs, tenant=tenant)
        except AssistantError as error:
            self._tell("reader", error)
            return None
        return Judged(found.model, found.readings)

    def _tell(self, task: str, error: AssistantError) -> None:
        if isinstance(error, BusyError | NotFoundError):
            return
        text = f"{task}: {error}"
        if text not in self._told:
            self._told.add(text)
            _log.warning("answers do without the %s", text)
