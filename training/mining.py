"""Hard negatives: texts that an encoder takes for the answer and that are not.

A candidate nearer to the query than ``margin`` times the positive's similarity is likely an answer
nobody marked and is left out (positive-aware mining, de Souza P. Moreira et al. 2024,
arXiv:2407.15831); so is every text of the query's family.
"""

from __future__ import annotations

import numpy as np

from indexes.types import FloatArray
from training.families import Ints

_BLOCK = 4_000_000


def hard_negatives(
    queries: FloatArray,
    corpus: FloatArray,
    targets: Ints,
    query_families: Ints,
    corpus_families: Ints,
    *,
    count: int,
    top: int = 50,
    margin: float = 0.95,
) -> list[Ints]:
    """Return for each query the corpus places of up to ``count`` hard negatives, hardest first.

    ``queries`` (n, dim) and ``corpus`` (m, dim) are unit rows; ``targets`` (n,) are the places of
    the positives. Only the ``top`` nearest candidates are looked at; a family gives one negative at
    most, so that one question asked in ten ways does not fill the list.
    """
    found: list[Ints] = []
    depth = min(top, len(corpus))
    step = max(1, _BLOCK // max(1, len(corpus)))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        scores = queries[rows] @ corpus.T
        own = scores[np.arange(len(scores)), targets[rows]]
        wrong = query_families[rows, None] != corpus_families[None]
        scores[~(wrong & (scores <= margin * own[:, None]))] = -np.inf
        near = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
        near = np.take_along_axis(near, order, axis=1)
        for row, places in enumerate(near):
            usable = places[np.isfinite(scores[row, places])]
            found.append(_one_a_family(usable, corpus_families, count))
    return found


def _one_a_family(places: Ints, families: Ints, count: int) -> Ints:
    _, first = np.unique(families[places], return_index=True)
    return places[np.sort(first)][:count].astype(np.int64)
