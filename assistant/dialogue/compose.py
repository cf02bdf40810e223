"""Grounded answers: the best sentences of the best chunks, each with its citation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assistant.dialogue.confidence import weighted_share
from assistant.dialogue.figures import unsupported_figures
from assistant.types import ChunkHit, Citation, Sentence
from indexes.types import FloatArray, Language

Tokenise = Callable[[str], frozenset[str]]

MAX_CHUNKS = 4
MAX_SENTENCES = 3
MAX_CHARACTERS = 700
_LEXICAL_WEIGHT = 0.4
_ANSWER_WEIGHT = 0.15
_CHUNK_WEIGHT = 0.10
_KEEP_NEXT = 0.97
_KEEP_OTHER = 0.99
_SAME = 0.7
_CLOSES = "。！？.!?”\"'）)"

# A sentence that opens like this needs the one before it.
_LEANS_BACK = re.compile(
    r"^(?:it|its|they|their|this|these|that|those|such|he|she|however|otherwise|in that case|"
    r"in this case|if so|if not)\b|^(?:它|其|该|此|这|那|上述|否则|但是?|因此|所以|届时|同时)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence chosen for the answer. ``score`` ranks; ``cosine`` and ``terms`` explain.

    ``answer``: the reader's probability that the answer stands in it; None where none has read.
    """

    hit: ChunkHit
    index: int
    sentence: Sentence
    score: float
    cosine: float
    terms: frozenset[str]
    answer: float | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer made of whole sentences of the documents; one citation a sentence, in order."""

    text: str
    citations: tuple[Citation, ...]
    best: Evidence


def compose(
    query: FloatArray,
    terms: Mapping[str, float],
    hits: Sequence[ChunkHit],
    tokenise: Tokenise,
    language: Language,
) -> Draft | None:
    """Return the answer that the chunks support, or ``None`` when they hold no sentence.

    ``query`` is the question's unit vector (dim,), ``terms`` its tokens with their weight.
    """
    scored = _score(query, terms, hits[:MAX_CHUNKS], tokenise)
    if not scored:
        return None
    best = max(scored, key=lambda e: e.score)
    chosen = _choose(best, scored)
    supported = [e for e in chosen if not unsupported_figures(_readable(e), e.hit.text)]
    if best not in supported:
        return None
    return Draft(_join(supported, language), tuple(_cite(e) for e in supported), best)


def _score(
    query: FloatArray, terms: Mapping[str, float], hits: Sequence[ChunkHit], tokenise: Tokenise
) -> list[Evidence]:
    rows = [(hit, i, s) for hit in hits for i, s in enumerate(hit.sentences)]
    if not rows:
        return []
    cosines = np.stack([s.vector for _, _, s in rows]) @ query
    read = any(hit.answer is not None for hit in hits)
    scored = []
    for (hit, i, sentence), cosine in zip(rows, cosines, strict=True):
        found, answer = tokenise(sentence.text), _answer(hit, sentence) if read else None
        score = (
            float(cosine)
            + _LEXICAL_WEIGHT * weighted_share(terms, found)
            + _CHUNK_WEIGHT * hit.score
            + _ANSWER_WEIGHT * (answer or 0.0)
        )
        scored.append(Evidence(hit, i, sentence, score, float(cosine), found, answer))
    return scored


def _answer(hit: ChunkHit, sentence: Sentence) -> float:
    """The reader's probability that the answer begins in the sentence; of a chunk it has not read,
    none is known of."""
    found = hit.answer
    inside = found is not None and sentence.span.start <= found.start < sentence.span.end
    return found.probability if found is not None and inside else 0.0


def _choose(best: Evidence, scored: Sequence[Evidence]) -> list[Evidence]:
    """Take the best sentence, what it leans on or leads to, and equals from elsewhere."""
    by_place = {(e.hit.chunk_id, e.index): e for e in scored}
    chosen = [best]
    before = by_place.get((best.hit.chunk_id, best.index - 1))
    if before and _LEANS_BACK.match(best.sentence.text):
        chosen.insert(0, before)
    after = by_place.get((best.hit.chunk_id, best.index + 1))
    if after and (_LEANS_BACK.match(after.sentence.text) or after.score >= _KEEP_NEXT * best.score):
        chosen.append(after)
    rivals = sorted(scored, key=lambda e: -e.score)
    for rival in rivals:
        if rival.score < _KEEP_OTHER * best.score:
            break
        if not any(rival is e or _repeats(rival, e) for e in chosen):
            chosen.append(rival)
    return _within_bounds(best, chosen)


def _repeats(a: Evidence, b: Evidence) -> bool:
    smaller = min(len(a.terms), len(b.terms))
    return not smaller or len(a.terms & b.terms) / smaller > _SAME


def _within_bounds(best: Evidence, chosen: Sequence[Evidence]) -> list[Evidence]:
    """Bound the answer, the best sentence first to stay; then reading order within a chunk."""
    kept: list[Evidence] = []
    size = 0
    for e in sorted(chosen, key=lambda e: e is not best):
        length = len(e.sentence.text)
        if kept and (len(kept) >= MAX_SENTENCES or size + length > MAX_CHARACTERS):
            continue
        kept.append(e)
        size += length
    return sorted(
        kept, key=lambda e: (e.hit is not best.hit, -e.hit.score, e.hit.chunk_id, e.index)
    )


def _readable(e: Evidence) -> str:
    return " ".join(e.sentence.text.split())


def _join(chosen: Sequence[Evidence], language: Language) -> str:
    """Join sentences as a reader expects: rows and passages apart, prose together."""
    text = _readable(chosen[0])
    for before, e in pairwise(chosen):
        piece = _readable(e)
        adjacent = before.hit is e.hit and e.index - before.index == 1
        prose = adjacent and text[-1:] in _CLOSES
        joint = ("" if text[-1:] in "。！？" else " ") if prose else "\n"
        text += joint + piece
    return text


def _cite(e: Evidence) -> Citation:
    hit, span = e.hit, e.sentence.span
    return Citation(
        hit.document_id,
        hit.title,
        hit.source,
        str(hit.chunk_id),
        span.start,
        span.end,
        e.sentence.text,
    )
