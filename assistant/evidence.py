"""Turn index hits into evidence: rows of the database, fetched together and kept while used."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np

from assistant.storage.passages import ChunkFields, FaqFields, Passages
from assistant.storage.values import IndexName
from assistant.types import ChunkHit, FaqHit, sentence_vectors
from indexes.fusion import fuse
from indexes.types import FloatArray, Hit

CACHED_ROWS = 10_000
"""Rows kept of each kind; a chunk with its sentence vectors takes about 5 KB."""

_POOLING = 0.05
"""Temperature of the soft maximum. Right entry first on questions held aside, against 0.01 (nearly
the plain maximum): example bank 0.65 to 0.71, banking77 0.65 to 0.69, clinc150 0.81 to 0.83."""

SENTENCE_WEIGHT = 0.7
"""Of the nearest sentence's cosine in a chunk's; that of the chunk as a whole has the rest."""

Row = TypeVar("Row")


class RowCache(Generic[Row]):
    """The rows used last, by id. Ids are never reused and rows never change, so none goes stale.

    Thread-safe.
    """

    def __init__(self, load: Callable[[Sequence[int]], Iterable[tuple[int, Row]]]) -> None:
        self._load = load
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, ids: Iterable[int]) -> dict[int, Row]:
        """The rows of these ids that exist; those not at hand are read with one statement."""
        found: dict[int, Row] = {}
        missing: list[int] = []
        with self._lock:
            for item_id in set(ids):
                row = self._rows.get(item_id)
                if row is None:
                    missing.append(item_id)
                else:
                    self._rows.move_to_end(item_id)
                    found[item_id] = row
        if missing:
            loaded = dict(self._load(missing))
            found.update(loaded)
            with self._lock:
                self._rows.update(loaded)
                while len(self._rows) > CACHED_ROWS:
                    self._rows.popitem(last=False)
        return found

    def drop(self, ids: Iterable[int]) -> None:
        """Forget rows that were deleted."""
        with self._lock:
            for item_id in ids:
                self._rows.pop(item_id, None)


class Evidence:
    """Resolves hits against the database. Thread-safe."""

    def __init__(self, passages: Passages, cosine_floor: float) -> None:
        """``cosine_floor``: the cosine that the encoder gives unrelated texts."""
        self._floor = cosine_floor
        self._chunks: RowCache[ChunkFields] = RowCache(
            lambda ids: ((row.chunk_id, row) for row in passages.chunks(ids))
        )
        self._wordings: RowCache[FaqFields] = RowCache(passages.wordings)

    def drop(self, index: IndexName, ids: Iterable[int]) -> None:
        """Forget rows that were deleted."""
        (self._chunks if index == "chunks" else self._wordings).drop(ids)

    def chunks(
        self, hits: Sequence[Sequence[Hit]], vectors: FloatArray, k: int
    ) -> list[tuple[ChunkHit, ...]]:
        """Each query's ``k`` best chunks, best first; a hit whose row is gone is left out.

        ``vectors``: float32 (queries, dim), unit rows, which sentences are compared with.
        """
        rows = self._chunks.get(hit.item_id for found in hits for hit in found)
        return [
            by_sentence(
                [
                    ChunkHit(*row, hit.score, hit.cosine, hit.coverage)
                    for hit in found
                    if (row := rows.get(hit.item_id)) is not None
                ],
                vector,
                self._floor,
            )[:k]
            for found, vector in zip(hits, vectors, strict=True)
        ]

    def faqs(self, hits: Sequence[Sequence[Hit]], k: int) -> list[tuple[FaqHit, ...]]:
        """Each query's first ``k`` FAQ entries, best first, each with the best of its wordings."""
        rows = self._wordings.get(hit.item_id for found in hits for hit in found)
        return [_grouped(found, rows, k) for found in hits]


def by_sentence(hits: Sequence[ChunkHit], query: FloatArray, floor: float) -> tuple[ChunkHit, ...]:
    """Return the hits scored anew by their sentence nearest to the query too, best first.

    ``query``: float32 (dim,), unit. One vector of a chunk is an average of all it speaks of; the
    nearest of several says whether it speaks of this (the maximum over parts of late interaction,
    Khattab & Zaharia 2020, arXiv:2004.12832, with sentences for tokens).
    """
    if not hits:
        return ()
    whole = np.array([hit.cosine for hit in hits], dtype=np.float32)
    nearest = np.array([_nearest(hit, query) for hit in hits], dtype=np.float32)
    cosines = (1 - SENTENCE_WEIGHT) * whole + SENTENCE_WEIGHT * nearest
    scores = fuse(cosines, np.array([hit.coverage for hit in hits], dtype=np.float32), floor)
    scored = [
        replace(hit, cosine=cosine, score=score)
        for hit, cosine, score in zip(hits, cosines.tolist(), scores.tolist(), strict=True)
    ]
    return tuple(sorted(scored, key=lambda hit: -hit.score))


def _nearest(hit: ChunkHit, query: FloatArray) -> float:
    vectors = sentence_vectors(hit.sentences)
    return float((vectors @ query).max()) if len(vectors) else hit.cosine


def _grouped(hits: Sequence[Hit], rows: dict[int, FaqFields], k: int) -> tuple[FaqHit, ...]:
    best: dict[int, tuple[FaqFields, Hit]] = {}
    votes: dict[int, list[float]] = {}
    for hit in hits:  # best first, so the first wording of an entry is its best
        row = rows.get(hit.item_id)
        if row is not None:
            best.setdefault(row.entry, (row, hit))
            votes.setdefault(row.entry, []).append(hit.score)
    entries = [
        FaqHit(*row[1:], pooled_score(votes[entry]), hit.cosine, hit.coverage)
        for entry, (row, hit) in best.items()
    ]
    return tuple(sorted(entries, key=lambda e: -e.score)[:k])


def pooled_score(scores: Sequence[float]) -> float:
    """Return one score in [0, 1] for an entry found by several wordings (scores in [0, 1]).

    A soft maximum: an entry that fits in three wordings beats one that fits as well in one.
    """
    top = max(scores)
    pooled = top + _POOLING * math.log(sum(math.exp((s - top) / _POOLING) for s in scores))
    return min(1.0, pooled)
