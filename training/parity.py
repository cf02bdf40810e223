"""Parity of the built encoders with PyTorch, and what int8 and trimming cost in retrieval.

``python -m training.parity --data BEIR_FOLDER`` prints one JSON object. Needs the ``train`` extra.
Exit status 1 when a gate fails: fp32 graph against PyTorch, cosine at least 0.9999 for every text
over varied lengths, padding and batch sizes; int8 mean at least 0.99; retrieval loss of int8
against fp32 at most one point of nDCG@10.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assistant.models.build import gates
from assistant.models.build.graph import Precision, build_graph
from assistant.models.build.pipeline import encoder_graph, trimmed
from assistant.models.build.recipe import E5_SMALL, Recipe
from assistant.models.build.sources import locate
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.weights import EncoderWeights
from assistant.models.encoder import Encoder
from assistant.models.manifest import ModelManifest
from assistant.models.session import CpuBackend, Tokens, pad
from indexes.evaluate import evaluate_retrieval, read_retrieval_set
from indexes.types import FloatArray
from training.bert import torch_model

if TYPE_CHECKING:
    from transformers import BertModel

MIN_FP32_COSINE = 0.9999
MIN_INT8_MEAN_COSINE = 0.99
MAX_RETRIEVAL_LOSS = 0.01
LENGTHS = (3, 8, 17, 32, 64, 131, 214, 400, 512)
BATCH_SIZES = (1, 3, 8)


def torch_pooled(model: BertModel, texts: Sequence[Tokens]) -> FloatArray:
    """Return the pooled vectors of one padded batch, float32 (batch, hidden)."""
    import torch

    ids, lengths, pool = pad(texts)
    mask = np.arange(ids.shape[1])[None] < lengths[:, None]
    with torch.inference_mode():
        hidden = model(
            input_ids=torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long()
        ).last_hidden_state
    pooled: FloatArray = (pool @ hidden.numpy())[:, 0]
    return pooled


def padded_graph_pooled(graph: Any, texts: Sequence[Tokens]) -> FloatArray:
    """Run the padded graph (the CUDA one, here in fp32) on one batch, float32 (batch, hidden)."""
    ids, lengths, pool = pad(texts)
    pooled: FloatArray = graph.run(None, {"input_ids": ids, "lengths": lengths, "pool": pool})[0]
    return pooled[:, 0]


def random_tokens(weights: EncoderWeights, lengths: Sequence[int], seed: int) -> list[Tokens]:
    """Return token rows of the given lengths, uniform over the vocabulary."""
    random = np.random.default_rng(seed)
    rows = []
    for length in lengths:
        ids = random.integers(4, len(weights.vocabulary.pieces), length).astype(np.int32)
        ids[0], ids[-1] = weights.vocabulary.bos, weights.vocabulary.eos
        rows.append(Tokens(ids, np.full((1, length), 1 / length, dtype=np.float32)))
    return rows


def cosines(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the cosine of each pair of rows."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    result: FloatArray = (a * b).sum(axis=1) / norms
    return result


def fp32_parity(weights: EncoderWeights) -> dict[str, float]:
    """Return the least cosine of both fp32 graphs to PyTorch over lengths and batch sizes."""
    import onnxruntime

    model = torch_model(weights)
    single = CpuBackend(build_graph(weights, "fp32", padded=False).SerializeToString(), 1)
    padded = onnxruntime.InferenceSession(
        build_graph(weights, "fp32", padded=True).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    least = {"fp32_least_cosine": 1.0, "fp32_padded_least_cosine": 1.0}
    for size in BATCH_SIZES:
        for start in range(0, len(LENGTHS), size):
            batch = random_tokens(weights, LENGTHS[start : start + size], seed=start)
            want = torch_pooled(model, batch)
            found = {
                "fp32_least_cosine": np.stack([p[0] for p in single.pooled(batch)]),
                "fp32_padded_least_cosine": padded_graph_pooled(padded, batch),
            }
            for name, vectors in found.items():
                least[name] = min(least[name], float(cosines(vectors, want).min()))
    single.close()
    return least


@contextmanager
def encoder(
    weights: EncoderWeights, precision: Precision, recipe: Recipe, threads: int = 2
) -> Iterator[Encoder]:
    """Yield an encoder of the weights as they are, without building anything on disk."""
    manifest = ModelManifest(
        name=recipe.name,
        task="encoder",
        dim=weights.shape.hidden,
        max_tokens=weights.shape.max_positions,
        query_prefix=recipe.query_prefix,
        passage_prefix=recipe.passage_prefix,
        licence=recipe.licence,
        source="",
        source_version="",
        source_sha256="",
        precision=precision,
        files={},
        parity={},
        created="",
    )
    graph = encoder_graph(weights, precision, gate_sample(weights, recipe)).SerializeToString()
    opened = Encoder(manifest, build_tokenizer(weights.vocabulary), CpuBackend(graph, threads))
    try:
        yield opened
    finally:
        opened.close()


def dense_ndcg(opened: Encoder, folder: Path, max_tokens: int) -> float:
    """Return nDCG@10 of exact dense search over a folder in BEIR layout."""
    opened.max_tokens = max_tokens
    test = read_retrieval_set(folder)
    ids = list(test.corpus)
    corpus = opened.encode_passages(list(test.corpus.values()))

    def rank(queries: Sequence[str], depth: int) -> list[list[str]]:
        scores = opened.encode_queries(queries) @ corpus.T
        return [[ids[i] for i in np.argsort(-row, kind="stable")[:depth]] for row in scores]

    return float(evaluate_retrieval(test.corpus, test.queries, test.qrels, rank).ndcg_at_10)


def retrieval(
    weights: EncoderWeights, folders: Sequence[Path], max_tokens: int
) -> dict[str, dict[str, float]]:
    """Return nDCG@10 by folder: fp32 with the full vocabulary, fp32 trimmed, int8 trimmed."""
    small = trimmed(weights)
    variants: Mapping[str, tuple[EncoderWeights, Precision]] = {
        "fp32_full": (weights, "fp32"),
        "fp32": (small, "fp32"),
        "int8": (small, "int8"),
    }
    figures: dict[str, dict[str, float]] = {folder.name: {} for folder in folders}
    for name, (chosen, precision) in variants.items():
        with encoder(chosen, precision, E5_SMALL) as opened:
            for folder in folders:
                figures[folder.name][name] = round(dense_ndcg(opened, folder, max_tokens), 4)
    return figures


def int8_parity(weights: EncoderWeights) -> dict[str, float]:
    """Return the build gate's figures: int8 against fp32 on its bilingual sample."""
    sample = gate_sample(weights, E5_SMALL)
    int8 = CpuBackend(encoder_graph(weights, "int8", sample).SerializeToString(), 2)
    fp32 = CpuBackend(build_graph(weights, "fp32", padded=False).SerializeToString(), 2)
    try:
        return gates.compare(int8, fp32, sample)
    finally:
        int8.close()
        fp32.close()


