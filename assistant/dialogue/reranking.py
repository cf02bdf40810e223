"""Order evidence by how well it answers: a cross-encoder reads question and evidence together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from assistant.dialogue.policy import Understood
from assistant.dialogue.windows import window
from assistant.types import ChunkHit, FaqHit, Retrieved
from indexes.types import FloatArray, Language

ENTRY_WEIGHT = CHUNK_WEIGHT = 0.1
"""Of the reranker's probability in the new score; retrieval's score has the rest. Words and meaning
find the right passage of a long text better than the reranker does; where both find two passages
nearly as good, it decides. First in order on questions held aside, without and with: SQuAD 0.745 to
0.779, CMRC 0.987 to 0.987, with half the weight 0.765 and 0.947."""

Judge = Callable[[Sequence[tuple[str, str]]], FloatArray]
"""Tells the probability in [0, 1] that each (question, text) belongs together, (pairs,)."""

_AnyHit = TypeVar("_AnyHit", ChunkHit, FaqHit)


def rerank_entries(
    judge: Judge, questions: Sequence[Understood], found: Sequence[Retrieved], candidates: int
) -> list[Retrieved]:
    """Return the evidence with the FAQ entries of each question in the order of their new score.

    The first are read, in one batch: half of the ``candidates`` of a question.
    """
    texts = [[hit.matched for hit in one.faqs[: candidates // 2]] for one in found]
    read = _judged(judge, questions, texts)
    return [
        replace(one, faqs=_ordered(one.faqs, values, ENTRY_WEIGHT, question.language))
        for question, one, values in zip(questions, found, read, strict=True)
    ]


def rerank_chunks(
    judge: Judge, questions: Sequence[Understood], found: Sequence[Retrieved], candidates: int
) -> list[Retrieved]:
    """As ``rerank_entries``, for the chunks: a window is read of as many as entries leave over."""
    texts = [
        [window(hit, question.vector).text for hit in one.chunks[: _left(one, candidates)]]
        for question, one in zip(questions, found, strict=True)
    ]
    read = _judged(judge, questions, texts)
    return [
        replace(one, chunks=_ordered(one.chunks, values, CHUNK_WEIGHT, question.language))
        for question, one, values in zip(questions, found, read, strict=True)
    ]


def _left(found: Retrieved, candidates: int) -> int:
    """How many of the candidates are left for chunks."""
    return candidates - min(len(found.faqs), candidates // 2)


def _judged(
    judge: Judge, questions: Sequence[Understood], texts: Sequence[Sequence[str]]
) -> list[list[float]]:
    pairs = [
        (question.text, text)
        for question, own in zip(questions, texts, strict=True)
        for text in own
    ]
    values = iter(judge(pairs).tolist() if pairs else ())
    return [[next(values) for _ in own] for own in texts]


def _ordered(
    hits: Sequence[_AnyHit], relevance: Sequence[float], weight: float, language: Language
) -> tuple[_AnyHit, ...]:
    """Return the hits, the first ``len(relevance)`` of which were read, best first.

    What was not read counts as irrelevant. What is in another language than the question keeps its
    score: of such pairs retrieval is the better judge (right passage of Chinese questions over
    English ones first 0.69, reranked 0.64, 100 questions held aside).
    """
    unread: list[float | None] = [None] * (len(hits) - len(relevance))
    scored = []
    for hit, value in zip(hits, (*relevance, *unread), strict=True):
        own = weight if hit.language == language else 0.0
        score = own * (value or 0.0) + (1 - own) * hit.score
        scored.append(replace(hit, score=score, relevance=value))
    return tuple(sorted(scored, key=lambda hit: -hit.score))
