"""Tiny fine-tuned models: random heads on the tiny encoder, built as real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tiny_models as tiny
from tokenizers import Tokenizer

from assistant.models.build.bases import BaseEncoder
from assistant.models.build.tuned import TunedWeights
from assistant.models.build.tuned_build import build_tuned
from assistant.models.build.weights import EncoderWeights
from assistant.models.headed import HeadedModel
from assistant.models.heads import HeadSpec
from assistant.models.manifest import ModelManifest
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE
from assistant.models.session import CpuBackend

SHA = "0" * 64
SENTIMENT = HeadSpec("sentiment", "sequence", ("negative", "neutral", "positive"))
TOPICS = HeadSpec("topics", "sequence", ("cards", "loans", "fees", "other"), "sigmoid")
PAIR = HeadSpec("match", "sequence", ("match",), "sigmoid")
TAGS = HeadSpec("tagger", "token", ("O", "B-ORG", "I-ORG", "B-PER", "I-PER"))
SPAN = HeadSpec("reader", "token", ("start", "end"))


def base(source: EncoderWeights | None = None) -> BaseEncoder:
    weights = source or tiny.weights()
    return BaseEncoder(weights, "tiny", SHA, "test", "1", "query: ", "passage: ", "none")


def tuned(*heads: HeadSpec, seed: int = 0, task: str = "classifier", **values: Any) -> TunedWeights:
    """Random heads, strong enough that labels differ between texts."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = {}
    for head in heads:
        size = (len(head.labels), tiny.SHAPE.hidden)
        tensors[f"head.{head.name}.out.w"] = random.normal(size=size).astype(np.float32)
        tensors[f"head.{head.name}.out.b"] = random.normal(size=size[0]).astype(np.float32) * 0.1
    fields: dict[str, Any] = {
        "name": "tiny",
        "task": task,
        "base": "tiny",
        "base_sha256": SHA,
        "max_tokens": 40,
        "query_prefix": "query: ",
        "passage_prefix": "passage: ",
        "licence": "none",
        "heads": heads,
        **values,
    }
    return TunedWeights(**{**fields, "tensors": {**tensors, **values.get("tensors", {})}})


def built(
    folder: Path, *heads: HeadSpec, precision: Any = "fp32", seed: int = 0, **values: Any
) -> ModelManifest:
    """Build into the new ``folder``."""
    return build_tuned(tuned(*heads, seed=seed, **values), base(), folder, precision)


def opened(folder: Path, manifest: ModelManifest, threads: int = 2) -> HeadedModel:
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    return HeadedModel(
        manifest, tokenizer, CpuBackend(folder / MODEL_FILE, threads), threads=threads
    )


def model(folder: Path, *heads: HeadSpec, **values: Any) -> HeadedModel:
    """A model in ``folder``, built and opened."""
    return opened(folder, built(folder, *heads, **values))


def reference(heads: Sequence[HeadSpec], ids: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """What the heads must give, in plain numpy: logits (labels,) or (tokens, labels)."""
    hidden = tiny.numpy_encoder(tiny.weights(), ids)
    tensors = tuned(*heads, seed=seed).tensors
    found = {}
    for head in heads:
        x = (
            hidden
            if head.kind == "token"
            else hidden[0]
            if head.pooling == "first"
            else (hidden.mean(0))
        )
        found[head.name] = (
            x @ tensors[f"head.{head.name}.out.w"].T + (tensors[f"head.{head.name}.out.b"])
        )
    return found
