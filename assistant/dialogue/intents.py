"""Which of a tenant's intents a question has: the nearest prototype, with a calibrated probability.

A prototype is the mean direction of an intent's examples (Snell et al. 2017, arXiv:1703.05175), so
five examples and no training make an intent, in every language the encoder knows: from each vector
the mean of its language is taken first, or a prototype would tell languages rather than intents. A
cosine says little by itself: it is judged beside what the intent's own examples reach when each is
left out, beside the next intent, and beside how near the tenant's usual questions come. A logistic
regression over the three, fitted by ``python -m training.calibration.intents``, gives the
probability; it is the out-of-scope test as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Protocol

import numpy as np

from assistant.dialogue.confidence import logistic
from assistant.models.prototypes import prototypes, unit
from assistant.types import Intent, IntentMatch
from indexes.types import FloatArray, Language

FEATURES = ("deviation", "closeness", "lead")
_LEAST_SPREAD = 1e-3


class IntentSource(Protocol):
    """Knows the intents of each tenant."""

    def matcher(self, tenant: str) -> Matcher | None:
        """Return what tells the tenant's intents apart, None where it has none."""


@dataclass(frozen=True, slots=True)
class IntentCalibrator:
    """Logistic weights over ``FEATURES``; ``version`` names the fit, ``encoder`` whose vectors it
    was fitted on."""

    version: str
    encoder: str
    weights: tuple[float, ...]
    bias: float

    @classmethod
    def load(cls) -> IntentCalibrator:
        """Read the packaged fit."""
        text = files("assistant.dialogue").joinpath("intents.json").read_text("utf-8")
        data: Mapping[str, Any] = json.loads(text)
        if tuple(data["features"]) != FEATURES:
            raise ValueError(f"the fit has features {data['features']}, expected {FEATURES}")
        return cls(data["version"], data["encoder"], tuple(data["weights"]), data["bias"])

    def probability(self, values: Sequence[float]) -> float:
        """Return the probability in [0, 1] for values of ``FEATURES``."""
        return logistic(self.weights, self.bias, values)


class Centre:
    """Takes out of vectors what only tells their language: the mean of general questions in it."""

    def __init__(self, vectors: FloatArray, languages: Sequence[Language]) -> None:
        """``vectors``: unit vectors (n, dim) of general questions in both languages."""
        of = np.array(languages)
        self._means = {one: vectors[of == one].mean(axis=0) for one in dict.fromkeys(languages)}

    def __call__(self, vectors: FloatArray, languages: Sequence[Language]) -> FloatArray:
        """Return unit vectors (n, dim) without what they share with their language."""
        if not len(vectors):
            return vectors
        return unit(vectors - np.stack([self._means[one] for one in languages]))


class Space:
    """Prototypes of labels, among questions of other things. All vectors are centred ones."""

    def __init__(self, examples: Sequence[FloatArray], usual: FloatArray) -> None:
        """``examples``: of each label unit vectors (n >= 2, dim); ``usual``: unit vectors (m, dim)
        of questions of any kind, m >= 2."""
        found = prototypes(dict(zip(map(str, range(len(examples))), examples, strict=True)))
        self._prototypes = found.vectors
        among = usual @ self._prototypes.T
        self._mean = among.mean(axis=0)
        self._spread = np.maximum(among.std(axis=0), _LEAST_SPREAD)
        self._own = np.array([_left_out(vectors) for vectors in examples])

    def nearest(self, vectors: FloatArray) -> list[tuple[int, tuple[float, ...]]]:
        """Return the place of the nearest label of each vector (n, dim), with its features."""
        near = vectors @ self._prototypes.T
        best = near.argmax(axis=1)
        rows = np.arange(len(near))
        own = near[rows, best]
        rival = np.partition(near, -2, axis=1)[:, -2] if near.shape[1] > 1 else self._mean[best]
        values = (
            (own - self._mean[best]) / self._spread[best],
            own - self._own[best],
            own - rival,
        )
        return [(int(best[i]), tuple(float(feature[i]) for feature in values)) for i in rows]


def _left_out(vectors: FloatArray) -> float:
    """How near examples come to the prototype of the others, on average."""
    others = unit(vectors.sum(axis=0) - vectors)
    return float((others * vectors).sum(axis=1).mean())


class Matcher:
    """Tells the intents of one tenant apart. Immutable."""

    def __init__(
        self,
        intents: Sequence[Intent],
        examples: Sequence[FloatArray],
        usual: FloatArray,
        calibrator: IntentCalibrator,
        centre: Centre,
    ) -> None:
        """``examples``: of each intent centred unit vectors (n, dim); ``usual``: of other
        questions; ``centre``: what they were centred by."""
        self._centre = centre
        self._intents = tuple(intents)
        self._space = Space(examples, usual)
        self._calibrator = calibrator

    def match(self, vectors: FloatArray, languages: Sequence[Language]) -> list[IntentMatch]:
        """Return the nearest intent of each question's unit vector (n, dim), as encoded."""
        return [
            IntentMatch(self._intents[place], self._calibrator.probability(values))
            for place, values in self._space.nearest(self._centre(vectors, languages))
        ]
