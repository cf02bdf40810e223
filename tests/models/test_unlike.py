"""The level an encoder gives to what has nothing in common."""

from __future__ import annotations

import numpy as np
import pytest

from assistant.models.loading import load_encoder
from assistant.models.unlike import general_questions, unlike_cosine
from assistant.settings import Settings


def test_general_questions_are_of_both_languages() -> None:
    found = general_questions()
    chinese = [text for text in found if any("一" <= letter <= "鿿" for letter in text)]
    assert len(found) == len(set(found))
    assert len(chinese) * 2 == len(found) >= 60


def test_it_is_the_first_percentile_over_pairs() -> None:
    random = np.random.default_rng(0)

    def encode(texts: object) -> np.ndarray:
        vectors = random.normal(size=(len(general_questions()), 8)).astype(np.float32)
        kept.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return kept[-1]

    kept: list[np.ndarray] = []
    found = unlike_cosine(encode)
    (vectors,) = kept
    cosines = [float(a @ b) for i, a in enumerate(vectors) for b in vectors[i + 1 :]]
    assert np.mean(np.array(cosines) < found) == pytest.approx(0.01, abs=0.001)


def test_the_served_encoder_puts_answers_above_its_own_floor(settings: Settings) -> None:
    encoder = load_encoder(settings)
    try:
        floor = encoder.cosine_floor
        asked = encoder.encode_queries(["How do I block a lost card?", "银行卡丢了怎么办"])
        told = encoder.encode_passages(["Block a lost card in the app.", "银行卡丢失请先挂失。"])
        assert encoder.cosine_floor == floor
        assert 0 < floor < 0.9
        assert (np.diag(asked @ told.T) > floor + 0.1 * (1 - floor)).all()
    finally:
        encoder.close()
