"""Hybrid search over a base generation on disk and recent additions in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from indexes.analysis import Analyzer
from indexes.fusion import fuse
from indexes.lexical import (
    Int64Array,
    LexicalSearcher,
    Vocabulary,
    WeightedQuery,
    relabel_postings,
    top_rows,
)
from indexes.segment import ContentsBuilder, Segment, merge_contents
from indexes.store import Generation, GenerationStore, Identity
from indexes.types import FloatArray, Hit, IndexItem, VectorSpace

CANDIDATES = 50
"""Candidates each side brings, at least; both sides then score all of them exactly."""

SMALL_SEGMENT = 512
"""Merging this many items takes milliseconds; a segment costs every search some 0.1 ms."""

MIN_COMPACTION = 2_000
"""Fewer changes than this never ask for a rebuild."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """One state of the index, never changed. The first segment may be the base generation."""

    segments: tuple[Segment, ...]
    has_base: bool
    deleted: frozenset[int]
    last_item_id: int
    last_deletion_id: int
    lexical: LexicalSearcher


@dataclass(frozen=True, slots=True)
class _Candidates:
    """One query's candidates in one segment, all arrays (c,)."""

    ids: Int64Array
    cosines: FloatArray
    coverages: FloatArray


class HybridIndex:
    """Dense and lexical search fused; thread-safe.

    Readers work on an immutable snapshot; writers take a lock, make the next one and swap it in.
    Additions live in memory until ``rebuild`` writes a new generation: whoever owns the items
    adds those after ``last_item_id`` again when the process starts.
    """

    def __init__(self, root: Path, space: VectorSpace) -> None:
        self._analyzer = Analyzer()
        self._store = GenerationStore(
            root, Identity(dim=space.dim, encoder=space.encoder, analyzer=self._analyzer.version)
        )
        self._dim = space.dim
        self._floor = space.cosine_floor
        self._write_lock = threading.Lock()
        # Two compactions of one index would each take the other's base for their own.
        self._compact_lock = threading.Lock()
        self._vocabulary = Vocabulary()
        self._snapshot = self._make((), has_base=False)

    @classmethod
    def open(cls, root: Path, space: VectorSpace) -> HybridIndex:
        """Load the current generation under ``root``, or start empty when there is none.

        Raises IndexCorruptError when a file is damaged or was made for another encoder,
        dimension or analyzer: then ``HybridIndex(root, ...)`` and ``rebuild`` from the source.
        """
        index = cls(root, space)
        index._store.clean()
        index._load()
        return index

    @property
    def last_item_id(self) -> int:
        """The highest item id this index has been told of; 0 if none."""
        return self._snapshot.last_item_id

    @property
    def last_deletion_id(self) -> int:
        """The highest deletion id this index has been told of; 0 if none."""
        return self._snapshot.last_deletion_id

    @property
    def size(self) -> int:
        """How many items can be found."""
        return sum(s.living for s in self._snapshot.segments)

    def add(self, items: Sequence[IndexItem]) -> None:
        """Make items searchable at once. An id already known, or deleted, is left as it is."""
        with self._write_lock:
            old = self._snapshot
            known = old.deleted | _held(old.segments, [item.item_id for item in items])
            builder = ContentsBuilder(self._analyzer, self._vocabulary, self._dim)
            for item in items:
                if item.item_id not in known:
                    builder.add(item)
            last = max((item.item_id for item in items), default=0)
            segments = old.segments
            if len(builder):
                fresh = Segment.of(builder.build())
                segments = _tidy((*segments, fresh), fixed=int(old.has_base))
            self._snapshot = self._make(
                segments,
                has_base=old.has_base,
                deleted=old.deleted,
                last_item_id=max(last, old.last_item_id),
                last_deletion_id=old.last_deletion_id,
            )

    def delete(self, item_ids: Collection[int], last_deletion_id: int) -> None:
        """Make items unfindable at once and for good; ids not known yet are remembered."""
        with self._write_lock:
            old = self._snapshot
            self._snapshot = self._make(
                tuple(s.without(item_ids) for s in old.segments),
                has_base=old.has_base,
                deleted=old.deleted.union(item_ids),
                last_item_id=old.last_item_id,
                last_deletion_id=max(last_deletion_id, old.last_deletion_id),
            )

    def search(
        self,
        texts: Sequence[str],
        vectors: FloatArray,
        k: int,
        *,
        tags: frozenset[str] = frozenset(),
    ) -> list[list[Hit]]:
        """Return the ``k`` best hits of each query, best first.

        ``vectors``: float32 (len(texts), dim), unit rows, made by the encoder's query side.
        ``tags`` empty: all items, else those with at least one of them. Fewer than ``k`` hits only
        when fewer items are allowed.
        """
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
        if vectors.shape != (len(texts), self._dim):
            raise ValueError(f"vectors of shape {vectors.shape}; need ({len(texts)}, {self._dim})")
        if k < 1:
            raise ValueError(f"k is {k}; need at least 1")
        snapshot = self._snapshot
        queries = [snapshot.lexical.weigh(self._analyzer.tokens(text)) for text in texts]
        count = max(k, CANDIDATES)
        segments = [
            self._search_segment(snapshot, number, queries, vectors, count=count, tags=tags)
            for number in range(len(snapshot.segments))
        ]
        return [_rank([found[i] for found in segments], k, self._floor) for i in range(len(texts))]

    def term_weights(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """Return the terms of each text with their idf over this index."""
        lexical = self._snapshot.lexical
        return [lexical.weights(self._analyzer.tokens(text)) for text in texts]

    def frequencies(self, words: Sequence[str]) -> list[int]:
        """Return how many items have each Latin word, in lower case, in any of its forms.

        Function words, which are not indexed, count as being in all of them.
        """
        lexical, size = self._snapshot.lexical, self.size
        terms = [self._analyzer.term(word) for word in words]
        return [size if term is None else lexical.frequency(term) for term in terms]

    def needs_compaction(self) -> bool:
        """Whether enough has changed since the base generation to be worth a rebuild."""
        snapshot = self._snapshot
        base = snapshot.segments[0] if snapshot.has_base else None
        size = len(base.contents) if base else 0
        dead = size - base.living if base else 0
        fresh = sum(len(s.contents) for s in snapshot.segments) - size
        return fresh + dead > max(MIN_COMPACTION, size // 5)

    def rebuild(self, items: Iterable[IndexItem], last_deletion_id: int) -> None:
        """Write ``items``, all there are, as a new generation and swap to it; serve meanwhile.

        ``items`` and ``last_deletion_id`` must come from one state of the source. Additions and
        deletions made while this runs are kept. Raises OSError when the disk refuses; the old
        generation then stays in place.
        """
        vocabulary = Vocabulary()
        builder = ContentsBuilder(self._analyzer, vocabulary, self._dim)
        for item in items:
            builder.add(item)
        self._load(written=self._store.write(builder.build(), vocabulary, last_deletion_id))

    def compact(self) -> None:
        """Write all that can be found as a new generation, without asking the source.

        Same as ``rebuild`` with the items this index holds, in a fraction of the time: vectors and
        postings are copied, no text is analysed again. Raises as ``rebuild`` does.
        """
        with self._compact_lock:
            self._compact()

    def _compact(self) -> None:
        with self._write_lock:  # the vocabulary must not grow while it is listed
            snapshot, names = self._snapshot, self._vocabulary.terms()
        segments = snapshot.segments
        if not segments:
            return
        merged = merge_contents([s.contents for s in segments], [s.keep() for s in segments])
        # Terms that no text uses any more are left behind.
        used = merged.postings.terms
        postings = replace(merged.postings, terms=np.arange(used.size))
        name = self._store.write(
            replace(merged, postings=postings),
            Vocabulary(names[term] for term in used.tolist()),
            snapshot.last_deletion_id,
            last_item_id=snapshot.last_item_id,
        )
        self._load(written=name)

    def _load(self, written: str | None = None) -> None:
        """Take the current generation as base; ``written`` is the one this process just wrote."""
        generation = self._store.read()
        if generation is None:
            return
        with self._write_lock:
            old = self._snapshot
            # What the source no longer holds must not survive here; what is newer must.
            # The base may hold newer items too, if another process wrote from an older state.
            own = generation.name == written
            recent = self._newer(old.segments[int(old.has_base and own) :], generation)
            deletion = generation.last_deletion_id
            if recent:
                # Deletions this index has not been told of may name these items: ask again.
                deletion = min(deletion, old.last_deletion_id)
            self._vocabulary = generation.vocabulary
            self._snapshot = self._make(
                (generation.segment.without(old.deleted), *recent),
                has_base=True,
                deleted=old.deleted,
                last_item_id=max(old.last_item_id, generation.last_item_id),
                last_deletion_id=deletion,
            )

    def _newer(self, segments: Sequence[Segment], generation: Generation) -> tuple[Segment, ...]:
        """Return what is alive in ``segments`` and newer than ``generation``, in its terms."""
        keeps = [s.keep() & (s.contents.ids > generation.last_item_id) for s in segments]
        parts = [(s.contents, keep) for s, keep in zip(segments, keeps, strict=True) if keep.any()]
        if not parts:
            return ()
        merged = merge_contents([c for c, _ in parts], [keep for _, keep in parts])
        names = self._vocabulary.terms()
        ids = generation.vocabulary.intern(names[t] for t in merged.postings.terms.tolist())
        postings = relabel_postings(merged.postings, np.asarray(ids, dtype=np.int64))
        return (Segment.of(replace(merged, postings=postings)),)

    def _make(
        self,
        segments: tuple[Segment, ...],
        *,
        has_base: bool,
        deleted: frozenset[int] = frozenset(),
        last_item_id: int = 0,
        last_deletion_id: int = 0,
    ) -> _Snapshot:
        lexical = LexicalSearcher([s.lexical for s in segments], self._vocabulary)
        return _Snapshot(segments, has_base, deleted, last_item_id, last_deletion_id, lexical)

    def _search_segment(
        self,
        snapshot: _Snapshot,
        number: int,
        queries: Sequence[WeightedQuery],
        vectors: FloatArray,
        *,
        count: int,
        tags: frozenset[str],
    ) -> list[_Candidates]:
        """Return each query's candidates in one segment: the best of each side, fully scored."""
        segment = snapshot.segments[number]
        allowed = segment.allowed(tags)
        nearest = segment.dense.search(vectors, count, allowed)
        found = []
        lexical = snapshot.lexical.scores(queries, number)
        for query, vector, near, scores in zip(queries, vectors, nearest, lexical, strict=True):
            rows = np.union1d(near, top_rows(scores, count, allowed))
            found.append(
                _Candidates(
                    segment.contents.ids[rows],
                    segment.dense.cosines(vector, rows),
                    scores[rows] / np.float32(query.best or 1.0),
                )
            )
        return found


def _held(segments: Iterable[Segment], ids: Collection[int]) -> set[int]:
    """Return those of ``ids`` that a segment holds, alive or not."""
    return {int(i) for s in segments for i in s.contents.ids[s.rows_of(ids)]}


def _tidy(segments: tuple[Segment, ...], fixed: int) -> tuple[Segment, ...]:
    """Merge the last segments until each is big enough, and small beside the one before it.

    Adding n items one by one then copies each O(log n) times, and a search meets O(log n)
    segments. The first ``fixed`` segments are left alone.
    """
    tail = list(segments[fixed:])
    while len(tail) > 1 and tail[-2].living < max(4 * tail[-1].living, SMALL_SEGMENT):
        pair, tail = tail[-2:], tail[:-2]
        merged = merge_contents([s.contents for s in pair], [s.keep() for s in pair])
        tail.append(Segment.of(merged))
    return (*segments[:fixed], *(s for s in tail if s.living))


def _rank(parts: Sequence[_Candidates], k: int, floor: float) -> list[Hit]:
    """Fuse the candidates of all segments and return the best ``k``."""
    if not parts:
        return []
    ids = np.concatenate([p.ids for p in parts])
    cosines = np.clip(np.concatenate([p.cosines for p in parts]), -1.0, 1.0)
    coverages = np.clip(np.concatenate([p.coverages for p in parts]), 0.0, 1.0)
    fused = fuse(cosines, coverages, floor)
    # Ties go to the older item, so that equal texts keep one order.
    best = np.lexsort((ids, -fused))[:k]
    return [Hit(int(ids[i]), float(fused[i]), float(cosines[i]), float(coverages[i])) for i in best]
