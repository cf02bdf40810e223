"""One score from two: cosine of the encoder and BM25 coverage, both exact, per candidate."""

from __future__ import annotations

import numpy as np

from indexes.types import FloatArray

DENSE_WEIGHT = 0.5
COSINE_FLOOR = 0.7


def fuse(cosines: FloatArray, coverages: FloatArray) -> FloatArray:
    """Return float32 (n,), scores in [0, 1], of one query's candidates.

    ``cosines``: float32 (n,), in [-1, 1]; ``coverages``: float32 (n,), in [0, 1].
    """
    dense = np.clip((cosines - COSINE_FLOOR) / (1 - COSINE_FLOOR), 0.0, 1.0)
    fused: FloatArray = (DENSE_WEIGHT * dense + (1 - DENSE_WEIGHT) * coverages).astype(np.float32)
    return fused
