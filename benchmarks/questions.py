"""Batch question answering beside txtai and haystack: same weights, same texts, one run.

    python benchmarks/questions.py TEXTS.jsonl QUESTIONS.jsonl MODEL

TEXTS and QUESTIONS are JSON lines with a field ``text``; MODEL is a sentence-transformers folder
of the served encoder's weights, full precision (what the other systems load). Rounds alternate
between the systems, so that a drift of the machine's speed hits all alike; ratios are of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THREADS = 2
TOP = 10

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ.setdefault(name, str(THREADS))
os.environ.update(
    HF_HUB_OFFLINE="1", HAYSTACK_TELEMETRY_ENABLED="False", TOKENIZERS_PARALLELISM="false"
)


def read_texts(path: Path, limit: int) -> list[str]:
    with path.open(encoding="utf-8") as lines:
        texts = dict.fromkeys(json.loads(line)["text"].strip() for line in lines)
    return list(texts)[:limit]


class Ours:
    """This project: the runtime as the command line opens it."""

    name = "domain-assistant"

    def __init__(self, texts: list[str], _model: str, folder: Path) -> None:
        from assistant.runtime import Runtime
        from assistant.settings import Settings
        from assistant.types import Scope

        source = folder / "texts"
        source.mkdir()
        for i, text in enumerate(texts):
            (source / f"{i:06}.txt").write_text(text, encoding="utf-8")
        self.scope = Scope()
        self.runtime = Runtime.open(Settings(data_dir=folder / "data", threads=THREADS))
        report = self.runtime.ingest([source], self.scope)
        failed = len(report.failed)
        if failed:
            print(f"{failed} texts failed: {report.failed[0].reason}", file=sys.stderr)
        self.runtime.knowledge.compact(self.scope)

    def search(self, questions: list[str]) -> None:
        vectors = self.runtime.encoder.encode_queries(questions)
        found = self.runtime.knowledge.search(self.scope, questions, vectors, TOP)
        assert len(found) == len(questions)

    def answer(self, questions: list[str]) -> None:
        from assistant.types import Question

        answers = self.runtime.answer_many([Question(q, self.scope) for q in questions])
        assert len(answers) == len(questions)

    def variants(self) -> dict[str, Callable[[list[str]], None]]:
        return {"search": self.search, "whole answers": self.answer}


class Txtai:
    """txtai: hybrid index (dense and BM25), contents stored."""

    name = "txtai"

    def __init__(self, texts: list[str], model: str, _folder: Path) -> None:
        from txtai import Embeddings

        self.index = Embeddings(
            path=model,
            hybrid=True,
            content=True,
            gpu=False,
            instructions={"query": "query: ", "data": "passage: "},
        )
        self.index.index(list(enumerate(texts)))

    def batch(self, questions: list[str]) -> None:
        assert len(self.index.batchsearch(questions, TOP)) == len(questions)

    def single(self, questions: list[str]) -> None:
        for question in questions[: ASKED["search, one at a time"]]:
            self.index.search(question, TOP)

    def variants(self) -> dict[str, Callable[[list[str]], None]]:
        return {"batchsearch": self.batch, "search, one at a time": self.single}


class Haystack:
    """haystack: in-memory store, dense and BM25 retrievers joined by reciprocal rank."""

    name = "haystack"

    def __init__(self, texts: list[str], model: str, _folder: Path) -> None:
        from haystack import Document, Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.retrievers import (
            InMemoryBM25Retriever,
            InMemoryEmbeddingRetriever,
        )
        from haystack.document_stores.in_memory import InMemoryDocumentStore
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
            SentenceTransformersTextEmbedder,
        )

        store = InMemoryDocumentStore()
        embedder = SentenceTransformersDocumentEmbedder(
            model=model, prefix="passage: ", progress_bar=False
        )
        if hasattr(embedder, "warm_up"):
            embedder.warm_up()
        store.write_documents(embedder.run([Document(content=t) for t in texts])["documents"])
        pipe = Pipeline()
        text_embedder = SentenceTransformersTextEmbedder(
            model=model, prefix="query: ", progress_bar=False
        )
        pipe.add_component("embed", text_embedder)
        pipe.add_component("dense", InMemoryEmbeddingRetriever(store, top_k=TOP))
        pipe.add_component("bm25", InMemoryBM25Retriever(store, top_k=TOP))
        pipe.add_component("join", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=TOP))
        pipe.connect("embed.embedding", "dense.query_embedding")
        pipe.connect("dense", "join")
        pipe.connect("bm25", "join")
        self.pipe = pipe

    def one_by_one(self, questions: list[str]) -> None:
        for question in questions[: ASKED["pipeline, one at a time"]]:
            self.pipe.run({"embed": {"text": question}, "bm25": {"query": question}})

    def variants(self) -> dict[str, Callable[[list[str]], None]]:
        return {"pipeline, one at a time": self.one_by_one}


ASKED = {"search, one at a time": 100, "pipeline, one at a time": 50}
SYSTEMS = {"ours": Ours, "txtai": Txtai, "haystack": Haystack}


def measure(systems: list[Any], questions: list[str], rounds: int) -> dict[str, float]:
    """Return questions a second, median of ``rounds``, by system and variant."""
    rates: dict[str, list[float]] = {}
    for number in range(rounds + 1):  # the first round warms up
        for system in systems:
            for variant, call in system.variants().items():
                asked = min(ASKED.get(variant, len(questions)), len(questions))
                start = time.perf_counter()
                call(questions)
                if number:
                    rate = asked / (time.perf_counter() - start)
                    rates.setdefault(f"{system.name}: {variant}", []).append(rate)
    return {name: round(statistics.median(r), 1) for name, r in rates.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("model")
    parser.add_argument("--count", type=int, default=10_000, help="texts")
    parser.add_argument("--asked", type=int, default=1_000, help="questions")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=sorted(SYSTEMS), default=sorted(SYSTEMS))
    options = parser.parse_args()
    texts = read_texts(options.texts, options.count)
    questions = read_texts(options.questions, options.asked)
    with tempfile.TemporaryDirectory() as folder:
        systems, build = [], {}
        for name in options.only:
            start = time.perf_counter()
            systems.append(SYSTEMS[name](texts, options.model, Path(folder)))
            build[systems[-1].name] = round(time.perf_counter() - start, 1)
            print(
                f"{systems[-1].name}: {len(texts)} texts in {build[systems[-1].name]} s",
                file=sys.stderr,
            )
        rates = measure(systems, questions, options.rounds)
    ours = rates.get("domain-assistant: search")
    ratios = {name: round(ours / rate, 2) for name, rate in rates.items()} if ours else {}
    print(
        json.dumps(
            {
                "texts": len(texts),
                "questions": len(questions),
                "threads": THREADS,
                "build_seconds": build,
                "questions_per_second": rates,
                "our_search_over_it": ratios,
            },
            indent=1,
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
