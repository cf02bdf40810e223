"""Parity with PyTorch on the real weights; needs the train extra."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the train extra is not installed")
pytest.importorskip("transformers", reason="the train extra is not installed")

from assistant.models.build.pipeline import trimmed
from assistant.models.build.recipe import E5_SMALL
from assistant.models.build.sources import locate
from assistant.models.build.weights import EncoderWeights
from training import parity

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights() -> EncoderWeights:
    return locate(E5_SMALL.source).read()


def test_both_fp32_graphs_equal_pytorch(weights: EncoderWeights) -> None:
    for name, cosine in parity.fp32_parity(trimmed(weights)).items():
        assert cosine >= parity.MIN_FP32_COSINE, name


def test_int8_stays_close(weights: EncoderWeights) -> None:
    assert parity.int8_parity(trimmed(weights))["mean_cosine"] >= parity.MIN_INT8_MEAN_COSINE


def test_int8_costs_at_most_a_point_of_retrieval(weights: EncoderWeights, dev_data: Path) -> None:
    figures = parity.retrieval(trimmed(weights), [dev_data / "retrieval_en_fiqa"], max_tokens=128)
    row = figures["retrieval_en_fiqa"]
    assert row["fp32"] - row["int8"] <= parity.MAX_RETRIEVAL_LOSS
    assert row["fp32_full"] == pytest.approx(row["fp32"], abs=0.002)
