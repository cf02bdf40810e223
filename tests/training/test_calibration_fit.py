"""The curve that thresholds are read from, and weights of sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.calibration.fit import LEAST_SHARE, risk_coverage


@given(st.lists(st.booleans(), min_size=2, max_size=200), st.integers(0, 9))
def test_risk_rises_with_coverage_and_ends_at_the_share_of_wrong_answers(
    right: list[bool], seed: int
) -> None:
    random = np.random.default_rng(seed)
    p, weights = random.random(len(right)), random.uniform(0.5, 2, len(right))
    truth = np.array(right)
    curve = risk_coverage(p, truth, weights)
    risks = [point["risk"] for point in curve]
    assert all(a <= b + 1e-4 for a, b in itertools.pairwise(risks))
    wrong = np.average(~truth, weights=weights)
    assert risks[-1] == pytest.approx(wrong, abs=1e-4)
    assert curve[-1]["coverage"] == pytest.approx(1, abs=1e-4)
    assert curve[-1]["threshold"] == pytest.approx(p.min(), abs=1e-4)


def test_where_errors_rise_already_it_is_the_plain_share_of_errors() -> None:
    right = np.array([True] * 60 + [True, False] * 20 + [False] * 30)
    p = np.linspace(1, 0.01, right.size)
    curve = risk_coverage(p, right, np.ones(right.size))
    for point in curve:
        answered = p >= point["threshold"] - 1e-4
        # Within the block of alternating errors the plain share goes up and down around it.
        assert point["risk"] == pytest.approx((~right[answered]).mean(), abs=0.01)


def test_chance_among_the_surest_does_not_forbid_the_rest() -> None:
    right = np.ones(1000, dtype=bool)
    right[:60:6] = False  # 10 of the 60 surest are wrong, none of the next 500, half of the last
    right[560::2] = False
    p = np.linspace(1, 0, right.size)
    curve = risk_coverage(p, right, np.ones(right.size))
    assert curve[0]["coverage"] >= LEAST_SHARE
    widest = max(point["coverage"] for point in curve if point["risk"] <= 0.02)
    assert widest == pytest.approx(0.56, abs=0.03)
