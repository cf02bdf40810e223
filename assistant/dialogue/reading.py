"""Find where the best chunks state the answer: a reader marks it, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from assistant.dialogue.policy import Understood
from assistant.dialogue.windows import Window, window
from assistant.models.reader import Reading
from assistant.types import AnswerSpan, Retrieved

READ_CHUNKS = 2
_WINDOW_TOKENS = 80


SpanReader = Callable[[Sequence[tuple[str, str]]], list[Reading]]
"""Finds the answer to each (question, passage) in the passage, or that it is not there."""


def read(
    reader: SpanReader,
    questions: Sequence[Understood],
    found: Sequence[Retrieved],
    chunks: int = READ_CHUNKS,
) -> list[Retrieved]:
    """Return the evidence with the answer marked in the first ``chunks`` of each question."""
    shown = [
        [window(hit, question.vector, _WINDOW_TOKENS) for hit in one.chunks[:chunks]]
        for question, one in zip(questions, found, strict=True)
    ]
    pairs = [
        (question.text, part.text)
        for question, parts in zip(questions, shown, strict=True)
        for part in parts
    ]
    readings = iter(reader(pairs) if pairs else ())
    marked = []
    for one, parts in zip(found, shown, strict=True):
        read_ = [
            replace(hit, answer=_span(next(readings), part))
            for hit, part in zip(one.chunks, parts, strict=False)
        ]
        marked.append(replace(one, chunks=(*read_, *one.chunks[len(read_) :])))
    return marked


def _span(reading: Reading, shown: Window) -> AnswerSpan:
    """Return the reading in the document; one in the title above the window answers nothing."""
    if reading.start < shown.lead:
        return AnswerSpan(shown.start, shown.start, 0.0)
    offset = shown.start - shown.lead
    return AnswerSpan(reading.start + offset, reading.end + offset, reading.probability)
