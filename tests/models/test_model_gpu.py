"""The CUDA encoder on a real NVIDIA GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from assistant.models.build import build_encoder
from assistant.models.loading import load_encoder
from assistant.models.registry import ModelRegistry
from assistant.models.session import choose_device, cuda_problem
from assistant.settings import Settings
from indexes.types import Span

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(cuda_problem() is not None, reason=f"no CUDA: {cuda_problem()}"),
]

TEXTS = [
    "How do I block a lost card?",
    "银行卡丢了怎么办？",
    "",
    "A long passage about fees and terms. " * 30,
    *[f"Clause {n}: the fee is {n} dollars a month." for n in range(200)],
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    build_encoder(Settings(cache_dir=folder, device="auto"))
    return folder


def test_the_gpu_is_taken_and_says_why(cache: Path) -> None:
    registry = ModelRegistry(Settings(cache_dir=cache).models_dir)
    manifest = registry.encoder("e5-small-zh-en", "fp16")[1]
    assert manifest.parity["mean_cosine"] > 0.999
    assert choose_device("auto", fp16_built=True).device == "cuda"
    assert "build" in choose_device("auto", fp16_built=False).reason


def test_gpu_and_cpu_agree(cache: Path) -> None:
    found = []
    for device in ("cuda", "cpu"):
        encoder = load_encoder(Settings(cache_dir=cache, device=device))
        assert encoder.choice is not None
        assert encoder.choice.device == device
        spans = [[Span(0, len(text)), Span(0, len(text) // 2)] for text in TEXTS]
        whole, parts = encoder.encode_passages_with_spans(TEXTS, ["Terms"] * len(TEXTS), spans)
        queries = encoder.encode_queries(TEXTS[:3])
        encoder.close()
        found.append(np.concatenate([whole, queries, *parts]))
    cosines = (found[0] * found[1]).sum(axis=1)
    assert cosines.mean() > 0.99
    assert cosines.min() > 0.95
