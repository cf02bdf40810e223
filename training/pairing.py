"""Pairs to learn matching from: labelled ones, and hard negatives for those known only to match."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assistant.evaluation import Metric, bootstrap
from indexes.types import FloatArray
from training.data.rows import Row, TextPair
from training.families import Families
from training.passage_windows import Vectors, Windows

SAME_PASSAGE = 0.1
"""Two passages say the same, so that neither is held against the other's question, when they are
this share of the usual distance apart. Absolute cosines mean nothing: with the E5 family unrelated
texts have about 0.75, with others 0."""
CUTOFF = 10
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the encoder finds for a question: places of passages, nearest first, and those of the
    passages known to match it, found or not."""

    question: str
    found: tuple[int, ...]
    right: frozenset[int]


class Passages:
    """The passages of all positive pairs, searched exactly with the encoder's vectors.

    A question's right passages are those it is paired with, directly or over others: two wordings
    of one question that share an answer share all of each other's. With ``window_tokens`` a
    reranker reads no more of a passage than a window, as when the product answers.
    """

    def __init__(
        self, encoder: Vectors, known: Sequence[TextPair], *, window_tokens: int = 0
    ) -> None:
        distinct: dict[str, str] = {}
        for row in known:
            distinct.setdefault(folded(row.text_b), row.text_b)
        self.texts = tuple(distinct.values())
        self._encoder = encoder
        self._vectors = encoder.encode_passages(self.texts)
        self._windows = Windows(encoder, self.texts, window_tokens) if window_tokens else None
        self._same = 1 - SAME_PASSAGE * _usual_distance(self._vectors)
        self._families = Families(known)
        self._members: dict[int, set[int]] = {}
        for place, family in enumerate(self._families.all_of(self.texts).tolist()):
            self._members.setdefault(family, set()).add(place)

    def right(self, question: str) -> frozenset[int]:
        """Return the places of the passages known to match ``question``."""
        return frozenset(self._members.get(self._families.of(question), ()))

    def places(self, rows: Iterable[TextPair]) -> list[int]:
        """Return the places of the rows' own passages, in order."""
        wanted = {folded(row.text_b) for row in rows}
        return [place for place, text in enumerate(self.texts) if folded(text) in wanted]

    def read(self, asked: Sequence[tuple[str, int]]) -> list[str]:
        """Return what a reranker reads of passages, given as (question, place)."""
        if self._windows is None:
            return [self.texts[place] for _, place in asked]
        return self._windows.of(asked)

    def candidates(
        self, questions: Iterable[str], top: int, among: Sequence[int] | None = None
    ) -> list[Candidates]:
        """Return the ``top`` nearest passages of each distinct question, itself left out.

        ``among`` are the places to search, or all.
        """
        asked = list({folded(question): question for question in questions}.values())
        open_places = np.arange(len(self.texts)) if among is None else np.array(among, np.int64)
        if not asked or not len(open_places):
            return []
        # One more than asked for: a question may stand among the passages itself.
        queries = self._encoder.encode_queries(asked)
        near = open_places[_nearest(queries, self._vectors[open_places], top + 1)]
        found = []
        for question, places in zip(asked, near.tolist(), strict=True):
            own = folded(question)
            others = [place for place in places if folded(self.texts[place]) != own]
            found.append(Candidates(question, tuple(others[:top]), self.right(question)))
        return found

    def negatives(self, candidates: Candidates) -> list[int]:
        """Return the candidates that do not match: neither known to, nor near-copies of those."""
        wrong = [place for place in candidates.found if place not in candidates.right]
        if not wrong or not candidates.right:
            return wrong
        likeness = self._vectors[wrong] @ self._vectors[sorted(candidates.right)].T
        return [
            place
            for place, most in zip(wrong, likeness.max(axis=1), strict=True)
            if most < self._same
        ]


