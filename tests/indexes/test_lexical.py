"""BM25 against an independent library, in one segment and in many."""

from __future__ import annotations

import bm25s
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from index_corpora import random_text

from indexes.analysis import Analyzer
from indexes.lexical import (
    K1,
    B,
    LexicalSearcher,
    LexicalSegment,
    Postings,
    Vocabulary,
    build_postings,
    merge_postings,
    relabel_postings,
    top_rows,
)

Corpus = list[list[str]]
corpora = st.lists(
    st.lists(st.sampled_from("abcdefgh"), max_size=20), min_size=1, max_size=20
).filter(any)


def post(texts: Corpus, vocabulary: Vocabulary) -> Postings:
    ids = [vocabulary.intern(text) for text in texts]
    return build_postings(
        np.array([i for text in ids for i in text], dtype=np.int64),
        np.array([len(text) for text in ids], dtype=np.int32),
    )


def scores_of(searcher: LexicalSearcher, query: list[str], segments: int = 1) -> np.ndarray:
    weighed = searcher.weigh(query)
    return np.concatenate([next(searcher.scores([weighed], i)) for i in range(segments)])


def test_scores_equal_those_of_bm25s() -> None:
    rng = np.random.default_rng(3)
    analyzer = Analyzer()
    texts = [analyzer.tokens(random_text(rng)) for _ in range(200)]
    vocabulary = Vocabulary()
    searcher = LexicalSearcher([LexicalSegment.of(post(texts, vocabulary))], vocabulary)
    reference = bm25s.BM25(method="lucene", k1=K1, b=B)
    reference.index(texts, show_progress=False)
    for _ in range(30):
        query = sorted(set(analyzer.tokens(random_text(rng))))
        np.testing.assert_allclose(
            scores_of(searcher, query), reference.get_scores(query), rtol=2e-5, atol=1e-6
        )


@given(corpora, st.data())
def test_segments_and_deletions_score_as_one_index_of_what_is_left(
    texts: Corpus, data: st.DataObject
) -> None:
    keep = np.array([data.draw(st.booleans()) for _ in texts])
    cut = data.draw(st.integers(0, len(texts)))
    query = data.draw(st.lists(st.sampled_from("abcdefghz"), max_size=6))
    vocabulary = Vocabulary()
    parts = [
        LexicalSegment.of(post(part, vocabulary)).without(~keep[where])
        for part, where in ((texts[:cut], slice(0, cut)), (texts[cut:], slice(cut, None)))
    ]
    searcher = LexicalSearcher(parts, vocabulary)
    left = [text for text, kept in zip(texts, keep, strict=True) if kept]
    fresh = Vocabulary()
    expected = LexicalSearcher([LexicalSegment.of(post(left, fresh))], fresh)
    assert searcher.weigh(query).best == pytest.approx(expected.weigh(query).best)
    np.testing.assert_allclose(
        scores_of(searcher, query, 2)[keep], scores_of(expected, query), rtol=1e-5
    )


@given(corpora, st.data())
def test_merging_equals_building_anew(texts: Corpus, data: st.DataObject) -> None:
    keep = np.array([data.draw(st.booleans()) for _ in texts])
    cut = data.draw(st.integers(0, len(texts)))
    vocabulary = Vocabulary("abcdefgh")
    merged = merge_postings(
        [post(texts[:cut], vocabulary), post(texts[cut:], vocabulary)], [keep[:cut], keep[cut:]]
    )
    anew = post([t for t, kept in zip(texts, keep, strict=True) if kept], vocabulary)
    for name in ("terms", "offsets", "rows", "counts", "lengths"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(anew, name), err_msg=name)


@given(corpora, st.permutations("abcdefgh"))
def test_relabelling_equals_another_vocabulary(texts: Corpus, order: list[str]) -> None:
    old, new = Vocabulary("abcdefgh"), Vocabulary(order)
    postings = post(texts, old)
    names = old.terms()
    ids = np.array(new.intern(names[t] for t in postings.terms), dtype=np.int64)
    relabelled, anew = relabel_postings(postings, ids), post(texts, new)
    for name in ("terms", "offsets", "rows", "counts", "lengths"):
        np.testing.assert_array_equal(getattr(relabelled, name), getattr(anew, name), err_msg=name)


@given(corpora, st.lists(st.sampled_from("abcdefghz"), min_size=1, max_size=6))
def test_no_score_passes_the_best_possible(texts: Corpus, query: list[str]) -> None:
    vocabulary = Vocabulary()
    searcher = LexicalSearcher([LexicalSegment.of(post(texts, vocabulary))], vocabulary)
    scores = scores_of(searcher, query)
    assert (scores >= 0).all()
    assert (scores < searcher.weigh(query).best).all()


def test_a_term_the_corpus_lacks_weighs_most_and_lowers_coverage() -> None:
    vocabulary = Vocabulary()
    texts = [["fee", "card"], ["fee"], ["card"]]
    searcher = LexicalSearcher([LexicalSegment.of(post(texts, vocabulary))], vocabulary)
    weights = searcher.weights(["fee", "unheard"])
    assert weights["unheard"] > weights["fee"] > 0
    known, mixed = searcher.weigh(["fee"]), searcher.weigh(["fee", "unheard"])
    assert mixed.best == pytest.approx(known.best + weights["unheard"])
    assert len(mixed.terms) == 1


def test_counts_beyond_a_byte_saturate_instead_of_wrapping() -> None:
    vocabulary = Vocabulary()
    postings = post([["fee"] * 256, ["fee"] * 2 + ["card"] * 254], vocabulary)
    searcher = LexicalSearcher([LexicalSegment.of(postings)], vocabulary)
    often, seldom = scores_of(searcher, ["fee"])
    assert often > seldom


def test_an_empty_corpus_scores_nothing() -> None:
    searcher = LexicalSearcher([], Vocabulary())
    assert searcher.weigh(["fee"]).terms == ()
    assert searcher.weigh([]).best == 0.0


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=40),
    st.integers(1, 50),
    st.none() | st.randoms(use_true_random=False),
)
def test_top_rows_are_the_best_positive_allowed(
    scores: list[int], count: int, mask: object
) -> None:
    array = np.array(scores, dtype=np.float32)
    allowed = None
    if mask is not None:
        allowed = np.array([mask.random() < 0.5 for _ in scores])  # type: ignore[attr-defined]
    rows = top_rows(array, count, allowed)
    possible = [s for i, s in enumerate(scores) if s > 0 and (allowed is None or bool(allowed[i]))]
    assert len(set(rows.tolist())) == len(rows)
    assert sorted(array[rows].tolist(), reverse=True) == sorted(possible, reverse=True)[:count]
    assert allowed is None or allowed[rows].all()
