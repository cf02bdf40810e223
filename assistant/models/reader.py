"""Find the answer to a question in passages, word for word, or say that it is not there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assistant.errors import TooLargeError
from assistant.models.headed import HeadedModel, Served
from assistant.models.spans import snapped, token_spans
from assistant.models.tokens import Window, Windowed
from indexes.types import FloatArray

MAX_CHARACTERS = 1_000_000
"""Longest passage, in code points."""
MAX_ANSWER_TOKENS = 40

_PURPOSE = "read answers out of passages"
_LABELS = ("start", "end")


@dataclass(frozen=True, slots=True)
class Reading:
    """The best answer in one passage: ``text == passage[start:end]``, half-open code points.

    ``probability`` in [0, 1] weighs it against "no answer here" and is calibrated by the head's
    temperature T: sigmoid((span score - null score) / T), the score difference of Devlin et al.
    (2019, section 4.3) as a probability. ``no_answer``: it is below the head's threshold, so the
    text should not be shown. A passage without any text gives an empty one with probability 0.
    """

    text: str
    start: int
    end: int
    probability: float
    no_answer: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """The best span of a window: places in the passage's tokens, and its score over null's."""

    first: int
    last: int
    score: float


class Reader(Served):
    """Extractive question answering with a token head of labels "start" and "end". Thread-safe.

    A span runs from a start token to an end token not before it, at most ``max_answer_tokens``
    long; its score is the sum of both logits. Token 0 stands for "no answer". Long passages are
    read in overlapping windows; the window where the span most outweighs "no answer" wins.
    """

    def __init__(
        self,
        model: HeadedModel,
        head: str | None = None,
        *,
        max_answer_tokens: int = MAX_ANSWER_TOKENS,
    ) -> None:
        """Take the head of this name, or the only one. Raises ModelError when it is no reader."""
        super().__init__(model, model.head(head, "token", _PURPOSE))
        if self.head.labels != _LABELS:
            raise model.refusal(
                _PURPOSE, f"head {self.head.name} labels tokens otherwise than start and end"
            )
        self.max_answer_tokens = max_answer_tokens

    def read(self, question: str, passages: Sequence[str]) -> list[Reading]:
        """Return the best answer of each passage, in their order.

        Raises TooLargeError for a passage of more than ``MAX_CHARACTERS``; a few short passages
        may raise BusyError (see HeadedModel).
        """
        return self.read_pairs([(question, passage) for passage in passages])

    def read_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        """Return the best answer for each (question, passage); as ``read``."""
        for _, passage in pairs:
            if len(passage) > MAX_CHARACTERS:
                raise TooLargeError(
                    f"A passage has {len(passage):,} characters; the limit is "
                    f"{MAX_CHARACTERS:,}: split it."
                )
        items = self.model.tokenizer.pair_windows(pairs)
        outputs = iter(self.model.run([w.tokens for item in items for w in item.windows]))
        return [
            self._reading(passage, item, [next(outputs)[self.head.name] for _ in item.windows])
            for (_, passage), item in zip(pairs, items, strict=True)
        ]

    def _reading(self, passage: str, item: Windowed, logits: Sequence[FloatArray]) -> Reading:
        spans = token_spans(passage, item.offsets)
        usable = np.array([start < end for start, end in spans], dtype=np.bool_)
        found = [
            self._best(window, rows, usable)
            for window, rows in zip(item.windows, logits, strict=True)
        ]
        best = max((span for span in found if span), key=lambda span: span.score, default=None)
        if best is None:
            return Reading("", 0, 0, 0.0, no_answer=True)
        start, end = snapped(passage, spans[best.first][0], spans[best.last][1])
        scaled = min(max(best.score / self.head.temperature, -60.0), 60.0)
        probability = 1 / (1 + math.exp(-scaled))
        no_answer = probability < self.head.threshold
        return Reading(passage[start:end], start, end, probability, no_answer)

    def _best(self, window: Window, rows: FloatArray, usable: NDArray[np.bool_]) -> _Span | None:
        own = slice(window.lead, window.lead + window.count)
        there = usable[window.start : window.start + window.count]
        span = best_span(
            np.where(there, rows[own, 0], -np.inf),
            np.where(there, rows[own, 1], -np.inf),
            self.max_answer_tokens,
        )
        if span is None:
            return None
        first, last, score = span
        null = float(rows[0, 0] + rows[0, 1])
        return _Span(window.start + first, window.start + last, score - null)


def best_span(starts: FloatArray, ends: FloatArray, limit: int) -> tuple[int, int, float] | None:
    """Return first and last token of the best span of at most ``limit`` tokens, and its score.

    ``starts`` and ``ends`` (tokens,) are logits, -inf where none may start or end; None when no
    span is possible. Of equal ones the shortest wins, then the first.
    """
    best: tuple[int, int, float] | None = None
    for length in range(min(limit, len(starts))):
        scores = starts[: len(starts) - length] + ends[length:]
        first = int(scores.argmax())
        score = float(scores[first])
        if score > (best[2] if best else -math.inf):
            best = first, first + length, score
    return best
