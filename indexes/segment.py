"""A segment: some items with their vectors, postings and tags, immutable once made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from indexes.analysis import Analyzer
from indexes.dense import DenseSegment, HalfArray
from indexes.lexical import (
    BoolArray,
    Int32Array,
    Int64Array,
    LexicalSegment,
    Postings,
    Vocabulary,
    build_postings,
    merge_postings,
)
from indexes.types import IndexItem

_INVERT_AT_ONCE = 4_000_000  # terms

TagRows = Mapping[str, Int32Array]
"""Tag to the ascending rows that carry it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The arrays of a segment. ``ids``: int64 (n,), unique; ``vectors``: float16 (n, dim)."""

    ids: Int64Array
    vectors: HalfArray
    postings: Postings
    tags: TagRows

    def __len__(self) -> int:
        return int(self.ids.size)


class ContentsBuilder:
    """Collects items into ``Contents`` without holding their texts."""

    def __init__(self, analyzer: Analyzer, vocabulary: Vocabulary, dim: int) -> None:
        self._analyzer = analyzer
        self._vocabulary = vocabulary
        self._dim = dim
        self._ids: list[int] = []
        self._vectors: list[HalfArray] = []
        self._terms: list[Int64Array] = []
        self._pending = 0
        self._postings: list[Postings] = []
        self._tags: dict[str, list[int]] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, item: IndexItem) -> None:
        """Take one item; raises ValueError if its vector has another shape or is not finite."""
        vector = np.asarray(item.vector)
        if vector.shape != (self._dim,) or not np.isfinite(vector).all():
            raise ValueError(
                f"item {item.item_id}: vector of shape {vector.shape}; "
                f"needed: finite numbers of shape ({self._dim},)"
            )
        tokens = self._analyzer.tokens(item.text)
        for tag in item.tags:
            self._tags.setdefault(tag, []).append(len(self._ids))
        self._ids.append(item.item_id)
        self._vectors.append(vector.astype(np.float16))
        self._terms.append(np.asarray(self._vocabulary.intern(tokens), dtype=np.int64))
        self._pending += len(tokens)
        if self._pending >= _INVERT_AT_ONCE:
            self._invert()

    def build(self) -> Contents:
        """Return everything added, in that order; raises ValueError if an id came twice."""
        ids = np.asarray(self._ids, dtype=np.int64)
        unique, counts = np.unique(ids, return_counts=True)
        if unique.size != ids.size:
            twice = int(unique[counts.argmax()])
            raise ValueError(f"item id {twice} was given {counts.max()} times; ids must be unique")
        vectors = np.empty((ids.size, self._dim), dtype=np.float16)
        for row, vector in enumerate(self._vectors):
            vectors[row] = vector
        self._invert()
        keeps = [np.ones(p.lengths.size, dtype=np.bool_) for p in self._postings]
        tags = {tag: np.asarray(rows, dtype=np.int32) for tag, rows in self._tags.items()}
        return Contents(ids, vectors, merge_postings(self._postings, keeps), tags)

    def _invert(self) -> None:
        """Turn the terms gathered so far into postings, so that memory stays bounded."""
        lengths = np.asarray([t.size for t in self._terms], dtype=np.int32)
        flat = np.concatenate([np.empty(0, dtype=np.int64), *self._terms])
        self._postings.append(build_postings(flat, lengths))
        self._terms, self._pending = [], 0


def merge_contents(parts: Sequence[Contents], keeps: Sequence[BoolArray]) -> Contents:
    """Join contents end to end, leaving out rows not kept (bool (n,) for each part)."""
    tags: dict[str, list[Int32Array]] = {}
    start = 0
    for part, keep in zip(parts, keeps, strict=True):
        new_row = (np.cumsum(keep) - 1 + start).astype(np.int32)
        for tag, rows in part.tags.items():
            tags.setdefault(tag, []).append(new_row[rows[keep[rows]]])
        start += int(keep.sum())
    return Contents(
        ids=np.concatenate([p.ids[k] for p, k in zip(parts, keeps, strict=True)]),
        vectors=np.concatenate([p.vectors[k] for p, k in zip(parts, keeps, strict=True)]),
        postings=merge_postings([p.postings for p in parts], keeps),
        tags={tag: np.concatenate(rows) for tag, rows in tags.items() if any(r.size for r in rows)},
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """Contents made searchable. ``order`` sorts the ids."""

    contents: Contents
    dense: DenseSegment
    lexical: LexicalSegment
    order: Int64Array

    @classmethod
    def of(cls, contents: Contents, dense: DenseSegment | None = None) -> Segment:
        """Wrap contents of which every row is alive; the search is exact without ``dense``."""
        dense = dense or DenseSegment(contents.vectors)
        return cls(
            replace(contents, vectors=dense.vectors),  # one copy in memory, not two
            dense,
            LexicalSegment.of(contents.postings),
            np.argsort(contents.ids, kind="stable"),
        )

    @property
    def alive(self) -> BoolArray | None:
        """Bool (n,): the rows that can be found; None: all."""
        return self.lexical.alive

    @property
    def living(self) -> int:
        """How many rows are alive."""
        return self.lexical.count

    def keep(self) -> BoolArray:
        """Return bool (n,): the living rows."""
        return np.ones(len(self.contents), dtype=np.bool_) if self.alive is None else self.alive

    def rows_of(self, ids: Iterable[int]) -> Int64Array:
        """Return the rows of those ``ids`` that are here, alive or not."""
        wanted = np.unique(np.fromiter(ids, dtype=np.int64))
        own = self.contents.ids
        at = np.searchsorted(own, wanted, sorter=self.order)
        inside = at < own.size
        rows: Int64Array = self.order[at[inside]]
        found: Int64Array = rows[own[rows] == wanted[inside]]
        return found

    def without(self, ids: Collection[int]) -> Segment:
        """Return this segment with the given ids dead; itself if none of them is alive here."""
        gone = np.zeros(len(self.contents), dtype=np.bool_)
        gone[self.rows_of(ids)] = True
        gone &= self.keep()
        if not gone.any():
            return self
        return replace(self, lexical=self.lexical.without(gone))

    def allowed(self, tags: frozenset[str]) -> BoolArray | None:
        """Return bool (n,): living rows that carry one of ``tags`` (any, if empty); None: all."""
        if not tags:
            return self.alive
        mask = np.zeros(len(self.contents), dtype=np.bool_)
        for tag in tags:
            if tag in self.contents.tags:  # an empty default would index everything
                mask[self.contents.tags[tag]] = True
        return mask if self.alive is None else mask & self.alive
