"""A small deterministic encoder for tests of everything around the encoder.

Texts that share character pairs get similar vectors, so that ranking can be checked by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from indexes.types import FloatArray, Span

DIM = 64


def bucket(feature: str) -> int:
    return int.from_bytes(hashlib.blake2b(feature.encode(), digest_size=4).digest(), "little") % DIM


class HashingEncoder:
    """Counts character pairs in ``DIM`` buckets; same interface as the real encoder."""

    def __init__(self, fingerprint: str = "hashing-1") -> None:
        self.fingerprint = fingerprint
        self.dim = DIM
        self.calls = 0

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [max(1, len(text) // 3) for text in texts]

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        self.calls += 1
        return self._vectors(texts)

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        self.calls += 1
        return self._vectors(texts)

    def encode_passages_with_spans(
        self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> tuple[FloatArray, list[FloatArray]]:
        self.calls += 1
        sentences = [
            self._vectors([text[span.start : span.end] for span in own])
            for text, own in zip(texts, spans, strict=True)
        ]
        return self._vectors(texts), sentences

    def _vectors(self, texts: Sequence[str]) -> FloatArray:
        vectors = np.full((len(texts), DIM), 1e-3, dtype=np.float32)
        for row, text in enumerate(texts):
            folded = text.casefold()
            for first, second in pairwise(folded):
                vectors[row, bucket(first + second)] += 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
