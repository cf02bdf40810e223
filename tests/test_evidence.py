"""Tests of the order of chunks by their nearest sentence."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.evidence import SENTENCE_WEIGHT, by_sentence
from assistant.storage.codec import Sentences, encode_sentences
from assistant.types import ChunkHit
from indexes.fusion import fuse
from tests.dialogue.evidence_rows import DIM, hit, unit

FLOOR = 0.2
QUERY = unit(1)


def found(number: int, cosine: float, *sentences: tuple[float, ...]) -> ChunkHit:
    """A chunk as the index hands it out: its own cosine, sentences of the given directions."""
    made = hit(number, [(f"Sentence {i}.", unit(*row)) for i, row in enumerate(sentences)])
    return dataclasses.replace(made, cosine=cosine, coverage=0.0, score=cosine)


def test_one_sentence_that_answers_beats_a_chunk_that_is_near_on_average() -> None:
    near = found(1, 0.80, (1, 0.9), (1, 0.8))
    answers = found(2, 0.75, (0, 1), (1, 0), (0, 0, 1))
    ordered = by_sentence([near, answers], QUERY, FLOOR)
    assert [one.chunk_id for one in ordered] == [2, 1]
    assert ordered[0].cosine == pytest.approx(0.75 + SENTENCE_WEIGHT * (1 - 0.75))


def test_a_chunk_without_sentences_keeps_its_cosine() -> None:
    (only,) = by_sentence([found(1, 0.6)], QUERY, FLOOR)
    assert only.cosine == pytest.approx(0.6)
    assert by_sentence([], QUERY, FLOOR) == ()


def test_stored_sentences_give_what_plain_ones_give() -> None:
    plain = found(1, 0.5, (0.3, 0.9, 0.1), (0.8, 0.2, 0.5))
    vectors = np.stack([one.vector for one in plain.sentences])
    spans = [one.span for one in plain.sentences]
    stored = Sentences(encode_sentences(spans, vectors), plain.text, plain.start)
    (ours,) = by_sentence([dataclasses.replace(plain, sentences=stored)], QUERY, FLOOR)
    (theirs,) = by_sentence([plain], QUERY, FLOOR)
    assert ours.cosine == pytest.approx(theirs.cosine, abs=2e-3)


def test_a_stored_chunk_without_sentences_keeps_its_cosine() -> None:
    empty = Sentences(encode_sentences((), np.zeros((0, DIM), np.float32)), "", 0)
    bare = dataclasses.replace(found(1, 0.4), sentences=empty)
    assert by_sentence([bare], QUERY, FLOOR)[0].cosine == pytest.approx(0.4)


cosine = st.floats(-1, 1, width=32)


@given(
    st.lists(st.tuples(cosine, st.floats(0, 1, width=32), st.lists(cosine, max_size=4)), max_size=6)
)
def test_scores_are_those_computed_one_by_one(
    rows: list[tuple[float, float, list[float]]],
) -> None:
    hits = []
    for number, (whole, coverage, sentences) in enumerate(rows):
        sides = [(c, float(np.sqrt(max(0.0, 1 - c * c)))) for c in sentences]
        made = hit(number, [("s", np.array([*s, *[0] * (DIM - 2)], np.float32)) for s in sides])
        hits.append(dataclasses.replace(made, cosine=whole, coverage=coverage))
    ordered = by_sentence(hits, QUERY, FLOOR)
    expected = {}
    for number, (whole, coverage, sentences) in enumerate(rows):
        mixed = 0.3 * whole + 0.7 * max(sentences) if sentences else whole
        one = np.array([mixed], np.float32), np.array([coverage], np.float32)
        expected[number] = float(fuse(*one, FLOOR)[0])
    assert {one.chunk_id: one.score for one in ordered} == pytest.approx(expected, abs=1e-5)
    scores = [one.score for one in ordered]
    assert scores == sorted(scores, reverse=True)
