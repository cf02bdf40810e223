"""BM25 over a handful of passages: which ones would be put before the generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from indexes.analysis import Analyzer
from indexes.lexical import LexicalSearcher, LexicalSegment, Vocabulary, build_postings


class Ranking:
    """Ranks ``passages`` for a question, with the product's own analysis and scoring."""

    def __init__(self, passages: Sequence[str]) -> None:
        self._analyzer = Analyzer()
        vocabulary = Vocabulary()
        terms = [vocabulary.intern(self._analyzer.tokens(p)) for p in passages]
        flat = np.concatenate([np.asarray(t, dtype=np.int64) for t in terms])
        lengths = np.asarray([len(t) for t in terms], dtype=np.int32)
        segment = LexicalSegment.of(build_postings(flat, lengths))
        self._searcher = LexicalSearcher([segment], vocabulary)

    def best(self, question: str) -> list[int]:
        """Return the places of all passages, best first."""
        query = self._searcher.weigh(self._analyzer.tokens(question))
        (scores,) = self._searcher.scores([query], 0)
        return [int(i) for i in np.argsort(-scores, kind="stable")]
