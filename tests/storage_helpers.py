"""A small deterministic encoder, and everything around it on one data folder.

Texts that share character pairs get similar vectors, so that ranking can be checked by hand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from assistant.ingest import Ingestor
from assistant.knowledge import Knowledge
from assistant.live import INDEXES
from assistant.settings import Settings
from assistant.storage import Storage
from assistant.types import Retrieved, Scope
from indexes.types import FloatArray, Span, VectorSpace

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


class Library:
    """Storage, search and ingestion on one data folder, with the small encoder."""

    def __init__(self, settings: Settings, encoder: HashingEncoder | None = None) -> None:
        self.settings = settings
        self.encoder = encoder or HashingEncoder()
        self.storage = Storage.open(settings)
        space = VectorSpace(self.encoder.fingerprint, self.encoder.dim, cosine_floor=0.7)
        self.knowledge = Knowledge(self.storage, settings, space)
        self.ingestor = Ingestor(self.storage, self.encoder, self.knowledge, settings)

    def search(self, text: str, scope: Scope, k: int = 5) -> Retrieved:
        return self.knowledge.search(scope, [text], self.encoder.encode_queries([text]), k)[0]

    def sources(self, text: str, scope: Scope, k: int = 50) -> set[str]:
        """Sources of all chunks found for a text, best or not."""
        return {hit.source for hit in self.search(text, scope, k).chunks}

    def put(self, source: str, text: str, scope: Scope) -> str:
        """Ingest one text and return the document's id."""
        result = self.ingestor.ingest_bytes(text.encode(), source, scope)
        assert result.status in ("added", "replaced"), result
        assert result.document_id is not None
        return result.document_id

    def assert_consistent(self, scope: Scope) -> None:
        """The indexes hold exactly the items of the database."""
        self.knowledge.refresh(scope)
        collection = self.storage.catalog.require(scope)
        live = self.knowledge._live_of(collection)
        with self.storage.passages.feed(collection.id) as feed:
            for name in INDEXES:
                stored = {item.item_id for item in feed.items(name, 0, DIM)}
                index = live.index(name)
                assert index.size == len(stored)
                query = np.ones((1, DIM), dtype=np.float32) / np.sqrt(DIM).astype(np.float32)
                found = index.search(["x"], query, k=len(stored) + 10)[0] if stored else []
                assert {hit.item_id for hit in found} == stored

    def close(self) -> None:
        self.knowledge.close()
        self.storage.close()

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
