"""Intents named by examples: the features by hand, and what a calibrated match does to answers."""

from __future__ import annotations

import numpy as np
import pytest

from assistant.dialogue.intents import FEATURES, Centre, IntentCalibrator, Matcher, Space
from assistant.types import Intent
from indexes.types import FloatArray


def unit_rows(*rows: list[float]) -> FloatArray:
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


USUAL = unit_rows([0, 0, 1], [0.1, 0, 1], [0, 0.2, 1], [0.3, 0.3, 1])
CARD = unit_rows([1, 0.1, 0], [1, 0, 0.1], [1, 0.1, 0.1])
LOAN = unit_rows([0, 1, 0.1], [0.1, 1, 0], [0, 1, 0.2])


def by_hand(question: FloatArray, own: FloatArray, other: FloatArray) -> tuple[float, float, float]:
    """The three features, written out one example at a time."""

    def mean(vectors: FloatArray) -> FloatArray:
        total = np.sum(vectors, axis=0)
        return total / np.linalg.norm(total)

    near = float(question @ mean(own))
    usual = [float(one @ mean(own)) for one in USUAL]
    left_out = [
        float(own[i] @ mean(np.delete(own, i, axis=0))) for i in range(len(own))
    ]  # fmt: skip
    return (
        (near - np.mean(usual)) / np.std(usual),
        near - np.mean(left_out),
        near - float(question @ mean(other)),
    )


def test_features_are_those_written_out_by_hand() -> None:
    question = unit_rows([1, 0.3, 0.2])
    ((place, values),) = Space([LOAN, CARD], USUAL).nearest(question)
    assert place == 1
    np.testing.assert_allclose(values, by_hand(question[0], CARD, LOAN), rtol=1e-4)


def test_a_single_intent_leads_what_is_usually_asked() -> None:
    question = unit_rows([1, 0.3, 0.2])
    ((_, (_, _, lead)),) = Space([CARD], USUAL).nearest(question)
    mean = CARD.sum(axis=0) / np.linalg.norm(CARD.sum(axis=0))
    assert lead == pytest.approx(float(question[0] @ mean) - float((USUAL @ mean).mean()), abs=1e-5)


def test_the_nearest_intent_is_given_with_its_probability() -> None:
    intents = [Intent("card", ("a", "b", "c")), Intent("loan", ("d", "e", "f"))]
    fit = IntentCalibrator("v", "e", (1.0, 5.0, 5.0), 0)
    centre = Centre(np.zeros((1, 3), dtype=np.float32), ["en"])
    matcher = Matcher(intents, [CARD, LOAN], USUAL, fit, centre)
    near, far = matcher.match(unit_rows([1, 0.1, 0.1], [0.2, 0.1, 1]), ["en", "en"])
    assert near.intent.name == "card"
    assert 0 <= far.probability < 0.5 < near.probability <= 1


def test_centring_takes_out_what_only_tells_the_language() -> None:
    random = np.random.default_rng(2)
    topics = random.normal(size=(6, 8)).astype(np.float32)
    accents = {"zh": random.normal(size=8), "en": random.normal(size=8)}
    texts = {one: unit_rows(*(topics + 3 * accent).tolist()) for one, accent in accents.items()}
    centre = Centre(np.concatenate(list(texts.values())), ["zh"] * 6 + ["en"] * 6)
    raw = texts["zh"] @ texts["en"].T
    plain = centre(texts["zh"], ["zh"] * 6) @ centre(texts["en"], ["en"] * 6).T
    found = [(each.argmax(axis=1) == np.arange(6)).mean() for each in (raw, plain)]
    assert found[1] >= found[0]
    assert np.diag(plain).mean() - plain.mean() > 2 * (np.diag(raw).mean() - raw.mean())
    assert len(centre(np.zeros((0, 8), np.float32), [])) == 0


def test_the_packaged_fit_trusts_what_is_near_and_clear() -> None:
    fit = IntentCalibrator.load()
    assert len(fit.weights) == len(FEATURES)
    assert all(weight > 0 for weight in fit.weights)
    assert fit.probability((8.0, 0.1, 0.3)) > 0.8 > 0.3 > fit.probability((1.0, -0.2, 0.0))
