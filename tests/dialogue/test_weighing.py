"""What models make of the evidence: windows, a new order, answers marked, steps left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from evidence_rows import asked, entry, hit, unit
from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.confidence import ALL_PARTS, Calibration
from assistant.dialogue.policy import Policy
from assistant.dialogue.reading import READ_CHUNKS, read
from assistant.dialogue.reranking import CHUNK_WEIGHT, rerank_chunks
from assistant.dialogue.weighing import Weighing
from assistant.dialogue.windows import TITLE_TOKENS, WINDOW_TOKENS, window
from assistant.models.reader import Reading
from assistant.models.trained import Judged
from assistant.types import Retrieved
from indexes.analysis import Analyzer
from indexes.types import FloatArray

ANALYZER = Analyzer()
CANDIDATES = 6
Pairs = Sequence[tuple[str, str]]


def by_length(pairs: Pairs) -> FloatArray:
    """A judge anybody can check: the longer the text, the better it fits."""
    return np.array([min(1.0, len(text) / 100) for _, text in pairs], dtype=np.float32)


def last_word(pairs: Pairs) -> list[Reading]:
    """A reader anybody can check: the answer is the last word."""
    found = []
    for _, text in pairs:
        start = text.rstrip(".").rfind(" ") + 1
        found.append(Reading(text[start:], start, len(text), 0.75, no_answer=False))
    return found


class Models:
    """Models that count what they are given; None stands for one that is not there."""

    def __init__(self, *, judge: bool = True, reader: bool = True) -> None:
        self.judge, self.reader = judge, reader
        self.judged: list[tuple[str, str]] = []
        self.read_: list[tuple[str, str]] = []

    def score(self, tenant: str, pairs: Pairs) -> Judged[FloatArray] | None:
        self.judged += pairs
        return Judged(f"reranker/{tenant}@v1", by_length(pairs)) if self.judge else None

    def read(self, tenant: str, pairs: Pairs) -> Judged[list[Reading]] | None:
        self.read_ += pairs
        return Judged(f"reader/{tenant}@v1", last_word(pairs)) if self.reader else None


def policy() -> Policy:
    return Policy(
        {parts: Calibration.load(parts) for parts in ALL_PARTS},
        lambda text: frozenset(ANALYZER.tokens(text)),
        error_rate=0.2,
        clarify_error_rate=0.75,
    )


def weigh(
    models: Models, found: Retrieved, candidates: int = 6
) -> tuple[Retrieved, dict[str, str]]:
    laps: list[str] = []
    weighing = Weighing(models, policy(), CANDIDATES)
    seen = weighing("bank", [asked("What does it cost?")], [found], laps.append)
    assert set(laps) <= {"rerank", "read"} and laps
    (one,) = seen.found
    return one, seen.versions


SENTENCES = [("One is far.", unit(0, 1)), ("Two is near.", unit(1)), ("Three.", unit(0.5, 1))]
CHUNKS = tuple(hit(n, SENTENCES[: 1 + n % 3], score=0.9 - n / 10) for n in range(8))


@given(
    texts=st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=12),
    near=st.integers(min_value=0, max_value=11),
    title=st.text(max_size=200),
)
def test_a_window_is_a_bounded_part_of_its_chunk(texts: list[str], near: int, title: str) -> None:
    rows = [(t, unit(1) if i == near % len(texts) else unit(0, 1)) for i, t in enumerate(texts)]
    chunk = hit(1, rows, title=title)
    seen = window(chunk, unit(1))
    assert seen.text[seen.lead :] == chunk.text[seen.start - chunk.start : seen.end - chunk.start]
    assert texts[near % len(texts)] in seen.text
    assert len(seen.text[: seen.lead].encode("utf-8", "ignore")) <= 4 * TITLE_TOKENS + 1
    own = len(texts[near % len(texts)].encode("utf-8", "surrogatepass"))
    room = max(own, 4 * WINDOW_TOKENS + 4 + len(texts))
    assert len(seen.text[seen.lead :].encode("utf-8", "surrogatepass")) <= room


def test_a_chunk_without_sentences_is_taken_from_its_start() -> None:
    chunk = hit(1, [])
    assert window(chunk, unit(1)).text == "Fees\n"


def test_chunks_are_ordered_by_both_scores() -> None:
    chunks = tuple(hit(n, [("x" * (40 * n + 1), unit(1))], score=0.9 - n / 100) for n in range(5))
    (one,) = rerank_chunks(by_length, [asked("q")], [Retrieved(chunks, ())], 3)
    read = [by_length([("q", window(chunk, unit(1)).text)]).item() for chunk in chunks[:3]]
    scores = [
        CHUNK_WEIGHT * value + (1 - CHUNK_WEIGHT) * chunk.score
        for value, chunk in zip([*read, 0, 0], chunks, strict=True)
    ]
    assert [h.chunk_id for h in one.chunks] == sorted(range(5), key=lambda n: -scores[n])
    assert [h.chunk_id for h in one.chunks] == [2, 1, 0, 3, 4]
    assert [h.score for h in one.chunks] == pytest.approx(sorted(scores, reverse=True))
    found = {h.chunk_id: h.relevance for h in one.chunks}
    assert [found[n] for n in range(5)] == [*read, None, None]


def test_a_batch_is_the_questions_one_by_one() -> None:
    questions = [asked("a"), asked("b", 0, 1), asked("c")]
    found = [Retrieved(CHUNKS[n:], ()) for n in range(3)]
    together = rerank_chunks(by_length, questions, found, 4)
    pairs = list(zip(questions, found, strict=True))
    alone = [rerank_chunks(by_length, [q], [f], 4)[0] for q, f in pairs]
    assert together == alone
    marked = read(last_word, questions, together)
    pairs = list(zip(questions, together, strict=True))
    assert marked == [read(last_word, [q], [f])[0] for q, f in pairs]


def test_answers_are_marked_where_they_stand_in_the_document() -> None:
    (one,) = read(last_word, [asked("q")], [Retrieved(CHUNKS, ())])
    for chunk in one.chunks[:READ_CHUNKS]:
        assert chunk.answer is not None
        shown = chunk.text[chunk.answer.start - chunk.start : chunk.answer.end - chunk.start]
        assert shown in {"far.", "near.", "Three."}
        assert chunk.answer.probability == 0.75
    assert all(chunk.answer is None for chunk in one.chunks[READ_CHUNKS:])


def test_an_answer_in_the_title_above_is_none() -> None:
    chunk = hit(1, [("Body.", unit(1))], title="Fees")

    def in_title(pairs: Pairs) -> list[Reading]:
        return [Reading("Fees", 0, 4, 0.99, no_answer=False) for _ in pairs]

    (one,) = read(in_title, [asked("q")], [Retrieved((chunk,), ())])
    assert one.chunks[0].answer is not None and one.chunks[0].answer.probability == 0.0


@pytest.mark.parametrize("entries", [0, 2, 9])
def test_no_more_than_the_candidates_are_read(entries: int) -> None:
    models = Models()
    faqs = tuple(entry(str(n), f"wording {n}", 0.1) for n in range(entries))
    seen, versions = weigh(models, Retrieved(CHUNKS, faqs))
    assert len(models.judged) == CANDIDATES
    assert len(models.read_) == READ_CHUNKS
    assert versions == {"reranker": "reranker/bank@v1", "reader": "reader/bank@v1"}
    assert all(chunk.answer is not None for chunk in seen.chunks[:READ_CHUNKS])


def test_an_entry_that_settles_it_spares_the_chunks() -> None:
    models = Models()
    sure = entry("sure", "What does it cost?" * 6, 1.0)
    found = Retrieved(CHUNKS, (sure, entry("other", "no", 0.0)), {"cost": 1.0})
    assert policy().is_settled(asked("What does it cost?"), found), "else the rest tells nothing"
    seen, versions = weigh(models, found)
    assert not models.judged and not models.read_
    assert seen == found and not versions


def test_without_a_model_the_evidence_stays_as_it_is() -> None:
    found = Retrieved(CHUNKS, ())
    seen, versions = weigh(Models(judge=False), found)
    assert (seen, versions) == (found, {})
    seen, versions = weigh(Models(reader=False), found)
    assert versions == {"reranker": "reranker/bank@v1"}
    assert seen.chunks[0].relevance is not None and seen.chunks[0].answer is None


def test_nothing_found_is_nothing_to_read() -> None:
    models = Models()
    seen, _ = weigh(models, Retrieved((), ()))
    assert seen == Retrieved((), ()) and not models.judged
