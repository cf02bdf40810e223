"""Vector search by inner product of unit rows. The only importer of faiss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from indexes.types import FloatArray

HalfArray = NDArray[np.float16]
BoolArray = NDArray[np.bool_]
Int64Array = NDArray[np.int64]


_FAISS: Any = faiss  # its type stubs describe the C++ side, not what Python accepts


_CORES = faiss.omp_get_max_threads()

PARALLEL_FROM = 200_000
"""Inner products in one search from which all cores are used: about 10 ms of one core."""


class DenseSegment:
    """Immutable vectors with a search index over them; thread-safe.

    ``vectors``: float16 (n, dim), unit rows, possibly memory-mapped. They are kept in half
    precision everywhere (as in the database), so "exact" means exact on these.
    """

    def __init__(self, vectors: HalfArray, index: Any = None) -> None:
        self.vectors = vectors
        self._index = _flat(vectors) if index is None else index

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
        if count == 0:
            return [np.empty(0, dtype=np.int64) for _ in queries]
        parameters = None
        if allowed is not None:
            # faiss reads these bits during the search without owning them: keep the name alive.
            bits = np.packbits(allowed, bitorder="little")
            selector = _FAISS.IDSelectorBitmap(bits)
            parameters = _FAISS.SearchParameters(sel=selector)
        _share_work(len(queries) * reachable)
        _, rows = self._index.search(np.ascontiguousarray(queries), count, params=parameters)
        return [found[found >= 0] for found in rows]

    def cosines(self, query: FloatArray, rows: Int64Array) -> FloatArray:
        """Return float32 (len(rows),): the exact inner products of ``query`` with these rows."""
        products: FloatArray = self.vectors[rows].astype(np.float32) @ query
        return products


def _share_work(products: int) -> None:
    """Set how many threads this thread's next search uses.

    Waking a second thread for a millisecond of work costs more than it saves, the more so when
    the encoder keeps the cores busy: measured 0.4 ms against 16 ms for one query over 10,000.
    """
    wanted = _CORES if products > PARALLEL_FROM else 1
    if faiss.omp_get_max_threads() != wanted:
        faiss.omp_set_num_threads(wanted)


def _flat(vectors: HalfArray) -> Any:
    n, dim = vectors.shape
    index = faiss.IndexScalarQuantizer(
        dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    for start in range(0, n, 16384):  # in slices: no second full copy in float32
        index.add(np.ascontiguousarray(vectors[start : start + 16384], dtype=np.float32))
    return index


def write_index(index: Any, path: Path) -> None:
    """Write a trained index; raises OSError when the disk refuses."""
    path.write_bytes(faiss.serialize_index(index).tobytes())
