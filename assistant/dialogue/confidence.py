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
from typing import Any, Literal

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
RERANKED = ("relevance", "relevance_lead")
READ = ("answer",)
_RIVALS = 5
_ALONE = 1 / 3
"""A hit that has no rivals, in somebody's first collection, is taken to lead by this share of its
score and not by all of it (decision 0061)."""

Features = Mapping[str, float]
"""What is seen of one way of answering, by name: those of its tuple above, those of ``RERANKED``
where chunks were reranked, and of ``READ`` where a reader looked for the answer."""
Parts = Literal["retrieval", "reranker", "reader"]
"""What took part in finding the chunks; each has all before it as well, and a fit of its own."""
ALL_PARTS: tuple[Parts, ...] = ("retrieval", "reranker", "reader")


def logistic(weights: Sequence[float], bias: float, values: Sequence[float]) -> float:
    """Return the probability in [0, 1] that a logistic regression gives ``values``."""
    z = bias + sum(w * v for w, v in zip(weights, values, strict=True))
    return 1.0 / (1.0 + math.exp(-max(-40.0, min(40.0, z))))


def _shortness(terms: Mapping[str, float]) -> float:
    """1 for a bare word, falling to 0 as the question names more things."""
    return 1.0 / max(1, len(terms))


def _margin(scores: Sequence[float], unrelated: float = 0.0) -> float:
    """Lead of the first score over the mean of its rivals; where there is none, a share of what it
    leads anything ``unrelated`` by."""
    rivals = scores[1:_RIVALS]
    return _lead(scores[0], sum(rivals) / len(rivals) if rivals else None, unrelated)


def _lead(first: float, rival: float | None, unrelated: float = 0.0) -> float:
    """By how much ``first`` is above its rival; a share of its height above the ``unrelated`` where
    it has none."""
    return first - rival if rival is not None else _ALONE * (first - unrelated)


def weighted_share(terms: Mapping[str, float], present: frozenset[str]) -> float:
    """Share of the query's term weight that ``present`` holds, in [0, 1]."""
    total = sum(terms.values())
    return sum(w for t, w in terms.items() if t in present) / total if total else 0.0


def _relevance(hits: Sequence[ChunkHit]) -> Features:
    """The reranker's view of the first hit, and by how much it leads the best of the others."""
    if all(h.relevance is None for h in hits):
        return {}
    first, *others = (h.relevance or 0.0 for h in hits)
    return {"relevance": first, "relevance_lead": _lead(first, max(others, default=None))}


def faq_features(
    hits: Sequence[FaqHit],
    terms: Mapping[str, float],
    matched_terms: frozenset[str],
    language: Language,
) -> Features:
    """Features of answering with ``hits[0]``."""
    extra = len(matched_terms - terms.keys()) / max(1, len(matched_terms))
    return {
        "score": hits[0].score,
        "margin": _margin([h.score for h in hits]),
        "overlap": weighted_share(terms, matched_terms),
        "precision": 1.0 - extra,
        "short": _shortness(terms),
        "cross_language": float(hits[0].language != language),
    }


def grounded_features(
    hits: Sequence[ChunkHit],
    terms: Mapping[str, float],
    sentence_cosine: float,
    sentence_terms: frozenset[str],
    language: Language,
    *,
    cosine_floor: float,
    answer: float | None = None,
) -> Features:
    """Features of answering from ``hits[0]``. ``cosine_floor``: the cosine of unrelated texts;
    ``answer``: the reader's probability that the sentence holds it, None where none has read."""
    top = hits[0]
    scores = [h.score for h in hits]
    return {
        "score": top.score,
        "lead": _lead(scores[0], scores[1] if len(scores) > 1 else None),
        "cosine": top.cosine,
        "margin": _margin([h.cosine for h in hits], cosine_floor),
        "sentence_cosine": sentence_cosine,
        "sentence_coverage": weighted_share(terms, sentence_terms),
        "short": _shortness(terms),
        "cross_language": float(top.language != language),
        **_relevance(hits),
        **({} if answer is None else {"answer": answer}),
    }


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

    def probability(self, values: Features) -> float:
        """Return the probability in [0, 1] that the answer is right.

        Raises ValueError when a feature it was fitted on is missing; others are passed over.
        """
        missing = [name for name in self.features if name not in values]
        if missing:
            raise ValueError(f"features {missing} are missing")
        return logistic(self.weights, self.bias, [values[name] for name in self.features])

    def threshold(self, error_rate: float) -> float:
        """Return the lowest threshold whose held-aside risk stays within ``error_rate``.

        When none does, the strictest point of the curve is taken.
        """
        within = [p.threshold for p in self.curve if p.risk <= error_rate]
        return min(within) if within else max(p.threshold for p in self.curve)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibrators of the two ways of answering, of which no model but the encoder has a part in the
    first; ``version`` names the fit, ``models`` by role the ones whose scores it was fitted on."""

    version: str
    models: Mapping[str, str]
    faq: Calibrator
    grounded: Calibrator

    @classmethod
    def from_json(cls, data: Mapping[str, Any], parts: Parts) -> Calibration:
        """Build from the stored form; features must be the ones this code computes."""
        own = data[parts]
        return cls(
            own["version"],
            own["models"],
            _calibrator(data["faq"], FAQ_FEATURES),
            _calibrator(own["grounded"], grounded_features_of(parts)),
        )

    @classmethod
    def load(cls, parts: Parts = "retrieval") -> Calibration:
        """Read the packaged calibration for answers in which ``parts`` took part."""
        text = files("assistant.dialogue").joinpath("calibration.json").read_text("utf-8")
        return cls.from_json(json.loads(text), parts)


def grounded_features_of(parts: Parts) -> tuple[str, ...]:
    """Return the features of the grounded way that a fit for ``parts`` uses."""
    if parts == "retrieval":
        return GROUNDED_FEATURES
    more = (*GROUNDED_FEATURES, *RERANKED)
    return more if parts == "reranker" else (*more, *READ)


def parts_of(values: Features) -> Parts:
    """Tell from the features of the grounded way what took part in finding the chunks."""
    if READ[0] in values:
        return "reader"
    return "reranker" if RERANKED[0] in values else "retrieval"


def _calibrator(data: Mapping[str, Any], expected: tuple[str, ...]) -> Calibrator:
    if tuple(data["features"]) != expected:
        raise ValueError(f"calibration has features {data['features']}, expected {list(expected)}")
    return Calibrator(
        expected,
        tuple(data["weights"]),
        data["bias"],
        tuple(RiskPoint(**p) for p in data["curve"]),
    )
