"""The ONNX graphs against BERT in plain numpy."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import tiny_models as tiny

from assistant.models.build.calibration import outlier_scales
from assistant.models.build.graph import build_graph, quantise_columns
from assistant.models.session import CpuBackend, Tokens, batches, pad

LENGTHS = (2, 3, 7, 20, 40)


def tokens(length: int, seed: int = 0) -> Tokens:
    random = np.random.default_rng(seed)
    ids = random.integers(0, len(tiny.PIECES), length).astype(np.int32)
    pool = random.random((3, length)).astype(np.float32)
    return Tokens(ids, pool / pool.sum(axis=1, keepdims=True))


def expected(text: Tokens) -> np.ndarray:
    return text.pool @ tiny.numpy_encoder(tiny.weights(), text.ids)


@pytest.fixture(scope="module")
def fp32() -> CpuBackend:
    return CpuBackend(build_graph(tiny.weights(), "fp32", padded=False).SerializeToString(), 2)


@pytest.mark.parametrize("length", LENGTHS)
def test_fp32_equals_numpy(fp32: CpuBackend, length: int) -> None:
    text = tokens(length)
    np.testing.assert_allclose(fp32.pooled([text])[0], expected(text), atol=2e-5)


def test_many_texts_come_back_in_their_order(fp32: CpuBackend) -> None:
    texts = [tokens(length, seed) for seed, length in enumerate(LENGTHS * 4)]
    for text, found in zip(texts, fp32.pooled(texts), strict=True):
        np.testing.assert_allclose(found, expected(text), atol=2e-5)


def test_the_padded_graph_is_deaf_to_padding() -> None:
    """The graph CUDA runs, here in fp32 on CPU, over one batch of very different lengths."""
    model = build_graph(tiny.weights(), "fp32", padded=True).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    texts = [tokens(length, seed) for seed, length in enumerate(LENGTHS)]
    ids, lengths, pool = pad(texts)
    for filler in (0, 5):
        ids[np.arange(ids.shape[1])[None] >= lengths[:, None]] = filler
        feed = {"input_ids": ids, "lengths": lengths, "pool": pool}
        pooled = session.run(None, feed)[0]
        for row, text in zip(pooled, texts, strict=True):
            np.testing.assert_allclose(row, expected(text), atol=2e-5)


def test_int8_stays_close_and_does_not_depend_on_company() -> None:
    model = build_graph(tiny.weights(), "int8", padded=False).SerializeToString()
    int8 = CpuBackend(model, 2)
    texts = [tokens(length, seed) for seed, length in enumerate(LENGTHS)]
    together = int8.pooled(texts)
    for text, found in zip(texts, together, strict=True):
        want = expected(text)
        cosine = (
            (found * want).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(want, axis=1)
        )
        assert cosine.min() > 0.99
        np.testing.assert_array_equal(found, int8.pooled([text])[0])


def test_quantised_columns_are_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(50, 9)).astype(np.float32)
    matrix[:, 3] = 0
    values, scale = quantise_columns(matrix)
    assert values.dtype == np.int8
    assert np.all(np.abs(values * scale - matrix) <= scale / 2 + 1e-6)


@pytest.mark.parametrize("limit", [1, 10, 64, 1000])
def test_batches_hold_every_text_once_within_the_limit(limit: int) -> None:
    lengths = np.random.default_rng(limit).integers(1, 40, 200).tolist()
    found = batches(lengths, max_tokens=limit, max_rows=16)
    assert sorted(i for batch in found for i in batch) == list(range(200))
    for batch in found:
        assert len(batch) <= 16
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= limit


def test_scaling_outliers_brings_int8_closer() -> None:
    """A channel that fires forty times as hard and counts a fortieth, as real encoders have one."""
    weights = tiny.weights()
    weights.tensors["l0.fi.w"][5] *= 40
    weights.tensors["l0.fo.w"][:, 5] /= 40
    sample = [tokens(20, seed) for seed in range(6)]
    scales = outlier_scales(weights, sample)
    assert set(scales) == {f"l{layer}.{m}" for layer in (0, 1) for m in ("qkv", "fi", "fo")}
    assert all(scale.min() >= 1 for scale in scales.values())
    assert scales["l0.fo"].argmax() == 5
    errors = []
    for chosen in ({}, scales):
        model = build_graph(weights, "int8", padded=False, scales=chosen).SerializeToString()
        backend = CpuBackend(model, 1)
        found = np.concatenate(backend.pooled([tokens(20, seed) for seed in range(50, 60)]))
        want = np.concatenate(
            [
                text.pool @ tiny.numpy_encoder(weights, text.ids)
                for text in (tokens(20, seed) for seed in range(50, 60))
            ]
        )
        errors.append(float(np.abs(found - want).mean()))
    assert errors[1] < errors[0] / 2
