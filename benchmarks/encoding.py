"""Encoding speed: this project's int8 and fp32 graphs against sentence-transformers on PyTorch.

``python -m benchmarks.encoding [--threads 2] [--rounds 5] [--json FILE]``

Every contender has the same weights (recovered from the pinned package), the same texts and the
same number of threads, and they take turns within each round, so that whatever else the machine
does hits all alike. The figure is the best round of each, in texts a second, tokenisation included:
on a machine shared with others the best is what is least disturbed.
Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from assistant.models.build import gates
from assistant.models.build.pipeline import trimmed
from assistant.models.build.recipe import E5_SMALL
from assistant.models.build.sources import locate
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.weights import EncoderWeights
from training.parity import encoder, torch_model

LENGTHS = (32, 214)
BATCH = 32
TARGETS = {32: 2.5, 214: 2.0}
REFERENCE = "sentence-transformers fp32"
Encode = Callable[[Sequence[str]], Any]


def texts_of(length: int, count: int, tokenizer: Tokenizer) -> list[str]:
    """Return ``count`` different bilingual texts of ``length`` tokens, prefix and ends included."""
    pool = [part for pair in gates.SAMPLE for part in pair]
    texts = []
    for n in range(count):
        long = " ".join(pool[(n + i * 7) % len(pool)] for i in range(40))
        encoding = tokenizer.encode(E5_SMALL.passage_prefix + long)
        end = encoding.offsets[length - 2][1] - len(E5_SMALL.passage_prefix)
        texts.append(long[:end])
    return texts


def sentence_transformer(weights: EncoderWeights, folder: Path) -> Any:
    """Return the encoder as sentence-transformers runs it as it comes, in fp32."""
    from sentence_transformers import SentenceTransformer, models
    from transformers import PreTrainedTokenizerFast

    torch_model(weights).save_pretrained(folder)
    tokenizer = build_tokenizer(weights.vocabulary)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=tokenizer.id_to_token(weights.vocabulary.pad),
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(folder)
    body = models.Transformer(
        str(folder), max_seq_length=512, model_kwargs={"add_pooling_layer": False}
    )
    pooling = models.Pooling(weights.shape.hidden, pooling_mode="mean")
    return SentenceTransformer(modules=[body, pooling], device="cpu")


def torch_encoders(model: Any) -> dict[str, Encode]:
    import torch

    def fp32(texts: Sequence[str]) -> Any:
        prefixed = [E5_SMALL.passage_prefix + text for text in texts]
        return model.encode(prefixed, batch_size=BATCH, normalize_embeddings=True)

    def bf16(texts: Sequence[str]) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return fp32(texts)

    return {REFERENCE: fp32, "PyTorch bf16 autocast": bf16}


def check_same_vectors(encoders: dict[str, Encode], texts: Sequence[str]) -> None:
    """Raise ValueError when contenders do not compute the same thing."""
    wanted = np.asarray(encoders[REFERENCE](texts))
    for name, encode in encoders.items():
        cosine = float((np.asarray(encode(texts)) * wanted).sum(axis=1).mean())
        if cosine < 0.99:
            raise ValueError(f"{name} has a mean cosine of {cosine:.4f} to {REFERENCE}")


def measure(encoders: dict[str, Encode], texts: Sequence[str], rounds: int) -> dict[str, float]:
    """Return texts a second by contender: the best of ``rounds`` interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(rounds + 1):
        for name, encode in encoders.items():
            start = time.perf_counter()
            encode(texts)
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: len(texts) / min(taken) for name, taken in times.items()}


def one_query(encode: Encode, rounds: int = 50) -> float:
    """Return the best milliseconds of one question of 20 tokens."""
    question = "What is the monthly fee of the basic account if I am a student at a school?"
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        encode([question])
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def run(threads: int, rounds: int) -> dict[str, Any]:
    """Run the whole comparison and return its figures."""
    import torch

    torch.set_num_threads(threads)
    weights = trimmed(locate(E5_SMALL.source).read())
    tokenizer = build_tokenizer(weights.vocabulary)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        int8 = stack.enter_context(encoder(weights, "int8", E5_SMALL, threads))
        fp32 = stack.enter_context(encoder(weights, "fp32", E5_SMALL, threads))
        encoders: dict[str, Encode] = {
            "this project int8": int8.encode_passages,
            "this project fp32": fp32.encode_passages,
            **torch_encoders(sentence_transformer(weights, folder)),
        }
        check_same_vectors(encoders, texts_of(LENGTHS[0], BATCH, tokenizer))
        speeds = {
            length: measure(encoders, texts_of(length, BATCH, tokenizer), rounds)
            for length in LENGTHS
        }
        query = {name: one_query(encode) for name, encode in encoders.items()}
    return {
        "machine": platform.processor() or platform.machine(),
        "threads": threads,
        "rounds": rounds,
        "texts_per_second": speeds,
        "ratio_to_reference": {
            length: {name: value / row[REFERENCE] for name, value in row.items()}
            for length, row in speeds.items()
        },
        "one_query_ms": query,
        "targets": TARGETS,
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        f"{'':30}{'32 tokens/s':>14}{'ratio':>8}{'214 tokens/s':>14}{'ratio':>8}{'query ms':>10}"
    ]
    for name, query in report["one_query_ms"].items():
        cells = "".join(
            f"{report['texts_per_second'][n][name]:14.1f}"
            f"{report['ratio_to_reference'][n][name]:8.2f}"
            for n in LENGTHS
        )
        lines.append(f"{name:30}{cells}{query:10.2f}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report = run(arguments.threads, arguments.rounds)
    print(table(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
