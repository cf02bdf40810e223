"""Vectors as stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import StorageError
from assistant.storage.codec import (
    Sentences,
    decode_path,
    decode_vectors,
    encode_path,
    encode_sentences,
    encode_vector,
)
from indexes.types import Span


def unit(rows: int, dim: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    vectors[:, 0] *= 5  # encoders have a few dimensions much larger than the rest
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(1, 20), st.sampled_from([8, 64, 384]), st.integers(0, 1000))
def test_vectors_survive_almost_exactly(rows: int, dim: int, seed: int) -> None:
    vectors = unit(rows, dim, seed)
    stored = [encode_vector(v) for v in vectors]
    assert {len(blob) for blob in stored} == {2 * dim}
    again = decode_vectors(stored, dim)
    assert again.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(again, axis=1), 1, atol=1e-6)
    assert (again * vectors).sum(axis=1).min() > 0.99999


@given(st.integers(0, 30), st.sampled_from([16, 384]), st.integers(0, 1000))
def test_sentences_survive_with_text_and_vector(count: int, dim: int, seed: int) -> None:
    start, text = 1000, "".join(chr(0x4E00 + i) for i in range(count * 3))
    spans = [Span(start + 3 * i, start + 3 * i + 2) for i in range(count)]
    vectors = unit(count, dim, seed) if count else np.zeros((0, dim), np.float32)
    sentences = Sentences(encode_sentences(spans, vectors), text, start)
    assert len(sentences) == count
    assert list(sentences.spans) == spans
    assert [s.text for s in sentences] == [text[3 * i : 3 * i + 2] for i in range(count)]
    if count:
        assert sentences.vectors.shape == (count, dim)
        assert (sentences.vectors * vectors).sum(axis=1).min() > 0.999
        np.testing.assert_array_equal(sentences[-1].vector, sentences.vectors[-1])
        assert sentences[:1] == (sentences[0],)


def test_a_zero_vector_stays_finite() -> None:
    blob = encode_sentences([Span(0, 1)], np.zeros((1, 8), np.float32))
    assert np.isfinite(Sentences(blob, "a", 0).vectors).all()


def test_a_vector_of_another_size_is_an_error() -> None:
    with pytest.raises(StorageError, match="384 numbers"):
        decode_vectors([encode_vector(unit(1, 64, 0)[0])], 384)
    assert decode_vectors([], 384).shape == (0, 384)


def test_heading_paths() -> None:
    assert decode_path(encode_path(["费用", 'a "quoted" one', "x\ud800"])) == (
        "费用",
        'a "quoted" one',
        "x\ufffd",
    )
    assert decode_path(encode_path([])) == ()
