"""Judge pairs of texts: does the passage answer the query, do two questions mean the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assistant.models.headed import HeadedModel, Served
from assistant.models.plain import plain_pair
from assistant.models.tokens import probabilities
from indexes.types import FloatArray

_PURPOSE = "judge pairs"


class Reranker(Served):
    """A cross-encoder: reads both texts of a pair together. Thread-safe.

    Of a pair longer than ``max_tokens`` the second text is cut first (see ModelTokenizer).
    """

    def __init__(self, model: HeadedModel, head: str | None = None) -> None:
        """Take the head of this name, or the only one. Raises ModelError when it has more than
        one label."""
        super().__init__(model, model.head(head, "sequence", _PURPOSE))
        if self.head.activation != "sigmoid" or len(self.head.labels) != 1:
            raise model.refusal(
                _PURPOSE, f"head {self.head.name} tells {len(self.head.labels)} labels apart"
            )

    def score(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Return the probability that each pair matches, float32 (pairs,) in [0, 1], calibrated.

        A few pairs may raise BusyError (see HeadedModel).
        """
        if not pairs:
            return np.empty(0, dtype=np.float32)
        plain = [plain_pair(a, b) for a, b in pairs]
        outputs = self.model.run([item.tokens for item in self.model.tokenizer.pairs(plain)])
        logits = np.array([values[self.head.name][0, 0] for values in outputs], dtype=np.float32)
        return probabilities(self.head, logits)

    def rank(self, query: str, passages: Sequence[str]) -> list[tuple[int, float]]:
        """Return places of ``passages`` and their probabilities, best first; ties keep order."""
        scores = self.score([(query, passage) for passage in passages])
        order = np.argsort(-scores, kind="stable")
        return [(int(place), float(scores[place])) for place in order]
