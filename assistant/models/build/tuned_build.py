"""Write a tuned model as a served one: merge, graph, gate, manifest. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.build import gates
from assistant.models.build.bases import BaseEncoder
from assistant.models.build.calibration import outlier_scales
from assistant.models.build.graph import Precision, build_graph, write_model
from assistant.models.build.sources import sha256_of
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.tuned import TunedWeights, apply
from assistant.models.build.weights import PROMPT, EncoderWeights
from assistant.models.heads import HeadSpec
from assistant.models.manifest import MANIFEST_FILE, ModelManifest
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE
from assistant.models.session import Backend, CpuBackend, Tokens
from assistant.models.tokens import ModelTokenizer, probabilities

MAX_MEAN_DIFFERENCE = 0.05
"""Mean over texts of the largest difference of a label's probability to fp32, at most."""


def build_tuned(
    tuned: TunedWeights,
    base: BaseEncoder,
    folder: Path,
    precision: Precision = "int8",
    *,
    sample: Sequence[str | tuple[str, str]] = (),
) -> ModelManifest:
    """Write the tuned model into the new ``folder`` and return its manifest.

    ``sample`` are texts (or pairs, for a pair model) like those it will serve: int8 learns its
    ranges from them, unless ``tuned`` knows them, and the gate compares on them; without any, a
    bilingual banking sample serves.
    Raises ModelError when the weights do not fit the base or the built model strays from fp32, and
    then leaves no manifest, so that the folder is no model.
    """
    weights = apply(tuned, base.weights, base.sha256)
    tokenizer = build_tokenizer(weights.vocabulary, characters=tuned.characters)
    limit = max_tokens(tuned, weights)
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / TOKENIZER_FILE), pretty=False)
    tokens = sample_tokens(tokenizer, tuned, limit, sample)
    scales = (tuned.scales or outlier_scales(weights, tokens)) if precision == "int8" else None
    padded = precision == "fp16"
    graph = build_graph(weights, precision, padded=padded, scales=scales, heads=tuned.heads)
    words = write_model(graph, folder / MODEL_FILE)
    parity = {} if padded else gate(folder / MODEL_FILE, weights, tuned.heads, tokens)
    manifest = ModelManifest(
        name=tuned.name,
        task=tuned.task,
        dim=weights.shape.hidden,
        max_tokens=limit,
        query_prefix=tuned.query_prefix,
        passage_prefix=tuned.passage_prefix,
        licence=tuned.licence,
        source=base.source,
        source_version=base.version,
        source_sha256=base.sha256,
        precision=precision,
        files={name: sha256_of(folder / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
        parity=parity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pieces=len(weights.vocabulary.pieces),
        heads=tuned.heads,
        words=words,
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def with_scales(
    tuned: TunedWeights, base: BaseEncoder, sample: Sequence[str | tuple[str, str]]
) -> TunedWeights:
    """Return ``tuned`` with the outlier factors of its int8 graph, found on ``sample``."""
    weights = apply(tuned, base.weights, base.sha256)
    tokenizer = build_tokenizer(weights.vocabulary, characters=tuned.characters)
    tokens = sample_tokens(tokenizer, tuned, max_tokens(tuned, weights), sample)
    return replace(tuned, scales=outlier_scales(weights, tokens))


def max_tokens(tuned: TunedWeights, weights: EncoderWeights) -> int:
    """Return the longest text in tokens: as tuned, less what a prompt takes of the positions."""
    prompt = weights.tensors.get(PROMPT)
    room = weights.shape.max_positions - (0 if prompt is None else len(prompt))
    return min(tuned.max_tokens, room)


def sample_tokens(
    tokenizer: Tokenizer, tuned: TunedWeights, limit: int, sample: Sequence[str | tuple[str, str]]
) -> list[Tokens]:
    """Return the sample ready to run."""
    ready = ModelTokenizer(
        tokenizer, limit, tuned.query_prefix, tuned.passage_prefix, pooling_of(tuned.heads)
    )
    sample = sample or gates.sample_texts("", "")
    return [
        ready.text(item).tokens if isinstance(item, str) else ready.pair(*item).tokens
        for item in sample
    ]


def pooling_of(heads: Sequence[HeadSpec]) -> str:
    """Return the pooling that all sequence heads share; ModelError when they differ."""
    kinds = {head.pooling for head in heads if head.kind == "sequence"}
    if len(kinds) > 1:
        raise ModelError("Heads on one encoder must share their pooling, mean or first.")
    return kinds.pop() if kinds else "mean"


def gate(
    model: Path, weights: EncoderWeights, heads: Sequence[HeadSpec], tokens: Sequence[Tokens]
) -> dict[str, float]:
    """Compare the graph at ``model`` with fp32; return the figures, ModelError when it strays."""
    fp32 = build_graph(weights, "fp32", padded=False, heads=heads).SerializeToString()
    reference, built = CpuBackend(fp32, 1), CpuBackend(model, 1)
    try:
        figures = _figures(built, reference, heads, tokens)
    finally:
        reference.close()
        built.close()
    if not figures.get("mean_cosine", 1.0) >= gates.MIN_MEAN_COSINE:  # nan strays as well
        raise ModelError(
            f"The built model strays from fp32: mean cosine {figures['mean_cosine']}; at least "
            f"{gates.MIN_MEAN_COSINE} is required."
        )
    for head in heads:
        strayed = figures[f"{head.name}_difference"]
        if not strayed <= MAX_MEAN_DIFFERENCE:
            raise ModelError(
                f"The built model strays from fp32: head {head.name} differs by {strayed} in "
                f"probability on average; at most {MAX_MEAN_DIFFERENCE} is allowed."
            )
    return figures


def _figures(
    built: Backend, reference: Backend, heads: Sequence[HeadSpec], tokens: Sequence[Tokens]
) -> dict[str, float]:
    ours, theirs = built.run(tokens), reference.run(tokens)
    figures: dict[str, float] = {}
    if "pooled" in ours[0]:
        a = np.stack([outputs["pooled"][0] for outputs in ours])
        b = np.stack([outputs["pooled"][0] for outputs in theirs])
        cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
        figures["mean_cosine"] = round(float(cosine.mean()), 5)
        figures["least_cosine"] = round(float(cosine.min()), 5)
    for head in heads:
        figures.update(
            _head_figures(head, [o[head.name] for o in ours], [o[head.name] for o in theirs])
        )
    return figures


def _head_figures(
    head: HeadSpec, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> Mapping[str, float]:
    a = [probabilities(head, logits) for logits in ours]
    b = [probabilities(head, logits) for logits in theirs]
    differences = [float(np.abs(x - y).max(axis=-1).mean()) for x, y in zip(a, b, strict=True)]
    agree = np.concatenate(
        [(x.argmax(-1) == y.argmax(-1)).ravel() for x, y in zip(a, b, strict=True)]
    )
    return {
        f"{head.name}_difference": round(float(np.mean(differences)), 5),
        f"{head.name}_agreement": round(float(agree.mean()), 5),
    }
