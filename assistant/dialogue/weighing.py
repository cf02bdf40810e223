"""Have models read the chunks of questions that no entry settles: first to order them, then to
mark the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from assistant.dialogue.policy import Policy, Understood
from assistant.dialogue.reading import read
from assistant.dialogue.reranking import rerank_chunks
from assistant.models.reader import Reading
from assistant.models.trained import Judged
from assistant.types import Retrieved
from indexes.types import FloatArray

T = TypeVar("T")
Pairs = Sequence[tuple[str, str]]


class EvidenceModels(Protocol):
    """The models that read question and evidence together.

    A call returns None where the tenant has no such model, where it is switched off, or where it
    has no time now: the answer then does without.
    """

    def score(self, tenant: str, pairs: Pairs) -> Judged[FloatArray] | None:
        """Return the probability in [0, 1] that each pair belongs together, (pairs,)."""

    def read(self, tenant: str, pairs: Pairs) -> Judged[list[Reading]] | None:
        """Return the answer to each question in its passage, or that there is none."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """Evidence as the models see it, and the versions that took part, by role."""

    found: list[Retrieved]
    versions: dict[str, str]


class Weighing:
    """Orders evidence and marks answers in it. Stateless and thread-safe."""

    def __init__(self, models: EvidenceModels, policy: Policy, candidates: int) -> None:
        """``candidates`` of each question are read at most."""
        self._models = models
        self._policy = policy
        self._candidates = candidates

    def warm_up(self, tenant: str) -> None:
        """Have the models of a tenant opened."""
        pair = [("warm up", "warm up")]
        self._models.score(tenant, pair)
        self._models.read(tenant, pair)

    def __call__(
        self,
        tenant: str,
        questions: Sequence[Understood],
        found: Sequence[Retrieved],
        lap: Callable[[str], None],
    ) -> Weighed:
        """Return the evidence of one tenant's questions; ``lap`` is told when a step is done."""
        seen = Weighed(list(found), {})

        def judge(pairs: Pairs) -> FloatArray:
            return _values(self._models.score(tenant, pairs), "reranker", seen)

        def reader(pairs: Pairs) -> list[Reading]:
            return _values(self._models.read(tenant, pairs), "reader", seen)

        try:
            rows = self._open(questions, seen.found)
            asked = [questions[i] for i in rows]
            open_ = [seen.found[i] for i in rows]
            open_ = _put(seen, rows, rerank_chunks(judge, asked, open_, self._candidates))
            lap("rerank")
            _put(seen, rows, read(reader, asked, open_))
            lap("read")
        except _Absent:
            lap("rerank")
        return seen

    def _open(self, questions: Sequence[Understood], found: Sequence[Retrieved]) -> list[int]:
        """Places of the questions for which chunks still count."""
        return [
            i
            for i, (question, one) in enumerate(zip(questions, found, strict=True))
            if one.chunks and not self._policy.is_settled(question, one)
        ]


def _put(seen: Weighed, rows: Sequence[int], found: list[Retrieved]) -> list[Retrieved]:
    """Put evidence back in its places, and return it."""
    for i, one in zip(rows, found, strict=True):
        seen.found[i] = one
    return found


class _Absent(Exception):
    """A model that is not there; the evidence stays as far as it was read."""


def _values(judged: Judged[T] | None, role: str, seen: Weighed) -> T:
    if judged is None:
        raise _Absent
    seen.versions[role] = judged.model
    return judged.values
