"""The whole index: against brute force, through any history, from many threads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from index_corpora import DIM, brute_force, random_items, random_text, unit

import indexes.segment
from indexes.fusion import fuse
from indexes.search import HybridIndex
from indexes.types import FloatArray, Hit, IndexItem, VectorSpace

RNG = np.random.default_rng(23)
FLOOR = 0.7


def open_index(root: Path) -> HybridIndex:
    return HybridIndex.open(root, VectorSpace("test", DIM, FLOOR))


def query_vector(rng: np.random.Generator) -> FloatArray:
    return unit(rng.normal(size=DIM) * 0.5 + 1.0)


def assert_same_as_brute_force(
    hits: Sequence[Hit], items: Sequence[IndexItem], text: str, vector: FloatArray
) -> None:
    """``hits`` must rank all ``items`` and carry their exact scores."""
    expected = brute_force(items, text, vector)
    assert {h.item_id for h in hits} == set(expected)
    for hit in hits:
        cosine, coverage = expected[hit.item_id]
        assert hit.cosine == pytest.approx(cosine, abs=1e-5)
        assert hit.coverage == pytest.approx(coverage, abs=1e-5)
        fused = fuse(np.float32([hit.cosine]), np.float32([hit.coverage]), FLOOR)[0]
        assert hit.score == pytest.approx(fused, abs=1e-6)
        assert 0.0 <= hit.score <= 1.0
    scores = [h.score for h in hits]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("base", [0, 150, 300])
def test_search_equals_brute_force_wherever_the_items_are(tmp_path: Path, base: int) -> None:
    items = random_items(RNG, 300)
    index = open_index(tmp_path)
    if base:
        index.rebuild(items[:base], 0)
    for start in range(base, 300, 70):
        index.add(items[start : min(start + 70, 300)])
    text, vector = random_text(RNG), query_vector(RNG)
    [hits] = index.search([text], vector[None], 300)
    assert_same_as_brute_force(hits, items, text, vector)
    [top] = index.search([text], vector[None], 5)
    assert top == hits[:5]


def test_a_batch_equals_its_queries_one_by_one(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    index.rebuild(random_items(RNG, 200), 0)
    index.add(random_items(RNG, 40, first=201))
    texts = [random_text(RNG) for _ in range(30)]
    vectors = np.stack([query_vector(RNG) for _ in texts])
    batch = index.search(texts, vectors, 7)
    for text, vector, hits in zip(texts, vectors, batch, strict=True):
        [alone] = index.search([text], vector[None], 7)
        assert [h.item_id for h in alone] == [h.item_id for h in hits]
        assert [h.score for h in alone] == pytest.approx([h.score for h in hits], abs=1e-6)


@pytest.mark.parametrize("tag", ["public", "staff", "nobody"])
def test_tags_filter_inside_the_search(tmp_path: Path, tag: str) -> None:
    items = random_items(RNG, 400)
    index = open_index(tmp_path)
    index.rebuild(items[:300], 0)
    index.add(items[300:])
    index.delete(range(1, 400, 3), 1)
    allowed = {i.item_id for i in items if tag in i.tags} - set(range(1, 400, 3))
    [hits] = index.search([random_text(RNG)], query_vector(RNG)[None], 400, tags=frozenset({tag}))
    assert {h.item_id for h in hits} == allowed
    [few] = index.search([random_text(RNG)], query_vector(RNG)[None], 10, tags=frozenset({tag}))
    assert len(few) == min(10, len(allowed))


def test_one_of_several_tags_is_enough(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    items = random_items(RNG, 60)
    index.add(items)
    tags = frozenset({"public", "branch"})
    [hits] = index.search(["fee"], query_vector(RNG)[None], 60, tags=tags)
    assert {h.item_id for h in hits} == {i.item_id for i in items if i.tags & tags}


def test_what_is_deleted_never_comes_back(tmp_path: Path) -> None:
    items = random_items(RNG, 50)
    index = open_index(tmp_path)
    index.add(items[:25])
    index.delete([3, 30], 9)
    index.add(items)  # 3 again, and 30 for the first time, after its deletion
    assert index.size == 48
    index.rebuild([i for i in items if i.item_id != 30], 8)  # a state before 3 was deleted
    [hits] = index.search(["fee"], query_vector(RNG)[None], 50)
    assert {h.item_id for h in hits} == set(range(1, 51)) - {3, 30}


def test_items_added_while_a_rebuild_reads_survive_it(tmp_path: Path) -> None:
    items = random_items(RNG, 30)
    index = open_index(tmp_path)
    index.add(items[:10])

    def reading() -> object:
        yield from items[:10]
        index.add(items[10:])
        index.delete([1, 12], 5)

    index.rebuild(reading(), 0)  # type: ignore[arg-type]
    assert index.size == 28
    assert index.last_item_id == 30
    # The base on disk knows of no deletion: asking for them again must be possible.
    assert index.last_deletion_id <= 5
    text, vector = random_text(RNG), query_vector(RNG)
    left = [i for i in items if i.item_id not in {1, 12}]
    assert_same_as_brute_force(index.search([text], vector[None], 30)[0], left, text, vector)


def test_a_rebuild_drops_what_the_source_no_longer_has(tmp_path: Path) -> None:
    items = random_items(RNG, 20)
    index = open_index(tmp_path)
    index.add(items)
    index.rebuild([i for i in items if i.item_id % 2 == 0], 4)
    [hits] = index.search(["fee"], query_vector(RNG)[None], 20)
    assert {h.item_id for h in hits} == set(range(2, 21, 2))


def test_a_reopened_index_answers_the_same(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    index.rebuild(random_items(RNG, 100), 17)
    again = open_index(tmp_path)
    assert (again.size, again.last_item_id, again.last_deletion_id) == (100, 100, 17)
    text, vector = random_text(RNG), query_vector(RNG)
    assert again.search([text], vector[None], 20) == index.search([text], vector[None], 20)


def test_an_empty_index_answers_nothing(tmp_path: Path) -> None:
    index = open_index(tmp_path / "none yet")
    assert index.search(["fee"], query_vector(RNG)[None], 5) == [[]]
    assert index.search([], np.empty((0, DIM), dtype=np.float32), 5) == []
    index.rebuild([], 3)
    assert open_index(tmp_path / "none yet").last_deletion_id == 3
    assert index.search(["fee"], query_vector(RNG)[None], 5) == [[]]


def test_a_query_without_any_term_is_answered_by_its_vector(tmp_path: Path) -> None:
    items = random_items(RNG, 40)
    index = open_index(tmp_path)
    index.add(items)
    for text in ("", "？！", "\ud800", "what is it"):
        [hits] = index.search([text], items[7].vector[None], 3)
        assert hits[0].item_id == 8
        assert all(h.coverage == 0.0 for h in hits)


def test_compaction_is_asked_for_after_many_changes_and_not_before(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    items = random_items(RNG, 2100)
    index.add(items[:100])
    assert not index.needs_compaction()
    index.add(items[100:])
    assert index.needs_compaction()
    index.rebuild(items, 0)
    assert not index.needs_compaction()
    index.delete(range(1, 2050), 1)
    assert index.needs_compaction()


def test_compaction_forgets_what_was_deleted_and_keeps_the_marks(tmp_path: Path) -> None:
    items = random_items(RNG, 120)
    index = open_index(tmp_path)
    index.rebuild(items[:60], 0)
    index.add([*items[60:], IndexItem(121, "unheard-of", items[0].vector)])
    index.delete([2, 70, 121], 8)
    index.compact()
    again = open_index(tmp_path)
    for compacted in (index, again):
        # 121 is gone, but must not be asked for again.
        assert (compacted.size, compacted.last_item_id, compacted.last_deletion_id) == (118, 121, 8)
    assert "unheard" not in again._vocabulary
    left = [i for i in items if i.item_id not in {2, 70}]
    text, vector = random_text(RNG), query_vector(RNG)
    assert_same_as_brute_force(again.search([text], vector[None], 118)[0], left, text, vector)
    open_index(tmp_path / "empty").compact()


def test_a_big_build_in_blocks_equals_one_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.segment, "_INVERT_AT_ONCE", 50)
    items = random_items(RNG, 90)
    index = open_index(tmp_path)
    index.rebuild(items, 0)
    text, vector = random_text(RNG), query_vector(RNG)
    assert_same_as_brute_force(index.search([text], vector[None], 90)[0], items, text, vector)


def test_one_by_one_additions_keep_the_segments_few(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    items = random_items(RNG, 1500)
    index.rebuild(items[:100], 0)
    for item in items[100:]:
        index.add([item])
    assert len(index._snapshot.segments) <= 5
    text, vector = random_text(RNG), query_vector(RNG)
    assert_same_as_brute_force(index.search([text], vector[None], 1500)[0], items, text, vector)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(DIM - 1, dtype=np.float32), "vector of shape"),
        (np.full(DIM, np.nan, dtype=np.float32), "finite"),
    ],
)
def test_bad_items_are_refused_and_change_nothing(
    tmp_path: Path, vector: FloatArray, message: str
) -> None:
    index = open_index(tmp_path)
    index.add(random_items(RNG, 5))
    with pytest.raises(ValueError, match=message):
        index.add([*random_items(RNG, 1, first=6), IndexItem(7, "fee", vector)])
    assert (index.size, index.last_item_id) == (5, 5)


def test_bad_searches_are_refused(tmp_path: Path) -> None:
    index = open_index(tmp_path)
    with pytest.raises(ValueError, match="need"):
        index.search(["a", "b"], query_vector(RNG)[None], 5)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(["a"], query_vector(RNG)[None], 0)
    with pytest.raises(ValueError, match="2 times"):
        index.add(random_items(RNG, 1) * 2)


def test_searches_go_on_through_additions_deletions_and_rebuilds(tmp_path: Path) -> None:
    items = random_items(RNG, 600)
    index = open_index(tmp_path)
    index.rebuild(items[:200], 0)
    gone = set(range(1, 200, 4))
    deleted = threading.Event()
    stop = threading.Event()
    errors: list[BaseException] = []
    searches = [0]

    def search() -> None:
        rng = np.random.default_rng(threading.get_ident() % 2**32)
        while not stop.is_set():
            must_be_gone = deleted.is_set()
            try:
                [hits] = index.search([random_text(rng)], query_vector(rng)[None], 600)
                ids = [h.item_id for h in hits]
                assert len(ids) == len(set(ids))
                assert set(range(1, 201)) - gone <= set(ids)
                assert not (must_be_gone and gone & set(ids))
                searches[0] += 1
            except BaseException as error:
                errors.append(error)
                return

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    index.delete(gone, 50)
    deleted.set()
    for start in range(200, 600, 20):
        index.add(items[start : start + 20])
        if start % 100 == 0:
            index.rebuild((i for i in items[:start] if i.item_id not in gone), 50)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    assert searches[0] > 10
    assert index.size == 600 - len(gone)


class AnyHistory(RuleBasedStateMachine):
    """Whatever was done before, the index answers as if built at once from what is left."""

    @initialize(tmp=st.just(None), seed=st.integers(0, 2**16))
    def start(self, tmp: None, seed: int) -> None:
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.rng = np.random.default_rng(seed)
        self.index = open_index(Path(self.folder.name))
        self.items: dict[int, IndexItem] = {}
        self.next_id = 1
        self.deletions = 0
        self.log: list[tuple[int, int]] = []

    @rule(count=st.integers(1, 40))
    def add(self, count: int) -> None:
        fresh = random_items(self.rng, count, first=self.next_id)
        self.next_id += count
        self.items.update({i.item_id: i for i in fresh})
        self.index.add(fresh)

    @rule(share=st.floats(0, 1))
    def delete(self, share: float) -> None:
        chosen = [i for i in self.items if self.rng.random() < share]
        for item_id in chosen:
            self.deletions += 1
            self.log.append((self.deletions, item_id))
            del self.items[item_id]
        self.index.delete(chosen, self.deletions)

    @rule()
    def rebuild(self) -> None:
        self.index.rebuild(list(self.items.values()), self.deletions)

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def restart(self) -> None:
        # As the owner does: open, add what came after, delete what was deleted after.
        self.index = open_index(Path(self.folder.name))
        self.index.add([i for i in self.items.values() if i.item_id > self.index.last_item_id])
        later = [item for number, item in self.log if number > self.index.last_deletion_id]
        self.index.delete(later, self.deletions)

    @invariant()
    def answers_match(self) -> None:
        items = list(self.items.values())
        assert self.index.size == len(items)
        text, vector = random_text(self.rng), query_vector(self.rng)
        [hits] = self.index.search([text], vector[None], len(items) + 1)
        if items:
            assert_same_as_brute_force(hits, items, text, vector)
        else:
            assert hits == []

    def teardown(self) -> None:
        self.folder.cleanup()


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=15, stateful_step_count=12)
