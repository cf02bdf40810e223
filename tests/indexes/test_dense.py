"""Vector search against a plain matrix product."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_corpora import unit

import indexes.dense
from indexes.dense import DenseSegment, limit_threads, read_index, train, write_index

DIM = 16
RNG = np.random.default_rng(11)
VECTORS = unit(RNG.normal(size=(3000, DIM))).astype(np.float16)
QUERIES = unit(RNG.normal(size=(20, DIM)))
EXACT = DenseSegment(VECTORS)
APPROXIMATE = DenseSegment(VECTORS, train(VECTORS))


@pytest.fixture(autouse=True, scope="module")
def _few_probes() -> Iterator[None]:
    """Look into 5 of some 110 lists, so that a search has to notice when they hold too few."""
    patch = pytest.MonkeyPatch()
    patch.setattr(indexes.dense, "PROBES", 5)
    yield
    patch.undo()


def nearest(query: np.ndarray, count: int, allowed: np.ndarray) -> list[int]:
    products = VECTORS.astype(np.float32) @ query
    products[~allowed] = -np.inf
    return np.argsort(-products, kind="stable")[: min(count, int(allowed.sum()))].tolist()


@pytest.mark.parametrize("count", [1, 50, 4000])
def test_many_queries_at_once_equal_brute_force(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Matrix products over slices of vectors and blocks of queries, all joined again."""
    monkeypatch.setattr(indexes.dense, "_SLICE", 700)
    monkeypatch.setattr(indexes.dense, "_QUERIES", 17)
    queries = unit(np.random.default_rng(5).normal(size=(60, DIM)))
    everything = np.ones(len(VECTORS), dtype=np.bool_)
    for query, rows in zip(queries, EXACT.search(queries, count), strict=True):
        expected = nearest(query, count, everything)
        products = VECTORS.astype(np.float32) @ query
        assert np.allclose(products[rows], products[expected], atol=1e-6)
        assert len(set(rows.tolist())) == len(expected)


@settings(max_examples=40)
@given(st.integers(1, 60), st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]), st.integers(0, 2**32))
def test_exact_search_under_any_filter_equals_brute_force(
    count: int, share: float, seed: int
) -> None:
    allowed = np.random.default_rng(seed).random(len(VECTORS)) < share
    found = EXACT.search(QUERIES, count, allowed)
    assert [rows.tolist() for rows in found] == [nearest(q, count, allowed) for q in QUERIES]


@settings(max_examples=40)
@given(st.integers(1, 60), st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]), st.integers(0, 2**32))
def test_approximate_search_keeps_to_the_filter_and_the_count(
    count: int, share: float, seed: int
) -> None:
    allowed = np.random.default_rng(seed).random(len(VECTORS)) < share
    for rows in APPROXIMATE.search(QUERIES, count, allowed):
        assert len(set(rows.tolist())) == len(rows) == min(count, int(allowed.sum()))
        assert allowed[rows].all()


def test_a_selective_filter_makes_the_approximate_search_look_everywhere() -> None:
    allowed = np.zeros(len(VECTORS), dtype=np.bool_)
    allowed[RNG.choice(len(VECTORS), 30, replace=False)] = True
    for query, rows in zip(QUERIES, APPROXIMATE.search(QUERIES, 30, allowed), strict=True):
        assert set(rows.tolist()) == set(nearest(query, 30, allowed))


def test_more_probes_find_more_and_all_probes_find_all(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = np.ones(len(VECTORS), dtype=np.bool_)
    exact = [set(nearest(q, 10, everything)) for q in QUERIES]

    def recall(probes: int) -> float:
        monkeypatch.setattr(indexes.dense, "PROBES", probes)
        found = APPROXIMATE.search(QUERIES, 30)  # more than asked for, to be scored exactly
        return sum(len(e & set(f.tolist())) for e, f in zip(exact, found, strict=True)) / 200

    assert recall(5) < recall(30) <= recall(200)
    assert recall(200) > 0.99


def test_no_filter_equals_a_filter_that_lets_all_through() -> None:
    everything = np.ones(len(VECTORS), dtype=np.bool_)
    for segment in (EXACT, APPROXIMATE):
        without = segment.search(QUERIES, 10)
        with_all = segment.search(QUERIES, 10, everything)
        for left, right in zip(without, with_all, strict=True):
            np.testing.assert_array_equal(left, right)


def test_cosines_are_those_of_the_stored_vectors() -> None:
    rows = np.array([5, 0, 2999])
    for segment in (EXACT, APPROXIMATE):
        np.testing.assert_allclose(
            segment.cosines(QUERIES[0], rows),
            VECTORS[rows].astype(np.float32) @ QUERIES[0],
            atol=1e-6,
        )


@pytest.mark.parametrize("count", [1, 40, 700, 3000])
def test_a_big_batch_in_slices_equals_brute_force(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(indexes.dense, "_SLICE", 640)  # the last one is shorter than 700
    monkeypatch.setattr(indexes.dense, "_QUERIES", 9)
    everything = np.ones(len(VECTORS), dtype=np.bool_)
    many = np.concatenate([QUERIES, QUERIES[::-1]])
    for query, rows in zip(many, EXACT.search(many, count), strict=True):
        # Products that differ in the last bit may swap places: compare them, not the rows.
        assert len(set(rows.tolist())) == count
        np.testing.assert_allclose(
            EXACT.cosines(query, rows),
            EXACT.cosines(query, np.array(nearest(query, count, everything))),
            atol=1e-6,
        )


def test_the_number_of_threads_changes_nothing_but_time() -> None:
    before = EXACT.search(QUERIES, 10)
    many = np.repeat(QUERIES, 20, axis=0)  # enough work to be shared out
    for count in (1, 2, 0):
        limit_threads(count)
        for left, right in zip(before, EXACT.search(many, 10)[::20], strict=True):
            np.testing.assert_array_equal(left, right)


def test_an_exact_segment_shares_its_memory_and_outlives_its_maker() -> None:
    vectors = DenseSegment(VECTORS).vectors  # the segment itself is gone now
    np.testing.assert_array_equal(vectors, VECTORS)
    assert not vectors.flags.writeable


def test_a_trained_index_survives_the_disk(tmp_path: Path) -> None:
    index = train(VECTORS)
    write_index(index, tmp_path / "lists")
    again = DenseSegment(VECTORS, read_index(tmp_path / "lists"))
    for left, right in zip(
        DenseSegment(VECTORS, index).search(QUERIES, 10), again.search(QUERIES, 10), strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("count", [1, 10])
def test_an_empty_segment_finds_nothing(count: int) -> None:
    empty = DenseSegment(np.empty((0, DIM), dtype=np.float16))
    assert [rows.tolist() for rows in empty.search(QUERIES[:2], count)] == [[], []]
    assert EXACT.search(QUERIES[:0], count) == []
