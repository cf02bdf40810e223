"""Calibrated confidence: what retrieval shows, turned into the probability of being right.

Logistic regression (Platt scaling over several scores) per way of answering, fitted on held-aside
data by ``training/calibrate.py``. Thresholds are read off its risk-coverage curve as an error
rate, never set as a cosine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from assistant.types import ChunkHit, FaqHit
from indexes.types import Language

FAQ_FEATURES = ("score", "margin", "overlap", "precision", "short", "cross_language")
GROUNDED_FEATURES = (
    "score",
    "lead",
    "cosine",
    "margin",
    "sentence_cosine",
    "sentence_coverage",
    "short",
    "cross_language",
)
_RIVALS = 5


def _shortness(terms: Mapping[str, float]) -> float:
    """1 for a bare word, falling to 0 as the question names more things."""
    return 1.0 / max(1, len(terms))


def _margin(scores: Sequence[float]) -> float:
    """Lead of the first score over the mean of its rivals; all of it when there is none."""
    rivals = scores[1:_RIVALS]
    return scores[0] - sum(rivals) / len(rivals) if rivals else scores[0]


def weighted_share(terms: Mapping[str, float], present: frozenset[str]) -> float:
    """Share of the query's term weight that ``present`` holds, in [0, 1]."""
    total = sum(terms.values())
    return sum(w for t, w in terms.items() if t in present) / total if total else 0.0


def faq_features(
    hits: Sequence[FaqHit],
    terms: Mapping[str, float],
    matched_terms: frozenset[str],
    language: Language,
) -> list[float]:
    """Features of answering with ``hits[0]``, in the order of ``FAQ_FEATURES``."""
    extra = len(matched_terms - terms.keys()) / max(1, len(matched_terms))
    return [
        hits[0].score,
        _margin([h.score for h in hits]),
        weighted_share(terms, matched_terms),
        1.0 - extra,
        _shortness(terms),
        float(hits[0].language != language),
    ]


def grounded_features(
    hits: Sequence[ChunkHit],
    terms: Mapping[str, float],
    sentence_cosine: float,
    sentence_terms: frozenset[str],
    language: Language,
) -> list[float]:
    """Features of answering from ``hits[0]``, in the order of ``GROUNDED_FEATURES``."""
    top = hits[0]
    scores = [h.score for h in hits]
    return [
        top.score,
        scores[0] - scores[1] if len(scores) > 1 else scores[0],
        top.cosine,
        _margin([h.cosine for h in hits]),
        sentence_cosine,
        weighted_share(terms, sentence_terms),
        _shortness(terms),
        float(top.language != language),
    ]


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """At ``threshold``, the share answered and the share of those that was wrong."""

    threshold: float
    coverage: float
    risk: float


@dataclass(frozen=True, slots=True)
class Calibrator:
    """A logistic model with the risk-coverage curve it was accepted on."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float
    curve: tuple[RiskPoint, ...]

    def probability(self, values: Sequence[float]) -> float:
        """Return the probability in [0, 1] that the answer is right."""
        if len(values) != len(self.weights):
            raise ValueError(f"{len(values)} features given, {len(self.weights)} expected")
        z = self.bias + sum(w * v for w, v in zip(self.weights, values, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, z))))

    def threshold(self, error_rate: float) -> float:
        """Return the lowest threshold whose held-aside risk stays within ``error_rate``.

        When none does, the strictest point of the curve is taken.
        """
        within = [p.threshold for p in self.curve if p.risk <= error_rate]
        return min(within) if within else max(p.threshold for p in self.curve)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrators of the two ways of answering; ``version`` names the fit."""

    version: str
    encoder: str
    faq: Calibrator
    grounded: Calibrator

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Build from the stored form; features must be the ones this code computes."""
        return cls(
            data["version"],
            data["encoder"],
            _calibrator(data["faq"], FAQ_FEATURES),
            _calibrator(data["grounded"], GROUNDED_FEATURES),
        )

    @classmethod
    def load(cls) -> Calibration:
        """Read the packaged calibration."""
        text = files("assistant.dialogue").joinpath("calibration.json").read_text("utf-8")
        return cls.from_json(json.loads(text))


def _calibrator(data: Mapping[str, Any], expected: tuple[str, ...]) -> Calibrator:
    if tuple(data["features"]) != expected:
        raise ValueError(f"calibration has features {data['features']}, expected {list(expected)}")
    return Calibrator(
        expected,
        tuple(data["weights"]),
        data["bias"],
        tuple(RiskPoint(**p) for p in data["curve"]),
    )
