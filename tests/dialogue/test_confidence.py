"""Calibrators: probabilities, thresholds by error rate, refusal of a foreign fit."""

import math
from dataclasses import replace

import pytest
from evidence_rows import hit, unit

from assistant.dialogue.confidence import (
    ALL_PARTS,
    FAQ_FEATURES,
    Calibration,
    Calibrator,
    Parts,
    RiskPoint,
    grounded_features,
    grounded_features_of,
    weighted_share,
)

CURVE = tuple(
    RiskPoint(t, c, r) for t, c, r in [(0.9, 0.2, 0.02), (0.6, 0.5, 0.08), (0.2, 0.9, 0.3)]
)


def test_probability_is_the_logistic_function() -> None:
    calibrator = Calibrator(("a", "b"), (2.0, -1.0), 0.5, CURVE)
    seen = {"a": 1.0, "b": 0.5, "passed over": 7.0}
    assert calibrator.probability(seen) == pytest.approx(1 / (1 + math.exp(-2.0)))
    low, high = ({"a": value, "b": 0.0} for value in (-1e9, 1e9))
    assert 0 <= calibrator.probability(low) < calibrator.probability(high) <= 1
    with pytest.raises(ValueError, match=r"\['b'\] are missing"):
        calibrator.probability({"a": 1.0})


def test_threshold_is_the_lowest_within_the_error_rate() -> None:
    calibrator = Calibrator(("a",), (1.0,), 0.0, CURVE)
    assert calibrator.threshold(0.1) == 0.6
    assert calibrator.threshold(0.05) == 0.9
    assert calibrator.threshold(0.5) == 0.2
    assert calibrator.threshold(0.001) == 0.9  # unreachable: the strictest there is


@pytest.mark.parametrize("parts", ALL_PARTS)
def test_packaged_calibration_fits_this_code(parts: Parts) -> None:
    calibration = Calibration.load(parts)
    assert calibration.faq.features == FAQ_FEATURES
    assert calibration.grounded.features == grounded_features_of(parts)
    for way in (calibration.faq, calibration.grounded):
        risks = [p.risk for p in sorted(way.curve, key=lambda p: -p.threshold)]
        assert risks == sorted(risks), "risk must not fall as the threshold is lowered"
        assert way.threshold(0.02) >= way.threshold(0.1) >= way.threshold(0.3)


def test_a_calibration_of_other_features_is_refused() -> None:
    data = {"features": ["x"], "weights": [1.0], "bias": 0.0, "curve": []}
    own = {"version": "1", "models": {}, "grounded": data}
    with pytest.raises(ValueError, match="has features"):
        Calibration.from_json({"faq": data, "retrieval": own}, "retrieval")


def test_the_only_chunk_leads_by_a_share_of_what_it_is_above_the_unrelated() -> None:
    alone = [hit(1, [("Cash is not covered.", unit(1))])]
    found = grounded_features(alone, {}, 0.9, frozenset(), "en", cosine_floor=0.85)
    assert found["margin"] == pytest.approx((alone[0].cosine - 0.85) / 3)
    assert found["lead"] == pytest.approx(alone[0].score / 3)
    rival = replace(hit(2, []), cosine=0.5)
    beside = grounded_features([*alone, rival], {}, 0.9, frozenset(), "en", cosine_floor=0.85)
    assert beside["margin"] == pytest.approx(alone[0].cosine - 0.5)


def test_weighted_share() -> None:
    assert weighted_share({"a": 3.0, "b": 1.0}, frozenset("a")) == 0.75
    assert weighted_share({}, frozenset("a")) == 0.0