def pairs(rows: Iterable[Row]) -> list[TextPair]:
    """Return the rows that are pairs of two texts, neither of them blank."""
    return [
        row
        for row in rows
        if isinstance(row, TextPair) and row.text_a.strip() and row.text_b.strip()
    ]


def with_negatives(
    rows: Sequence[TextPair], passages: Passages, *, count: int, top: int, seed: int
) -> list[TextPair]:
    """Return positive pairs, labelled so, and for each ``count`` drawn of its hard negatives.

    Negatives are drawn from the encoder's ``top`` nearest, not its very nearest alone, among which
    unlabelled right answers crowd (Qu et al. 2021, arXiv:2010.08191, section 3.2). They are
    passages of these very rows: one held out for a test and met as a negative only would be learnt
    as one that never matches.
    """
    random = np.random.default_rng(seed)
    asked, own = (row.text_a for row in rows), passages.places(rows)
    found = {folded(c.question): c for c in passages.candidates(asked, top, own)}
    place = {folded(passages.texts[i]): i for i in own}
    chosen: list[tuple[TextPair, int, float]] = []
    for row in rows:
        chosen.append((row, place[folded(row.text_b)], 1.0))
        wrong = passages.negatives(found[folded(row.text_a)])
        drawn = random.permutation(len(wrong))[:count].tolist()
        chosen += [(row, wrong[i], 0.0) for i in drawn]
    texts = passages.read([(row.text_a, i) for row, i, _ in chosen])
    return [
        TextPair(row.text_a, text, label, row.group, row.source)
        for (row, _, label), text in zip(chosen, texts, strict=True)
    ]


def rank_metrics(
    candidates: Sequence[Candidates], scores: Sequence[FloatArray]
) -> dict[str, Metric]:
    """Measure a reranker's order of candidates, and the encoder's own, over questions.

    ``scores[i]`` (found,) belong to ``candidates[i].found``. ``mrr_at_10``: reciprocal rank of the
    first right passage among ten; ``recall_at_1``: whether it stands first; ``reachable``: whether
    it is among the candidates at all. ``encoder_*``: the same of the encoder's order. Raises
    ValueError without questions.
    """
    orders = [
        [c.found[i] for i in np.argsort(-own, kind="stable")]
        for c, own in zip(candidates, scores, strict=True)
    ]
    after = np.array([reciprocal(o, c.right) for o, c in zip(orders, candidates, strict=True)])
    before = np.array([reciprocal(c.found, c.right) for c in candidates])
    reachable = np.array([bool(c.right & set(c.found)) for c in candidates], dtype=np.float64)
    values = {
        "mrr_at_10": after,
        "recall_at_1": (after == 1).astype(np.float64),
        "encoder_mrr_at_10": before,
        "encoder_recall_at_1": (before == 1).astype(np.float64),
        "reachable": reachable,
    }
    return {name: bootstrap(column) for name, column in values.items()}


def reciprocal(order: Sequence[int], right: frozenset[int]) -> float:
    """Return 1 / rank of the first right place among the first ``CUTOFF``, or 0."""
    return next((1 / rank for rank, place in enumerate(order[:CUTOFF], 1) if place in right), 0.0)


def folded(text: str) -> str:
    """Return ``text`` without differences of width, case and blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _usual_distance(vectors: FloatArray) -> float:
    """Return the median of 1 - cosine between different passages; 0 with fewer than two."""
    few = vectors[:_BLOCK]
    if len(few) < 2:
        return 0.0
    cosines = (few @ few.T)[np.triu_indices(len(few), 1)]
    return float(1 - np.median(cosines))


def _nearest(queries: FloatArray, passages: FloatArray, top: int) -> NDArray[np.int64]:
    """Return places of the ``top`` nearest passages of each query, int (queries, top)."""
    top = min(top, len(passages))
    blocks = []
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ passages.T
        blocks.append(np.argsort(-scores, axis=1, kind="stable")[:, :top])
    return np.concatenate(blocks)
