"""Vectors as stored: float16 for a whole passage, int8 for the sentences within it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import overload

import numpy as np

from assistant.errors import StorageError
from assistant.storage.names import clean_text
from assistant.types import Sentence
from indexes.types import FloatArray, Span

_COUNT = np.dtype("<u4")


def encode_vector(vector: FloatArray) -> bytes:
    """Store a float32 (dim,) vector as float16."""
    return np.asarray(vector, dtype="<f2").tobytes()


def decode_vectors(blobs: Sequence[bytes], dim: int) -> FloatArray:
    """Return float32 (n, dim), rows of unit length again. Raise StorageError on another size."""
    if any(len(blob) != 2 * dim for blob in blobs):
        raise StorageError(
            f"A stored vector has not the {dim} numbers of the encoder in use. "
            "Run `assistant build`, which encodes stored documents anew."
        )
    stored = np.frombuffer(b"".join(blobs), dtype="<f2").reshape(len(blobs), dim)
    vectors = stored.astype(np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors /= np.maximum(norms, 1e-12)
    return vectors


def encode_path(titles: Sequence[str]) -> str:
    """Store a heading path, outermost first."""
    return json.dumps([clean_text(title) for title in titles], ensure_ascii=False)


@lru_cache(maxsize=4096)
def decode_path(stored: str) -> tuple[str, ...]:
    """Return the heading path that ``encode_path`` stored."""
    return tuple(json.loads(stored))


def encode_sentences(spans: Sequence[Span], vectors: FloatArray) -> bytes:
    """Store sentence offsets and their float32 (n, dim) unit vectors.

    Each row is scaled by its largest magnitude into int8: cosine to the original is above 0.999.
    Layout, little-endian: u32 n, u32 dim, n starts, n ends (u32), n scales (f4), n rows (i1).
    """
    count = len(spans)
    matrix = np.asarray(vectors, dtype=np.float32).reshape(count, -1) if count else _EMPTY
    scales = np.maximum(np.abs(matrix).max(axis=1), 1e-12) / 127 if count else np.zeros(0)
    rows = np.rint(matrix / scales[:, None]).astype(np.int8) if count else matrix
    header = np.array([count, matrix.shape[1]], dtype=_COUNT)
    starts = np.array([span.start for span in spans], dtype=_COUNT)
    ends = np.array([span.end for span in spans], dtype=_COUNT)
    parts = (header, starts, ends, scales.astype("<f4"), rows.astype(np.int8))
    return b"".join(part.tobytes() for part in parts)


_EMPTY: FloatArray = np.zeros((0, 0), dtype=np.float32)


class Sentences(Sequence[Sentence]):
    """The sentences of a chunk, decoded when first looked at.

    Most retrieved chunks are never quoted from, so a search hands these out undecoded.
    """

    __slots__ = ("_blob", "_items", "_start", "_text")

    def __init__(self, blob: bytes, text: str, start: int) -> None:
        """``text`` is the chunk's, ``start`` its offset in the document."""
        self._blob = blob
        self._text = text
        self._start = start
        self._items: tuple[Sentence, ...] | None = None

    def __len__(self) -> int:
        return int.from_bytes(self._blob[:4], "little")

    @overload
    def __getitem__(self, index: int) -> Sentence: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Sentence, ...]: ...
    def __getitem__(self, index: int | slice) -> Sentence | tuple[Sentence, ...]:
        return self._decoded()[index]

    def __iter__(self) -> Iterator[Sentence]:
        return iter(self._decoded())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sentences):
            return NotImplemented
        return (self._blob, self._text, self._start) == (other._blob, other._text, other._start)

    def __hash__(self) -> int:
        return hash((self._blob, self._start))

    @property
    def vectors(self) -> FloatArray:
        """float32 (n, dim), unit rows, in the order of the sentences.

        Not kept: they take four times the room of what is stored and microseconds to make.
        """
        count, dim = len(self), int.from_bytes(self._blob[4:8], "little")
        rows = np.frombuffer(self._blob, np.int8, count * dim, 8 + 12 * count)
        vectors = rows.reshape(count, dim).astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    @property
    def spans(self) -> tuple[Span, ...]:
        """Offsets into the document's text."""
        count = len(self)
        starts = np.frombuffer(self._blob, _COUNT, count, 8).tolist()
        ends = np.frombuffer(self._blob, _COUNT, count, 8 + 4 * count).tolist()
        return tuple(map(Span, starts, ends))

    def _decoded(self) -> tuple[Sentence, ...]:
        if self._items is None:
            self._items = tuple(
                Sentence(span, self._text[span.start - self._start : span.end - self._start], row)
                for span, row in zip(self.spans, self.vectors, strict=True)
            )
        return self._items
