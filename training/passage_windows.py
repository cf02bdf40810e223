"""Passages as a reranker meets them at work: the sentences nearest to the question, no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from assistant.dialogue.windows import nearest_sentences
from indexes.sentences import split_sentences
from indexes.types import FloatArray


class Vectors(Protocol):
    """Turns questions and passages into unit vectors, float32 (n, dim); the served encoder does."""

    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...

    def encode_passages(self, texts: Sequence[str]) -> FloatArray: ...


class Windows:
    """The sentences of passages and their vectors, to take windows about ``tokens`` long from."""

    def __init__(self, encoder: Vectors, texts: Sequence[str], tokens: int) -> None:
        self._texts, self._encoder, self._tokens = texts, encoder, tokens
        self._spans = [split_sentences(text, 0, len(text)) for text in texts]
        flat = [
            text[span.start : span.end]
            for text, spans in zip(texts, self._spans, strict=True)
            for span in spans
        ]
        self._vectors = encoder.encode_passages(flat)
        self._starts = np.cumsum([0, *(len(spans) for spans in self._spans)]).tolist()

    def of(self, asked: Sequence[tuple[str, int]]) -> list[str]:
        """Return the window of each passage, given as (question, place); a passage without
        sentences whole."""
        questions = list(dict.fromkeys(question for question, _ in asked))
        vectors = dict(zip(questions, self._encoder.encode_queries(questions), strict=True))
        return [self._window(vectors[question], place) for question, place in asked]

    def _window(self, vector: FloatArray, place: int) -> str:
        text, spans = self._texts[place], self._spans[place]
        sentences = [text[span.start : span.end] for span in spans]
        cosines = self._vectors[self._starts[place] : self._starts[place + 1]] @ vector
        found = nearest_sentences(sentences, cosines, self._tokens)
        return text if found is None else text[spans[found[0]].start : spans[found[1]].end]
