"""The decision: faq, grounded, clarify or abstain, from calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assistant.dialogue.compose import Draft, Tokenise, compose
from assistant.dialogue.confidence import (
    Calibration,
    Features,
    Parts,
    faq_features,
    grounded_features,
    parts_of,
    weighted_share,
)
from assistant.dialogue.followup import is_bare
from assistant.types import AnswerKind, Candidate, ChunkHit, Citation, FaqHit, Retrieved
from indexes.types import FloatArray, Language

MAX_CANDIDATES = 3
_EQUAL_SCORES = 0.05
_NEW_SHARE = 0.22
_UNSAID = 1 / 3
"""A follow-up of whose new words, by weight, the evidence holds less than the first has been
answered out of the words of the question before: its probability counts by the second
(decision 0062)."""
_FAQ_HANDICAP = 0.15
"""An approved answer goes before a composed one unless that is this much more probable."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Lowest probability at which each way of answering is taken, and to ask back."""

    faq: float
    grounded: float
    clarify: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, with all that the answer needs but its words for asking back."""

    kind: AnswerKind
    confidence: float
    text: str = ""
    faq_id: str | None = None
    citations: tuple[Citation, ...] = ()
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Understood:
    """A question ready to decide on. ``vector``: float32 (dim,), unit length."""

    text: str
    language: Language
    vector: FloatArray


@dataclass(frozen=True, slots=True)
class Assessment:
    """How far each way of answering can be trusted for one question."""

    faq_probability: float
    grounded_probability: float
    draft: Draft | None
    limits: Thresholds

    @property
    def best(self) -> float:
        return max(self.faq_probability, self.grounded_probability)


class Policy:
    """Weighs evidence and decides. Stateless and thread-safe."""

    def __init__(
        self,
        calibrations: Mapping[Parts, Calibration],
        tokenise: Tokenise,
        *,
        error_rate: float,
        clarify_error_rate: float,
    ) -> None:
        """``calibrations``: a fit for each set of parts that may have taken part."""
        self._calibrations = calibrations
        self._faq = calibrations["retrieval"].faq
        self._tokenise = tokenise
        self._thresholds = {
            parts: Thresholds(
                fit.faq.threshold(error_rate),
                fit.grounded.threshold(error_rate),
                1.0 - clarify_error_rate,
            )
            for parts, fit in calibrations.items()
        }

    def is_settled(self, question: Understood, found: Retrieved) -> bool:
        """Tell whether an FAQ entry answers, whatever the chunks turn out to hold."""
        sure = self._of_entry(question, found)
        return sure >= max(self._thresholds["retrieval"].faq, 1.0 - _FAQ_HANDICAP)

    def assess(self, question: Understood, found: Retrieved, before: str = "") -> Assessment:
        """Compute the calibrated probabilities and the draft they speak of.

        ``before``: the question that a follow-up leans on, whose words ``question`` has as well.
        """
        draft, by_text = draft_and_values(question, found, self._tokenise)
        parts = parts_of(by_text)
        entry = self._of_entry(question, found)
        chunk = self._calibrations[parts].grounded.probability(by_text) if by_text else 0.0
        if before:
            new = self._new_words(found, before)
            entry *= self._news(new, question, next(iter(found.faqs), None))
            chunk *= self._news(new, question, next(iter(found.chunks), None))
        return Assessment(entry, chunk, draft, self._thresholds[parts])

    def _new_words(self, found: Retrieved, before: str) -> dict[str, float]:
        known = self._tokenise(before)
        return {term: weight for term, weight in found.terms.items() if term not in known}

    def _news(
        self, new: Mapping[str, float], question: Understood, hit: FaqHit | ChunkHit | None
    ) -> float:
        """Return what the hit's probability counts by. Words of another language are not looked
        for: a hit in it holds none of them whatever it says."""
        if not new or hit is None or hit.language != question.language:
            return 1.0
        said = self._tokenise(_words(hit))
        return 1.0 if weighted_share(new, said) >= _NEW_SHARE else _UNSAID

    def _of_entry(self, question: Understood, found: Retrieved) -> float:
        """Return the probability that the first entry answers."""
        values = faq_values(question, found, self._tokenise)
        return self._faq.probability(values) if values else 0.0

    def decide(self, question: Understood, found: Retrieved, seen: Assessment) -> Decision:
        """Take the first way of answering that is trusted enough."""
        limits = seen.limits
        if seen.faq_probability >= max(limits.faq, seen.grounded_probability - _FAQ_HANDICAP):
            if _ambiguous(question, found):
                return _clarify(found, seen.faq_probability)
            return _answer_from_faq(found.faqs[0], seen.faq_probability, found)
        trusted = seen.grounded_probability >= limits.grounded
        if seen.draft and trusted and not is_bare(question.text):
            return Decision(
                AnswerKind.GROUNDED,
                seen.grounded_probability,
                seen.draft.text,
                citations=seen.draft.citations,
                candidates=_candidates(found)[:MAX_CANDIDATES],
            )
        if seen.best >= limits.clarify or (is_bare(question.text) and _touches(found)):
            return _clarify(found, seen.best)
        return Decision(AnswerKind.ABSTAIN, seen.best, candidates=_candidates(found))


def faq_values(question: Understood, found: Retrieved, tokenise: Tokenise) -> Features:
    """Features of the FAQ way, none when there is no entry."""
    if not found.faqs:
        return {}
    matched = tokenise(found.faqs[0].matched)
    return faq_features(found.faqs, found.terms, matched, question.language)


def draft_and_values(
    question: Understood, found: Retrieved, tokenise: Tokenise
) -> tuple[Draft | None, Features]:
    """The draft and the features of the grounded way, or ``None`` and none."""
    if not found.chunks:
        return None, {}
    draft = compose(question.vector, found.terms, found.chunks, tokenise, question.language)
    if draft is None:
        return None, {}
    best = draft.best
    values = grounded_features(
        found.chunks,
        found.terms,
        best.cosine,
        best.terms,
        question.language,
        cosine_floor=found.cosine_floor,
        answer=best.answer,
    )
    return draft, values


def _ambiguous(question: Understood, found: Retrieved) -> bool:
    """A word or two that several entries fit equally well asks for a question back."""
    if not is_bare(question.text) or len(found.faqs) < 2:
        return False
    return found.faqs[0].score - found.faqs[1].score < _EQUAL_SCORES


def _touches(found: Retrieved) -> bool:
    """Tell whether the collection knows any of the words."""
    return any(h.coverage > 0 for h in found.faqs) or any(h.coverage > 0 for h in found.chunks)


def _answer_from_faq(hit: FaqHit, probability: float, found: Retrieved) -> Decision:
    citation = Citation(
        hit.document_id, hit.title, hit.source, hit.faq_id, hit.start, hit.end, hit.answer
    )
    others = tuple(c for c in _candidates(found) if c.id != hit.faq_id)
    return Decision(
        AnswerKind.FAQ, probability, hit.answer, hit.faq_id, (citation,), others[:MAX_CANDIDATES]
    )


def _clarify(found: Retrieved, probability: float) -> Decision:
    candidates = _candidates(found)
    if not candidates:
        return Decision(AnswerKind.ABSTAIN, probability)
    return Decision(AnswerKind.CLARIFY, probability, candidates=candidates)


def _candidates(found: Retrieved) -> tuple[Candidate, ...]:
    """The closest entries and passages, by fused score, one of a kind each."""
    scored = [Candidate(h.faq_id, h.question, round(h.score, 4)) for h in found.faqs]
    scored += [Candidate(str(h.chunk_id), _label(h), round(h.score, 4)) for h in found.chunks]
    scored.sort(key=lambda c: -c.score)
    seen: dict[str, Candidate] = {}
    for candidate in scored:
        seen.setdefault(candidate.question, candidate)
    return tuple(seen.values())[:MAX_CANDIDATES]


def _words(hit: FaqHit | ChunkHit) -> str:
    if isinstance(hit, FaqHit):
        return " ".join((hit.matched, hit.question, hit.answer))
    return " ".join((hit.title, *hit.heading_path, hit.text))


def _label(hit: ChunkHit) -> str:
    return " › ".join(dict.fromkeys((hit.title, *hit.heading_path)))
