"""Have models read the evidence: entries first, then, where those do not settle it, chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from assistant.dialogue.policy import Policy, Understood
from assistant.dialogue.reading import read
from assistant.dialogue.reranking import rerank_chunks, rerank_entries
from assistant.models.reader import Reading
from assistant.types import Retrieved
from indexes.types import FloatArray

T = TypeVar("T")
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Judged(Generic[T]):
    """What a model says of pairs, in their order, and the version that said it."""

    model: str
    values: T


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
        """``candidates`` of each question are read at most, half of them FAQ entries."""
        self._models = models
        self._policy = policy
        self.candidates = candidates

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
        try:
            self._rerank(tenant, questions, seen)
            lap("rerank")
            self._read(tenant, questions, seen)
            lap("read")
        except _Absent:
            lap("rerank")
        return seen

    def _rerank(self, tenant: str, questions: Sequence[Understood], seen: Weighed) -> None:
        def judge(pairs: Pairs) -> FloatArray:
            judged = self._models.score(tenant, pairs)
            return _values(judged, "reranker", seen)

        half = self.candidates // 2
        entries = any(one.faqs for one in seen.found)
        if entries:
            seen.found[:] = rerank_entries(judge, questions, seen.found, half)
        rows = self._open(questions, seen.found)
        if rows:
            limit = half if entries else self.candidates
            some = [questions[i] for i in rows], [seen.found[i] for i in rows]
            for i, one in zip(rows, rerank_chunks(judge, *some, limit), strict=True):
                seen.found[i] = one

    def _read(self, tenant: str, questions: Sequence[Understood], seen: Weighed) -> None:
        def reader(pairs: Pairs) -> list[Reading]:
            judged = self._models.read(tenant, pairs)
            return _values(judged, "reader", seen)

        rows = self._open(questions, seen.found)
        if rows:
            some = [questions[i] for i in rows], [seen.found[i] for i in rows]
            for i, one in zip(rows, read(reader, *some), strict=True):
                seen.found[i] = one

    def _open(self, questions: Sequence[Understood], found: Sequence[Retrieved]) -> list[int]:
        """Places of the questions for which chunks still count."""
        return [
            i
            for i, (question, one) in enumerate(zip(questions, found, strict=True))
            if one.chunks and not self._policy.is_settled(question, one)
        ]


class _Absent(Exception):
    """A model that is not there; the evidence stays as far as it was read."""


def _values(judged: Judged[T] | None, role: str, seen: Weighed) -> T:
    if judged is None:
        raise _Absent
    seen.versions[role] = judged.model
    return judged.values
