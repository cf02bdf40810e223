"""Grounded answers: whole sentences, exact citations, bounded size."""

from dataclasses import replace

import numpy as np
import pytest
from evidence_rows import DIM, hit, unit

from assistant.dialogue.compose import MAX_CHARACTERS, MAX_SENTENCES, compose
from assistant.dialogue.figures import unsupported_figures
from assistant.types import AnswerSpan, ChunkHit
from indexes.analysis import Analyzer

ANALYZER = Analyzer()


def tokenise(text: str) -> frozenset[str]:
    return frozenset(ANALYZER.tokens(text))


def test_the_best_sentence_is_quoted_exactly() -> None:
    chunk = hit(
        1,
        [
            ("Our bank was founded in 1921.", unit(0, 1)),
            ("A transfer abroad costs 25 pounds.", unit(1, 0.1)),
            ("Branches close at five.", unit(0, 0, 1)),
        ],
    )
    terms = {t: 1.0 for t in tokenise("cost of a transfer abroad")}
    draft = compose(unit(1), terms, [chunk], tokenise, "en")
    assert draft is not None
    assert draft.text == "A transfer abroad costs 25 pounds."
    (citation,) = draft.citations
    assert chunk.text[citation.start - chunk.start : citation.end - chunk.start] == citation.quote


def test_the_sentence_in_which_a_reader_sees_the_answer_is_taken() -> None:
    near = ("Fees are listed on the price list.", unit(1, 0.1))
    far = ("Twenty-five pounds is what it costs.", unit(1, 0.15))
    chunk = hit(1, [near, far])
    terms = {"card": 1.0}
    plain = compose(unit(1), terms, [chunk], tokenise, "en")
    place = chunk.sentences[1].span
    marked = replace(chunk, answer=AnswerSpan(place.start, place.start + 18, 0.9))
    read = compose(unit(1), terms, [marked, hit(2, [near])], tokenise, "en")
    assert plain is not None and plain.best.answer is None and plain.best.index == 0
    assert read is not None and read.best.sentence.text == far[0]
    assert read.best.answer == 0.9
    doubted = replace(chunk, answer=AnswerSpan(place.start, place.start + 18, 0.01))
    unsure = compose(unit(1), terms, [doubted], tokenise, "en")
    assert unsure is not None and unsure.best.index == 0 and unsure.best.answer == 0.0


def test_a_sentence_that_leans_back_brings_the_one_before() -> None:
    chunk = hit(
        1,
        [
            ("The premium account has a monthly fee.", unit(0.6, 0.8)),
            ("It is 12 pounds, waived above 5,000.", unit(1, 0.1)),
        ],
    )
    draft = compose(unit(1), {"fee": 1.0}, [chunk], tokenise, "en")
    assert draft is not None
    assert draft.text.startswith("The premium account") and draft.text.endswith("above 5,000.")
    assert len(draft.citations) == 2


def test_answers_stay_bounded_and_never_repeat() -> None:
    same = [("The fee is 5 pounds a month.", unit(1)) for _ in range(9)]
    draft = compose(unit(1), {"fee": 1.0}, [hit(i, same) for i in range(4)], tokenise, "en")
    assert draft is not None
    assert len(draft.citations) <= MAX_SENTENCES and len(draft.text) <= MAX_CHARACTERS
    long = [("word " * 300 + ".", unit(1)), ("Second. " * 100, unit(1))]
    draft = compose(unit(1), {"word": 1.0}, [hit(1, long)], tokenise, "en")
    assert draft is not None and len(draft.citations) == 1


@pytest.mark.parametrize("hits", [[], [hit(1, [])]])
def test_no_sentence_no_answer(hits: list[ChunkHit]) -> None:
    assert compose(unit(1), {"fee": 1.0}, hits, tokenise, "en") is None


def test_every_citation_stands_in_the_answer_in_order() -> None:
    rng = np.random.default_rng(3)
    for _ in range(30):
        hits = [
            hit(i, [(f"Sentence {i}{j} costs {i}{j} pounds.", unit(*rng.normal(size=DIM)))
                    for j in range(5)], float(rng.uniform()))
            for i in range(3)
        ]  # fmt: skip
        draft = compose(unit(*rng.normal(size=DIM)), {"cost": 1.0}, hits, tokenise, "en")
        assert draft is not None
        places = [draft.text.index(c.quote) for c in draft.citations]
        assert places == sorted(places)
        evidence = " ".join(c.quote for c in draft.citations)
        assert not unsupported_figures(draft.text, evidence)


def test_chinese_sentences_join_without_a_space() -> None:
    chunk = hit(1, [("年费为三百元。", unit(1)), ("该费用每年一月收取。", unit(1, 0.1))])
    draft = compose(unit(1), {"年费": 1.0}, [chunk], tokenise, "zh")
    assert draft is not None and draft.text == "年费为三百元。该费用每年一月收取。"
