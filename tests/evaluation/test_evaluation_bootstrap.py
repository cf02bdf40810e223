"""Intervals against known distributions and a plain loop; the paired test's error rates."""

from __future__ import annotations

import time

import numpy as np
import pytest

from assistant.evaluation.bootstrap import (
    Floats,
    Metric,
    bootstrap,
    bootstrap_all,
    compare,
    paired_test,
)
from assistant.evaluation.scores import mean_statistic


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(3, 2, 4000)
    found = bootstrap(values, seed=5, samples=4000)
    half = 1.96 * values.std() / np.sqrt(4000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
    assert found.high == pytest.approx(values.mean() + half, abs=half / 10)
    assert found.n == 4000


def test_it_equals_a_plain_loop_over_resampled_rows() -> None:
    rng = np.random.default_rng(2)
    columns = rng.integers(0, 2, (60, 2)).astype(float)

    def ratio(table: Floats, weights: Floats) -> Floats:
        sums = weights @ table
        found: Floats = sums[:, 0] / sums[:, 1]
        return found

    fast = bootstrap(columns, ratio, seed=3, samples=6000)
    slow = []
    for _ in range(6000):
        rows = columns[rng.integers(0, 60, 60)]
        slow.append(rows[:, 0].sum() / rows[:, 1].sum())
    assert fast.value == columns[:, 0].sum() / columns[:, 1].sum()
    assert [fast.low, fast.high] == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=0.03)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    inside = 0
    for trial in range(300):
        found = bootstrap(rng.random(200) < 0.7, seed=trial, samples=400)
        inside += found.low <= 0.7 <= found.high
    # 95 % of 300 is 285, with a standard deviation of 4.
    assert 270 <= inside <= 297


def test_a_seed_fixes_the_interval_and_statistics_share_their_resamples() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)
    both = bootstrap_all({"a": mean_statistic(values), "b": mean_statistic(-values)}, 50, seed=1)
    assert both["a"].low == pytest.approx(-both["b"].high)
    assert both["a"] == bootstrap(values, seed=1)


def test_no_samples_give_the_bare_value() -> None:
    assert bootstrap([1, 0, 1, 1], samples=0) == Metric(0.75, 0.75, 0.75, 4)


def test_undefined_resamples_are_left_out() -> None:
    """With one positive of three, a third of the resamples have none, and no recall."""
    positive, hit = np.array([1.0, 0, 0]), np.array([1.0, 0, 0])
    found = bootstrap(
        np.stack([hit, positive], axis=1),
        lambda columns, weights: (weights @ columns)[:, 0] / (weights @ columns)[:, 1],
    )
    assert (found.value, found.low, found.high) == (1, 1, 1)
    never = bootstrap(np.zeros((3, 2)), lambda c, w: (w @ c)[:, 0] / (w @ c)[:, 1])
    assert never.to_json() == {"value": None, "low": None, "high": None, "n": 3}


def test_ten_thousand_rows_take_about_a_second() -> None:
    values = np.random.default_rng(0).random(10_000)
    started = time.process_time()
    bootstrap(values)
    # 0.3 s of processor time on one machine; the bound leaves room for a slower one.
    assert time.process_time() - started < 4


def test_many_rows_are_resampled_fewer_times() -> None:
    calls = []

    def counting(weights: Floats) -> Floats:
        calls.append(len(weights))
        assert (weights.sum(axis=1) == 400_000).all()
        return mean_statistic(np.ones(400_000))(weights)

    bootstrap_all({"it": counting}, 400_000)
    # One call for the value itself.
    assert sum(calls) == 1 + 200


def test_a_clear_gain_is_significant_and_no_gain_is_not() -> None:
    rng = np.random.default_rng(7)
    a = rng.random(2000) < 0.80
    b = a | (rng.random(2000) < 0.10)
    found = paired_test(a, b, seed=1)
    assert found.difference.value == pytest.approx(b.mean() - a.mean())
    assert found.difference.low > 0
    assert found.better()
    assert found.p_value == pytest.approx(1 / 1001)
    assert not paired_test(b, a, seed=1).better()
    assert paired_test(b, a, seed=1).p_value == 1
    assert paired_test(a, a, seed=1).p_value == 1


def test_equal_models_are_called_better_no_more_often_than_the_level() -> None:
    rng = np.random.default_rng(9)
    wins = sum(
        paired_test(rng.random(300) < 0.7, rng.random(300) < 0.7, samples=200, seed=trial).better()
        for trial in range(300)
    )
    # 5 % of 300 is 15, with a standard deviation of 3.8.
    assert wins <= 27


def test_pairing_finds_what_separate_intervals_hide() -> None:
    rng = np.random.default_rng(3)
    a = rng.random(1000) < 0.6
    b = a.copy()
    b[np.flatnonzero(~a)[:15]] = True
    first, second = bootstrap(a), bootstrap(b)
    assert first.high > second.low
    assert paired_test(a, b).better()


def test_compare_takes_any_statistic_of_the_same_rows() -> None:
    low, high = np.zeros(40), np.r_[np.ones(20), np.zeros(20)]
    found = compare(mean_statistic(low), mean_statistic(high), 40)
    assert found.difference.value == 0.5
    assert found.better()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap([]), "no rows"),
        (lambda: paired_test([1, 0], [1]), "2 rows against 1"),
        (lambda: paired_test([1, 0], [1, 1], samples=0), "at least 1"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()