def gate_sample(weights: EncoderWeights, recipe: Recipe) -> list[Tokens]:
    """Return the build gate's sample in the vocabulary of ``weights``."""
    return gates.sample_tokens(
        build_tokenizer(weights.vocabulary),
        recipe.query_prefix,
        recipe.passage_prefix,
        weights.shape.max_positions,
    )


def passed(report: Mapping[str, Any]) -> bool:
    """Say whether every gate holds."""
    sets: Mapping[str, Mapping[str, float]] = report["retrieval_ndcg_at_10"]
    losses = [row["fp32"] - row["int8"] for row in sets.values()]
    return (
        report["fp32_least_cosine"] >= MIN_FP32_COSINE
        and report["fp32_padded_least_cosine"] >= MIN_FP32_COSINE
        and report["mean_cosine"] >= MIN_INT8_MEAN_COSINE
        and all(loss <= MAX_RETRIEVAL_LOSS for loss in losses)
    )


def main() -> int:
    """Run all gates and print the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders in BEIR layout")
    parser.add_argument("--max-tokens", type=int, default=256)
    arguments = parser.parse_args()
    weights = locate(E5_SMALL.source).read()
    report: dict[str, Any] = {**fp32_parity(trimmed(weights)), **int8_parity(trimmed(weights))}
    report["retrieval_ndcg_at_10"] = retrieval(weights, arguments.data, arguments.max_tokens)
    report["passed"] = passed(report)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
