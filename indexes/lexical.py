"""BM25 over numpy postings: exact scores for every text, also right after an addition.

Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with
Lucene's never-negative idf. Postings keep plain term frequencies; idf and the average length are
applied when searching, so an index in several segments scores as one index would.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexes.types import FloatArray

K1 = 1.2
B = 0.75
MAX_FREQUENCY = 255
"""Frequencies are stored in a byte; beyond this BM25 has saturated (tf / (tf + k1) > 0.995)."""

KEPT_IMPACTS = 6_000_000
"""Impacts of terms once asked for are remembered up to this many: 24 MB. Common characters come
in most questions, and to look their impact up again costs three times what adding it does."""

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Vocabulary:
    """Terms to ids, append-only; one writer at a time, any number of readers."""

    def __init__(self, terms: Iterable[str] = ()) -> None:
        self._ids: dict[str, int] = {term: i for i, term in enumerate(terms)}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, term: str) -> bool:
        return term in self._ids

    def id_of(self, term: str) -> int:
        """Return the id of ``term``, or -1."""
        return self._ids.get(term, -1)

    def intern(self, terms: Iterable[str]) -> list[int]:
        """Return the ids of ``terms``, adding those not yet known."""
        ids = self._ids
        return [ids.setdefault(term, len(ids)) for term in terms]

    def terms(self) -> list[str]:
        """Return all terms in the order of their ids."""
        return list(self._ids)


@dataclass(frozen=True, slots=True)
class Postings:
    """Which rows hold which term, how often.

    ``terms``: int64 (t,), ascending term ids. The rows of ``terms[i]`` are
    ``rows[offsets[i]:offsets[i + 1]]`` (int32, ascending), their frequencies in ``counts`` (uint8)
    alongside. ``lengths``: int32 (n,), terms per row, repeats included.
    """

    terms: Int64Array
    offsets: Int64Array
    rows: Int32Array
    counts: NDArray[np.uint8]
    lengths: Int32Array

    def slice_of(self, term_id: int) -> slice:
        """Return where the postings of ``term_id`` lie; an empty slice if no row has it."""
        at = int(self.terms.searchsorted(term_id))
        if term_id < 0 or at == self.terms.size or self.terms[at] != term_id:
            return slice(0, 0)
        return slice(int(self.offsets[at]), int(self.offsets[at + 1]))


def build_postings(term_ids: Int64Array, lengths: Int32Array) -> Postings:
    """Invert texts. ``term_ids``: int64, the terms of all texts end to end; ``lengths``: (n,)."""
    n = lengths.size
    rows = np.repeat(np.arange(n, dtype=np.int64), lengths)
    # One sortable key a pair: term first, then row.
    keys, counts = np.unique(term_ids * max(n, 1) + rows, return_counts=True)
    terms, starts = np.unique(keys // max(n, 1), return_index=True)
    return Postings(
        terms=terms,
        offsets=np.append(starts, keys.size).astype(np.int64),
        rows=(keys % max(n, 1)).astype(np.int32),
        counts=np.minimum(counts, MAX_FREQUENCY).astype(np.uint8),
        lengths=lengths.astype(np.int32),
    )


def merge_postings(parts: Sequence[Postings], keeps: Sequence[BoolArray]) -> Postings:
    """Join segments into one, leaving out rows whose ``keep`` is False; row order is kept.

    Takes time and memory proportional to the postings: each part is copied into the place counted
    out for it, nothing is sorted.
    """
    kept = [keep[part.rows] for part, keep in zip(parts, keeps, strict=True)]
    terms = np.unique(np.concatenate([part.terms for part in parts]))
    places = [np.searchsorted(terms, part.terms) for part in parts]
    sizes = [_sums(mask, part.offsets) for mask, part in zip(kept, parts, strict=True)]
    totals = np.zeros(terms.size, dtype=np.int64)
    for place, size in zip(places, sizes, strict=True):
        totals[place] += size
    offsets = np.concatenate(([0], np.cumsum(totals)))
    rows = np.empty(offsets[-1], dtype=np.int32)
    counts = np.empty(offsets[-1], dtype=np.uint8)
    cursor = offsets[:-1].copy()  # where the next posting of each term goes
    first_row = 0
    for part, keep, mask, place, size in zip(parts, keeps, kept, places, sizes, strict=True):
        before = np.cumsum(size) - size
        target = np.repeat(cursor[place] - before, size) + np.arange(size.sum())
        rows[target] = (np.cumsum(keep) - 1 + first_row)[part.rows[mask]]
        counts[target] = part.counts[mask]
        cursor[place] += size
        first_row += int(keep.sum())
    used = totals > 0
    return Postings(
        terms=terms[used],
        offsets=np.concatenate((offsets[:-1][used], offsets[-1:])),
        rows=rows,
        counts=counts,
        lengths=np.concatenate([p.lengths[k] for p, k in zip(parts, keeps, strict=True)]),
    )


def _sums(mask: BoolArray, offsets: Int64Array) -> Int64Array:
    """Return how many of ``mask`` are True between one offset and the next."""
    running = np.concatenate(([0], np.cumsum(mask)))
    return running[offsets[1:]] - running[offsets[:-1]]


def relabel_postings(postings: Postings, new_ids: Int64Array) -> Postings:
    """Return the same postings with term ``terms[i]`` known as ``new_ids[i]``."""
    order = np.argsort(new_ids)
    sizes = np.diff(postings.offsets)
    # The slices in their new order, as one gather.
    shift = np.repeat(postings.offsets[:-1][order], sizes[order])
    offsets = np.concatenate(([0], np.cumsum(sizes[order])))
    gather = shift + np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes[order])
    return Postings(
        new_ids[order], offsets, postings.rows[gather], postings.counts[gather], postings.lengths
    )


@dataclass(frozen=True, slots=True)
class LexicalSegment:
    """Postings and which of their rows are alive (bool (n,); None: all).

    ``count`` and ``total_length`` (terms, repeats included) are of the living rows.
    """

    postings: Postings
    alive: BoolArray | None
    count: int
    total_length: int

    @classmethod
    def of(cls, postings: Postings) -> LexicalSegment:
        """Wrap postings of which every row is alive."""
        return cls(postings, None, postings.lengths.size, int(postings.lengths.sum()))

    def without(self, gone: BoolArray) -> LexicalSegment:
        """Return this segment with the rows of ``gone`` (bool (n,), so far alive) dead."""
        return LexicalSegment(
            self.postings,
            ~gone if self.alive is None else self.alive & ~gone,
            self.count - int(np.count_nonzero(gone)),
            self.total_length - int(self.postings.lengths[gone].sum()),
        )

    def document_frequency(self, term_id: int) -> int:
        """Return how many living rows hold the term."""
        where = self.postings.slice_of(term_id)
        if self.alive is None:
            return int(where.stop - where.start)
        # Counted when asked: to keep counts up to date would mean a walk over all postings for
        # every deletion.
        return int(np.count_nonzero(self.alive.take(self.postings.rows[where])))


@dataclass(frozen=True, slots=True)
class WeightedQuery:
    """A query against one state of the corpus: ``terms`` with their weights (idf × repeats).

    ``best`` is the score no text can exceed: the sum of all weights, those of unknown terms
    included.
    """

    terms: tuple[tuple[int, float], ...]
    best: float


class LexicalSearcher:
    """BM25 over segments that together form one corpus. Immutable and thread-safe."""

    def __init__(
        self,
        segments: Sequence[LexicalSegment],
        vocabulary: Vocabulary,
        *,
        k1: float = K1,
        b: float = B,
    ) -> None:
        self._segments = tuple(segments)
        self._vocabulary = vocabulary
        self._count = sum(s.count for s in segments)
        total = sum(s.total_length for s in segments)
        average = total / self._count if total else 1.0
        self._norms = tuple(
            (k1 * (1 - b) + k1 * b / average * s.postings.lengths).astype(np.float32)
            for s in segments
        )
        self._kept: dict[tuple[int, int], FloatArray] = {}
        self._room = KEPT_IMPACTS
        self._frequencies: dict[int, int] = {}

    def weigh(self, tokens: Iterable[str]) -> WeightedQuery:
        """Look the terms of a query up and weigh them by their rarity in the whole corpus."""
        repeats: dict[str, int] = {}
        for token in tokens:
            repeats[token] = repeats.get(token, 0) + 1
        terms: list[tuple[int, float]] = []
        best = 0.0
        for token, times in repeats.items():
            term_id = self._vocabulary.id_of(token)
            frequency = self._frequency(term_id)
            weight = times * self._idf(frequency)
            best += weight
            if frequency:
                terms.append((term_id, weight))
        return WeightedQuery(tuple(terms), best)

    def weights(self, tokens: Iterable[str]) -> dict[str, float]:
        """Return each distinct term's idf in the whole corpus; an unknown one weighs the most."""
        return {
            term: self._idf(self._frequency(self._vocabulary.id_of(term)))
            for term in dict.fromkeys(tokens)
        }

    def frequency(self, term: str) -> int:
        """Return how many rows of the corpus have ``term``."""
        term_id = self._vocabulary.id_of(term)
        return self._frequency(term_id) if term_id >= 0 else 0

    def _frequency(self, term_id: int) -> int:
        frequency = self._frequencies.get(term_id)
        if frequency is None:
            frequency = sum(s.document_frequency(term_id) for s in self._segments)
            self._frequencies[term_id] = frequency  # of this state of the corpus, so for good
        return frequency

    def _idf(self, frequency: int) -> float:
        return math.log1p((self._count - frequency + 0.5) / (frequency + 0.5))

    def scores(self, queries: Iterable[WeightedQuery], segment: int) -> Iterator[FloatArray]:
        """Yield for each query float32 (n,): BM25 of every row of a segment, in [0, query.best]."""
        postings = self._segments[segment].postings
        for query in queries:
            scores = np.zeros(postings.lengths.size, dtype=np.float32)
            for term_id, weight in query.terms:
                where = postings.slice_of(term_id)
                impacts = self._impacts(segment, term_id, where)
                np.add.at(scores, postings.rows[where], impacts * np.float32(weight))
            yield scores

    def _impacts(self, segment: int, term_id: int, where: slice) -> FloatArray:
        """Return how much of a term's weight each row that holds it earns: in [0, 1)."""
        kept = self._kept.get((segment, term_id))
        if kept is not None:
            return kept
        postings = self._segments[segment].postings
        counts = postings.counts[where].astype(np.float32)
        impacts: FloatArray = counts / (counts + self._norms[segment].take(postings.rows[where]))
        if impacts.size <= self._room:
            # Two threads may both store it, and count it twice: harmless.
            self._kept[segment, term_id] = impacts
            self._room -= impacts.size
        return impacts


def top_rows(scores: FloatArray, count: int, allowed: BoolArray | None = None) -> Int64Array:
    """Return the rows of the ``count`` best positive scores (float32 (n,)), in no set order.

    Only where ``allowed`` (bool (n,)) is True; fewer when fewer are positive.
    """
    if allowed is not None:
        scores = np.where(allowed, scores, np.float32(0))
    if scores.size <= count:
        return np.flatnonzero(scores)
    bar = np.partition(scores, scores.size - count)[scores.size - count]
    above = np.flatnonzero(scores > bar)
    if bar <= 0:
        return above
    ties = np.flatnonzero(scores == bar)[: count - above.size]
    return np.concatenate((above, ties))
