"""Questions that have nothing to do with each other, and how near an encoder puts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files

import numpy as np

from indexes.types import FloatArray

_LOWEST = 0.01


@cache
def general_questions() -> tuple[str, ...]:
    """Return questions of daily life in both languages, each about something else."""
    text = files("assistant.models").joinpath("general_questions.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def unlike_cosine(encode_queries: Callable[[Sequence[str]], FloatArray]) -> float:
    """Return the cosine that an encoder hardly ever goes below: the first percentile over pairs of
    unlike questions. Encoders differ widely in it, and tuning moves it, by 0.3 for our own."""
    vectors = encode_queries(general_questions())
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), k=1)]
    return float(np.quantile(pairs, _LOWEST))
