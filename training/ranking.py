"""How well an encoder's vectors find what belongs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from assistant.errors import InvalidInputError
from assistant.evaluation import Metric, bootstrap_all, pair_metrics
from assistant.evaluation.bootstrap import SAMPLES
from assistant.evaluation.scores import mean_statistic
from indexes.types import FloatArray
from training.data.rows import TextPair
from training.families import Families, Ints, is_positive

CUTOFF = 10
_BLOCK = 4_000_000

Encode = Callable[[Sequence[str]], FloatArray]
"""Texts to unit vectors float32 (texts, dim)."""


def pair_scores(
    pairs: Sequence[TextPair], queries: Encode, passages: Encode, *, samples: int = SAMPLES
) -> dict[str, Metric]:
    """Measure an encoder on pairs, with 95 % bootstrap intervals over queries.

    Positive pairs: ``recall_at_1``, ``recall_at_5``, ``mrr_at_10`` and ``ndcg_at_10`` of finding
    ``text_b`` among all different ``text_b``, with other texts of the query's family left out.
    Pairs labelled 0 and 1: how well their cosine tells them apart, ``spearman``, ``roc_auc`` and
    ``average_precision``. Raises InvalidInputError when the pairs allow neither.
    """
    found: dict[str, Metric] = {}
    if pairs:
        sides = _Sides(pairs, queries, passages)
        found = {**_found(pairs, sides, samples), **_told_apart(pairs, sides, samples)}
    if not found:
        raise InvalidInputError(
            f"{len(pairs)} pairs cannot measure an encoder: a positive pair and two different "
            "texts to find are needed, or labels of both kinds. Look at the run's data card."
        )
    return found


class _Sides:
    """The different texts of both sides of pairs, with their vectors."""

    def __init__(self, pairs: Sequence[TextPair], queries: Encode, passages: Encode) -> None:
        self.said = list(dict.fromkeys(pair.text_b for pair in pairs))
        asked = list(dict.fromkeys(pair.text_a for pair in pairs))
        self.place_a = {text: i for i, text in enumerate(asked)}
        self.place_b = {text: i for i, text in enumerate(self.said)}
        self.a, self.b = queries(asked), passages(self.said)

    def places(self, pairs: Sequence[TextPair]) -> tuple[Ints, Ints]:
        """Return where the texts of each pair stand."""
        first = np.array([self.place_a[pair.text_a] for pair in pairs], dtype=np.int64)
        return first, np.array([self.place_b[pair.text_b] for pair in pairs], dtype=np.int64)


def _found(pairs: Sequence[TextPair], sides: _Sides, samples: int) -> dict[str, Metric]:
    """Return how well the queries of positive pairs find their texts."""
    positive = [pair for pair in pairs if is_positive(pair)]
    if not positive or len(sides.said) < 2:
        return {}
    rows, targets = sides.places(positive)
    families = Families(pairs)
    own = families.all_of([pair.text_a for pair in positive])
    ranks = filtered_ranks(sides.a[rows], sides.b, targets, own, families.all_of(sides.said))
    return _rank_metrics(ranks, rows, samples)


def _told_apart(pairs: Sequence[TextPair], sides: _Sides, samples: int) -> dict[str, Metric]:
    """Return how well the cosine of labelled pairs follows their labels."""
    labelled = [pair for pair in pairs if pair.label is not None]
    truth = np.array([is_positive(pair) for pair in labelled], dtype=np.int64)
    if not 0 < truth.sum() < len(truth):
        return {}
    first, second = sides.places(labelled)
    cosines = (sides.a[first] * sides.b[second]).sum(axis=1)
    every = pair_metrics(truth, cosines, probabilities=False, samples=samples)
    return {name: every[name] for name in ("spearman", "roc_auc", "average_precision")}


def filtered_ranks(
    queries: FloatArray,
    corpus: FloatArray,
    targets: Ints,
    query_families: Ints,
    corpus_families: Ints,
) -> Ints:
    """Return at which rank, from 1, each query finds its target, int64 (queries,).

    ``queries`` (n, dim) and ``corpus`` (m, dim) are unit rows, ``targets`` (n,) places in the
    corpus. Other texts of the query's family are left out ("filtered"
    ranking, Bordes et al. 2013, "Translating Embeddings for Modeling Multi-relational Data"); ties
    count against the target.
    """
    ranks = np.empty(len(queries), dtype=np.int64)
    step = max(1, _BLOCK // max(1, len(corpus)))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        scores = queries[rows] @ corpus.T
        own = scores[np.arange(len(scores)), targets[rows]]
        rivals = query_families[rows, None] != corpus_families[None]
        ranks[rows] = 1 + ((scores >= own[:, None]) & rivals).sum(axis=1)
    return ranks


def _rank_metrics(ranks: Ints, queries: Ints, samples: int) -> dict[str, Metric]:
    """Return the metrics of ranks (pairs,); a query with several pairs counts once."""
    inside = ranks <= CUTOFF
    values = {
        "recall_at_1": ranks <= 1,
        "recall_at_5": ranks <= 5,
        "mrr_at_10": inside / ranks,
        "ndcg_at_10": inside / np.log2(ranks + 1),
    }
    _, place, counts = np.unique(queries, return_inverse=True, return_counts=True)
    statistics = {
        name: mean_statistic(np.bincount(place, weights=value) / counts)
        for name, value in values.items()
    }
    return bootstrap_all(statistics, len(counts), samples=samples)
