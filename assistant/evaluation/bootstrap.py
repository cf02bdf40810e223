"""Confidence intervals by the bootstrap, vectorised over the resamples.

A resample is a row of weights: how often each of the ``n`` rows was drawn, summing to ``n``. A
statistic takes many resamples at once, weights of shape (resamples, n), and returns one value for
each; weights of one give the plain value. Sources: Efron and Tibshirani, "An Introduction to the
Bootstrap" (1993), section 13.3, for the percentile interval; Koehn, "Statistical Significance
Tests for Machine Translation Evaluation" (EMNLP 2004) for the paired test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Statistic = Callable[[Floats], Floats]
"""Weights (resamples, n) to values (resamples,); NaN where a resample has no such value."""

ColumnStatistic = Callable[[Floats, Floats], Floats]
"""Columns (n, k) and weights (resamples, n) to values (resamples,)."""

SAMPLES = 1000
"""Resamples at most. Past 50,000 rows there are fewer, but no less than 200: the interval is then
so narrow that its own uncertainty does not matter, and the time stays bounded."""

LEVEL = 0.95
_FEWEST, _DRAWS = 200, 50_000_000
# 2 million weights of 8 bytes: a block of resamples stays near the processor's cache.
_BLOCK = 2_000_000


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured value with its 95 % interval. ``n``: the rows (or pairs, entities) behind it.

    ``value`` is NaN where the data do not define it (recall of a class that never occurs).
    """

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, float | int | None]:
        """Return plain numbers; what is not a number becomes None, as JSON has no NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        plain = {name: None if math.isnan(x) else round(x, 6) for name, x in named.items()}
        return {**plain, "n": self.n}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How B compares with A on the same rows.

    ``difference``: B's value minus A's, with its interval. ``p_value``: how often chance alone
    would leave B no better, one-sided, in (0, 1].
    """

    difference: Metric
    p_value: float

    def better(self, level: float = 0.05) -> bool:
        """Whether B is better than A at this level of significance."""
        return self.difference.value > 0 and self.p_value <= level


def mean(columns: Floats, weights: Floats) -> Floats:
    """The mean of the first column: the statistic of accuracy, exact match and F1 of reading."""
    values: Floats = weights @ columns[:, 0] / weights.sum(axis=1)
    return values


def bootstrap(
    values: ArrayLike,
    statistic: ColumnStatistic = mean,
    *,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Metric:
    """Return the statistic of ``values`` (n,) or of paired columns (n, k) with its interval.

    ``samples=0`` draws nothing: the interval is the value itself. Raises ValueError when there
    is no row.
    """
    columns = _columns(values)
    found = bootstrap_all(
        {"it": lambda weights: statistic(columns, weights)},
        len(columns),
        seed=seed,
        samples=samples,
    )
    return found["it"]


def bootstrap_all(
    statistics: Mapping[str, Statistic], n: int, *, seed: int = 0, samples: int = SAMPLES
) -> dict[str, Metric]:
    """Return every statistic with its interval, all from the same resamples of ``n`` rows.

    Resamples in which a statistic is not defined (NaN) are left out of its interval. Raises
    ValueError when there is no row.
    """
    if n < 1:
        raise ValueError("nothing to measure: there are no rows")
    with np.errstate(divide="ignore", invalid="ignore"):
        values = {name: _one(statistic, n) for name, statistic in statistics.items()}
        drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
        for weights in _resamples(n, samples, seed):
            for name, statistic in statistics.items():
                drawn[name].append(statistic(weights))
    return {name: _metric(values[name], drawn[name], n) for name in statistics}


def paired_test(
    a: ArrayLike,
    b: ArrayLike,
    statistic: ColumnStatistic = mean,
    *,
    seed: int = 0,
    samples: int = SAMPLES,
) -> Comparison:
    """Test whether B is better than A on the same rows: (n,) values or (n, k) columns of each.

    Higher must mean better. Raises ValueError when the rows do not pair up.
    """
    first, second = _columns(a), _columns(b)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} rows against {len(second)}: compare on the same rows")
    return compare(
        lambda weights: statistic(first, weights),
        lambda weights: statistic(second, weights),
        len(first),
        seed=seed,
        samples=samples,
    )


def compare(
    a: Statistic, b: Statistic, n: int, *, seed: int = 0, samples: int = SAMPLES
) -> Comparison:
    """Test whether statistic ``b`` is higher than ``a``, both over the same ``n`` rows.

    The p-value is the share of paired resamples in which B is not above A (Koehn 2004), with the
    plain value counted as one more resample, so that it is never 0 (Davison and Hinkley,
    "Bootstrap Methods and their Application", 1997, section 4.2.3).
    """
    if samples < 1:
        raise ValueError("a test needs resamples: samples must be at least 1")
    with np.errstate(divide="ignore", invalid="ignore"):
        value = _one(b, n) - _one(a, n)
        parts = [b(weights) - a(weights) for weights in _resamples(n, samples, seed)]
    differences = np.concatenate(parts)
    # An undefined difference is no evidence for B.
    lost = int(np.count_nonzero(~(differences > 0)))
    return Comparison(_metric(value, parts, n), (1 + lost) / (1 + len(differences)))


def plain(statistic: Statistic, n: int) -> float:
    """Return the statistic of all ``n`` rows, without an interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return _one(statistic, n)


def _one(statistic: Statistic, n: int) -> float:
    return float(statistic(np.ones((1, n)))[0])


def _columns(values: ArrayLike) -> Floats:
    columns = np.asarray(values, dtype=np.float64)
    return columns[:, None] if columns.ndim == 1 else columns


def _resamples(n: int, samples: int, seed: int) -> Iterator[Floats]:
    """Yield blocks of weights; the same seed gives the same resamples whatever the block size."""
    rng = np.random.default_rng(seed)
    samples = min(samples, max(_FEWEST, _DRAWS // n))
    block = max(1, _BLOCK // n)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        drawn = rng.integers(0, n, size=(size, n), dtype=np.int64)
        drawn += np.arange(size, dtype=np.int64)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=size * n)
        yield counts.reshape(size, n).astype(np.float64)


def _metric(value: float, drawn: Sequence[Floats], n: int) -> Metric:
    samples = np.concatenate(drawn) if drawn else np.empty(0)
    samples = samples[~np.isnan(samples)]
    if math.isnan(value) or not len(samples):
        return Metric(value, value, value, n)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(samples, (tail, 1 - tail))
    return Metric(value, float(low), float(high), n)
