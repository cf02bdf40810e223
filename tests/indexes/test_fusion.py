"""One score from two: its range and order, and what it gains on real questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from assistant.errors import AssistantError
from indexes.evaluate import evaluate_retrieval, read_retrieval_set
from indexes.fusion import fuse
from indexes.search import HybridIndex
from indexes.types import Hit, IndexItem

FLOOR = 0.7

cosines = hnp.arrays(np.float32, 8, elements=st.floats(-1, 1, width=32))
coverages = hnp.arrays(np.float32, 8, elements=st.floats(0, 1, width=32))


@given(cosines, coverages)
def test_scores_lie_between_0_and_1(cosine: np.ndarray, coverage: np.ndarray) -> None:
    scores = fuse(cosine, coverage, FLOOR)
    assert scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1 + 1e-6)).all()


@given(cosines, coverages, st.floats(0, 1, width=32))
def test_more_of_either_side_never_scores_less(
    cosine: np.ndarray, coverage: np.ndarray, more: float
) -> None:
    raised = np.minimum(cosine + np.float32(more), 1)
    assert (fuse(raised, coverage, FLOOR) >= fuse(cosine, coverage, FLOOR)).all()
    raised = np.minimum(coverage + np.float32(more), 1)
    assert (fuse(cosine, raised, FLOOR) >= fuse(cosine, coverage, FLOOR)).all()


@given(hnp.arrays(np.float32, 8, elements=st.floats(0.75, 1, width=32), unique=True))
def test_a_blind_lexical_side_leaves_the_order_of_the_dense_side(cosine: np.ndarray) -> None:
    nothing = np.zeros_like(cosine)
    scores = fuse(cosine, nothing, FLOOR)
    assert (np.diff(scores[np.argsort(cosine)]) >= 0).all()


def test_the_ends_of_the_scale() -> None:
    ends = fuse(np.float32([1, FLOOR, -1]), np.float32([1, 0, 0]), FLOOR)
    np.testing.assert_allclose(ends, [1, 0, 0], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tokens"), [("retrieval_xling_zh_en", 256), ("retrieval_en_bankfaq", 48)]
)
def test_fusion_is_no_worse_than_the_better_side(
    dev_data: Path, tmp_path: Path, name: str, tokens: int
) -> None:
    """One set where words are blind, since the languages differ, and one where both sides see."""
    from assistant.models.loading import load_encoder
    from assistant.settings import Settings

    test = read_retrieval_set(dev_data / name)
    try:
        encoder = load_encoder(Settings())
    except AssistantError as error:
        pytest.skip(f"no encoder built: {error}")
    encoder.max_tokens = tokens
    ids = list(test.corpus)
    vectors = encoder.encode_passages(list(test.corpus.values()))
    index = HybridIndex.open(
        tmp_path,
        encoder.space,
    )
    index.rebuild(
        (IndexItem(n + 1, test.corpus[i], vectors[n]) for n, i in enumerate(ids)),
        0,
    )

    found = index.search(
        list(test.queries.values()), encoder.encode_queries(list(test.queries.values())), 100
    )
    encoder.close()
    hits_of = dict(zip(test.queries.values(), found, strict=True))

    def ndcg(key: str) -> float:
        def order(hit: Hit) -> float:
            return float(getattr(hit, key))

        def rank(queries: Sequence[str], depth: int) -> list[list[str]]:
            return [
                [ids[h.item_id - 1] for h in sorted(hits_of[q], key=order, reverse=True)[:depth]]
                for q in queries
            ]

        return evaluate_retrieval(test.corpus, test.queries, test.qrels, rank).ndcg_at_10

    assert ndcg("score") >= max(ndcg("cosine"), ndcg("coverage")) - 0.005
