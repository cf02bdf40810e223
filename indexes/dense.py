"""Vector search by inner product of unit rows. The only importer of faiss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexes.types import FloatArray

HalfArray = NDArray[np.float16]
BoolArray = NDArray[np.bool_]
Int64Array = NDArray[np.int64]

APPROXIMATE_FROM = 150_000
"""From this many vectors on, a full scan (some 9 ms of one core) gives way to inverted lists."""

PROBES = 224
"""Lists looked into, of 2 × sqrt(n): 29 % of them at 150,000 vectors, 16 % at 500,000. Asked real
queries about vectors synthesised from real ones, this finds over 0.98 of the exact ten nearest."""

PARALLEL_FROM = 200_000
"""Inner products in one search from which all cores are used: about 10 ms of one core."""

PRODUCT_FROM = 32
"""Queries in one exact search from which matrix products beat faiss's scan of half-precision codes:
1,000 queries over 10,000 vectors take one core 0.14 s instead of 0.4 s."""

_FAISS: Any = faiss  # its type stubs describe the C++ side, not what Python accepts
_ALL_CORES = faiss.omp_get_max_threads()
_CORES = _ALL_CORES
_SLICE = 16_384
_QUERIES = 256


class DenseSegment:
    """Immutable vectors with a search index over them; thread-safe.

    ``vectors``: float16 (n, dim), unit rows. They are kept in half precision everywhere (as in the
    database), so "exact" means exact on these. Without an ``index`` trained by ``train`` the
    search is exact and ``vectors`` becomes a view of the index's own memory.
    """

    def __init__(self, vectors: HalfArray, index: Any = None) -> None:
        self.exact = index is None
        self._index = _flat(vectors) if index is None else index
        self.vectors = _codes(self._index, vectors.shape) if self.exact else vectors

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def search(
        self, queries: FloatArray, count: int, allowed: BoolArray | None = None
    ) -> list[Int64Array]:
        """Return for each query (float32 (q, dim)) its ``count`` nearest rows, best first.

        Only rows where ``allowed`` (bool (n,)) is True; fewer than ``count`` only when fewer are
        allowed. Never -1.
        """
        reachable = len(self) if allowed is None else int(np.count_nonzero(allowed))
        count = min(count, reachable)
        if count == 0 or len(queries) == 0:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        # faiss reads these bits during the search without owning them: keep both names alive.
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        selector = None if bits is None else _FAISS.IDSelectorBitmap(bits)
        probes = 0 if self.exact else self._probes(reachable)
        if self.exact and selector is None and len(queries) >= PRODUCT_FROM:
            return self._multiply(queries, count)
        rows = self._run(queries, count, selector, probes)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if short.size:  # the lists looked into held too few: look into all of them
            rows[short] = self._run(queries[short], count, selector, self._index.nlist)
        return list(rows)

    def cosines(self, query: FloatArray, rows: Int64Array) -> FloatArray:
        """Return float32 (len(rows),): the exact inner products of ``query`` with these rows."""
        products: FloatArray = self.vectors[rows].astype(np.float32) @ query
        return products

    def _probes(self, reachable: int) -> int:
        """How many lists to look into; more when a filter leaves fewer vectors in each."""
        return min(int(self._index.nlist), math.ceil(PROBES * len(self) / reachable))

    def _multiply(self, queries: FloatArray, count: int) -> list[Int64Array]:
        """Exact search of many queries as matrix products, a slice of the vectors at a time."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        rows: list[Int64Array] = []
        products: list[FloatArray] = []
        for start in range(0, len(self), _SLICE):
            part = self.vectors[start : start + _SLICE].astype(np.float32)
            for first in range(0, len(queries), _QUERIES):
                found = queries[first : first + _QUERIES] @ part.T
                best = np.argpartition(found, -min(count, len(part)), axis=1)[:, -count:]
                rows.append(best + start)
                products.append(np.take_along_axis(found, best, axis=1))
        blocks = math.ceil(len(queries) / _QUERIES)
        nearest: list[Int64Array] = []
        for block in range(blocks):
            score = np.hstack(products[block::blocks])
            order = np.argsort(-score, axis=1, kind="stable")[:, :count]
            nearest.extend(np.take_along_axis(np.hstack(rows[block::blocks]), order, axis=1))
        return nearest

    def _run(self, queries: FloatArray, count: int, selector: Any, probes: int) -> Int64Array:
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if self.exact:
            _share_work(len(queries) * len(self))
            parameters = None if selector is None else _FAISS.SearchParameters(sel=selector)
        else:
            _share_work(len(queries) * len(self) * probes // int(self._index.nlist))
            parameters = _FAISS.SearchParametersIVF(sel=selector, nprobe=probes)
        rows: Int64Array = self._index.search(queries, count, params=parameters)[1]
        return rows


def limit_threads(count: int) -> None:
    """Let searches of this process use at most ``count`` threads; 0: all cores."""
    global _CORES  # noqa: PLW0603 - faiss's own setting is as global
    _CORES = count or _ALL_CORES


def train(vectors: HalfArray) -> Any:
    """Return inverted lists of bytes (scalar-quantised residuals) over ``vectors`` (n, dim).

    They propose candidates only; scores come from the exact vectors. Uses one thread: this runs
    while the service answers.
    """
    n, dim = vectors.shape
    lists = max(1, round(2 * math.sqrt(n)))
    _FAISS.omp_set_num_threads(1)
    index = _FAISS.IndexIVFScalarQuantizer(
        _FAISS.IndexFlatIP(dim),
        dim,
        lists,
        _FAISS.ScalarQuantizer.QT_8bit,
        _FAISS.METRIC_INNER_PRODUCT,
        True,  # encode residuals: finer steps for the same bytes
    )
    index.cp.niter = 10
    index.cp.min_points_per_centroid = 1
    index.cp.max_points_per_centroid = 40
    sample = np.sort(np.random.default_rng(0).permutation(n)[: 40 * lists])
    index.train(vectors[sample].astype(np.float32))
    _add(index, vectors)
    return index


def write_index(index: Any, path: Path) -> None:
    """Write a trained index. Raises OSError when the disk refuses."""
    path.write_bytes(memoryview(_FAISS.serialize_index(index)))


def read_index(path: Path) -> Any:
    """Read what ``write_index`` wrote; the caller has checked its checksum."""
    return _FAISS.read_index(str(path))


def _flat(vectors: HalfArray) -> Any:
    index = _FAISS.IndexScalarQuantizer(
        vectors.shape[1], _FAISS.ScalarQuantizer.QT_fp16, _FAISS.METRIC_INNER_PRODUCT
    )
    _add(index, vectors)
    return index


def _add(index: Any, vectors: HalfArray) -> None:
    for start in range(0, len(vectors), _SLICE):  # never a second full copy in float32
        index.add(np.ascontiguousarray(vectors[start : start + _SLICE], dtype=np.float32))


class _Codes:
    """Lends numpy the memory of a flat index, and keeps the index alive while it is in use."""

    def __init__(self, index: Any, shape: tuple[int, ...]) -> None:
        self.index = index
        self.__array_interface__ = {
            "shape": shape,
            "typestr": "<f2",
            "data": (int(index.codes.data()), True),
            "version": 3,
        }


def _codes(index: Any, shape: tuple[int, ...]) -> HalfArray:
    """Return the vectors of a flat half-precision index without copying them; read-only."""
    if shape[0] == 0:
        return np.empty(shape, dtype=np.float16)
    return np.asarray(_Codes(index, shape))


def _share_work(products: int) -> None:
    """Set how many threads this thread's next search uses.

    Waking a second thread for a millisecond of work costs more than it saves, the more so when
    the encoder keeps the cores busy: measured 0.4 ms against 16 ms for one query over 10,000.
    """
    wanted = _CORES if products > PARALLEL_FROM else 1
    if faiss.omp_get_max_threads() != wanted:
        faiss.omp_set_num_threads(wanted)
