"""Cost of the hybrid index against corpus size, 1,000 to 500,000 chunks.

``python -m benchmarks.scaling [--data DIR] [--output DIR] [--sizes 1000 …]``

Real passages and questions of public sets (BEIR folders under ``--data``) are encoded once; bigger
corpora are synthesised from them: vector = passage + 0.4 × (another − a third) + noise, so that
neighbourhoods keep the shape and the spread of real ones; text = half of one passage and half of
another. Questions are always real. Each size is built in one process and measured in a fresh one,
so memory is its own. Writes ``scaling.json`` and ``scaling.png``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexes.analysis import Analyzer
from indexes.evaluate import read_retrieval_set
from indexes.lexical import Vocabulary, build_postings, merge_postings, top_rows
from indexes.search import CANDIDATES, HybridIndex
from indexes.segment import Contents
from indexes.store import GenerationStore, Identity
from indexes.types import FloatArray, IndexItem, VectorSpace

SIZES = (1_000, 5_000, 20_000, 50_000, 100_000, 200_000, 500_000)
SETS = ("retrieval_zh_cmrc", "retrieval_en_squad", "retrieval_en_fiqa", "retrieval_zh_faq")
PASSAGES, QUESTIONS = 400, 50  # of each set
CHUNK_CHARACTERS = {"zh": 300, "en": 850}  # about 200 encoder tokens
ENCODER = "benchmark"
COSINE_FLOOR = 0.7
PLOTTED = {
    "query": "whole search",
    "dense": "dense side",
    "lexical": "lexical side",
    "add_and_find": "add one and find it",
}
BLOCK = 10_000

Cost = dict[str, float]
"""Milliseconds: `wall` elapsed, `cpu` used."""


def encode_seeds(data: Path, path: Path) -> None:
    """Encode real passages and questions and keep them in ``path`` (npz and json)."""
    from assistant.models.loading import load_encoder
    from assistant.settings import Settings

    rng = np.random.default_rng(0)
    passages: list[str] = []
    questions: list[str] = []
    for name in SETS:
        test = read_retrieval_set(data / name)
        size = CHUNK_CHARACTERS["zh" if "_zh_" in name else "en"]
        texts, asked = list(test.corpus.values()), list(test.queries.values())
        passages += [texts[i][:size] for i in rng.permutation(len(texts))[:PASSAGES]]
        questions += [asked[i] for i in rng.permutation(len(asked))[:QUESTIONS]]
    encoder = load_encoder(Settings())
    np.savez(
        path.with_suffix(".npz"),
        passages=encoder.encode_passages(passages),
        questions=encoder.encode_queries(questions),
    )
    encoder.close()
    path.with_suffix(".json").write_text(
        json.dumps({"passages": passages, "questions": questions}), encoding="utf-8"
    )


def load_seeds(path: Path) -> tuple[list[str], FloatArray, list[str], FloatArray]:
    texts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz")) as arrays:
        return texts["passages"], arrays["passages"], texts["questions"], arrays["questions"]


def synthesise(seeds: Path, size: int) -> tuple[Contents, Vocabulary]:
    """Return a corpus of ``size`` chunks; the same seed gives the same corpus."""
    texts, real, _, _ = load_seeds(seeds)
    analyzer, vocabulary = Analyzer(), Vocabulary()
    halves = []
    for text in texts:
        terms = np.asarray(vocabulary.intern(analyzer.tokens(text)), dtype=np.int64)
        halves.append((terms[: terms.size // 2], terms[terms.size // 2 :]))
    rng = np.random.default_rng(1)
    vectors = np.empty((size, real.shape[1]), dtype=np.float16)
    parts = []
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        a, b, c = rng.integers(0, len(texts), (3, count))
        noise = rng.normal(scale=0.005, size=(count, real.shape[1])).astype(np.float32)
        block = real[a] + 0.4 * (real[b] - real[c]) + noise
        vectors[start : start + count] = block / np.linalg.norm(block, axis=1, keepdims=True)
        terms = [np.concatenate((halves[i][0], halves[j][1])) for i, j in zip(a, b, strict=True)]
        lengths = np.asarray([t.size for t in terms], dtype=np.int32)
        parts.append(build_postings(np.concatenate(terms), lengths))
    keeps = [np.ones(part.lengths.size, dtype=np.bool_) for part in parts]
    ids = np.arange(1, size + 1, dtype=np.int64)
    return Contents(ids, vectors, merge_postings(parts, keeps), {}), vocabulary


def build(seeds: Path, root: Path, size: int) -> dict[str, Any]:
    """Write one generation; return its cost."""
    contents, vocabulary = synthesise(seeds, size)
    identity = Identity(contents.vectors.shape[1], ENCODER, Analyzer.version)
    started = time.perf_counter()
    GenerationStore(root, identity).write(contents, vocabulary, 0)
    seconds = time.perf_counter() - started
    files = [p for p in root.rglob("*") if p.is_file()]
    return {"write_s": seconds, "disk_mb": sum(p.stat().st_size for p in files) / 2**20}


def resident_mb() -> float:
    """Return this process's resident memory (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def median_ms(action: Callable[[int], object], times: int) -> Cost:
    """Return the medians of elapsed time and of processor time, all threads together.

    On a machine that does other things too, the second is the one to compare.
    """
    wall, cpu = [], []
    for turn in range(times):
        started, used = time.perf_counter(), time.process_time()
        action(turn)
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return {"wall": 1000 * statistics.median(wall), "cpu": 1000 * statistics.median(cpu)}


def exact_top(vectors: np.ndarray, queries: FloatArray, count: int) -> list[set[int]]:
    """Return the exact nearest rows by plain matrix products, in blocks."""
    scores = np.concatenate(
        [
            queries @ vectors[start : start + 65_536].astype(np.float32).T
            for start in range(0, len(vectors), 65_536)
        ],
        axis=1,
    )
    return [set(np.argpartition(-row, count)[:count].tolist()) for row in scores]


def recall(index: HybridIndex, queries: FloatArray) -> float:
    """Recall@10 of the dense side after its candidates are scored exactly."""
    dense = index._snapshot.segments[0].dense
    found = []
    for query, rows in zip(queries, dense.search(queries, CANDIDATES), strict=True):
        found.append(set(rows[np.argsort(-dense.cosines(query, rows))[:10]].tolist()))
    exact = exact_top(dense.vectors, queries, 10)
    return sum(len(f & e) for f, e in zip(found, exact, strict=True)) / (10 * len(queries))


def measure(seeds: Path, root: Path, size: int) -> dict[str, Any]:
    """Open one generation in this fresh process and time what a service does with it."""
    texts, real, questions, asked = load_seeds(seeds)
    Analyzer().tokens("热身 warm up")
    before = resident_mb()
    started = time.perf_counter()
    index = HybridIndex.open(root, VectorSpace(ENCODER, real.shape[1], COSINE_FLOOR))
    row: dict[str, Any] = {"chunks": size, "open_s": time.perf_counter() - started}
    analyzer, snapshot = Analyzer(), index._snapshot
    segment, lexical = snapshot.segments[0], snapshot.lexical

    def lexical_side(turn: int) -> None:
        query = lexical.weigh(analyzer.tokens(questions[turn]))
        top_rows(next(lexical.scores([query], 0)), CANDIDATES)

    turns = len(questions)
    row["first_query"] = median_ms(lambda t: index.search(questions[:1], asked[:1], 10), 1)
    row["lexical_cold"] = median_ms(lexical_side, turns)
    row["lexical"] = median_ms(lexical_side, turns)
    row["dense"] = median_ms(lambda t: segment.dense.search(asked[t : t + 1], CANDIDATES), turns)
    row["query"] = median_ms(
        lambda t: index.search(questions[t : t + 1], asked[t : t + 1], 10), turns
    )
    row["resident_mb"] = resident_mb() - before
    batch = median_ms(lambda t: index.search(questions, asked, 10), 3)
    row["batch_per_query"] = {name: value / turns for name, value in batch.items()}
    row["approximate"] = not segment.dense.exact
    row["recall_at_10"] = recall(index, asked)

    def add(turn: int) -> None:
        # A word of its own: in a big corpus many texts share the same halves.
        item = IndexItem(size + 1 + turn, f"offer{turn} {texts[turn]}", real[turn])
        index.add([item])
        [hits] = index.search([f"offer{turn}"], real[turn : turn + 1], 10)
        assert item.item_id in {hit.item_id for hit in hits}, "an added item was not found"

    def delete(turn: int) -> None:
        index.delete([size + 1 + turn, turn + 1], turn + 1)
        [hits] = index.search([f"offer{turn}"], real[turn : turn + 1], 10)
        assert not {size + 1 + turn, turn + 1} & {hit.item_id for hit in hits}

    row["add_and_find"] = median_ms(add, 20)
    row["delete_and_search"] = median_ms(delete, 5)
    return row


def cpu(cost: Cost | float) -> float:
    return cost["cpu"] if isinstance(cost, dict) else cost


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Return b of cost = a × size^b, fitted by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add the exponents: over all sizes, and over those big enough that work outweighs overhead."""
    big = [row for row in rows if row["chunks"] >= 20_000]
    fits: dict[str, dict[str, float]] = {}
    for name in (*PLOTTED, "resident_mb"):
        fits[name] = {
            label: exponent([r["chunks"] for r in chosen], [cpu(r[name]) for r in chosen])
            for label, chosen in (("all", rows), ("from_20000", big))
            if len(chosen) > 1
        }
    return {"sizes": rows, "exponents": fits}


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2))
    sizes = [row["chunks"] for row in rows]
    for name, label in PLOTTED.items():
        left.loglog(sizes, [cpu(row[name]) for row in rows], marker="o", label=label)
    left.set(xlabel="chunks", ylabel="processor milliseconds, median", title="One question")
    left.legend()
    right.loglog(sizes, [row["resident_mb"] for row in rows], marker="o", label="resident")
    right.loglog(sizes, [row["disk_mb"] for row in rows], marker="o", label="on disk")
    right.set(xlabel="chunks", ylabel="MB", title="Memory and disk")
    right.legend()
    for axis in (left, right):
        axis.grid(True, which="both", alpha=0.25)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def run_child(task: str, seeds: Path, root: Path, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.scaling", "--task", task]
    command += ["--seeds", str(seeds), "--root", str(root), "--sizes", str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task} at {size} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_all(data: Path, output: Path, sizes: Sequence[int], seeds: Path | None) -> None:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        seeds = seeds or Path(folder) / "seeds"
        if not seeds.with_suffix(".npz").exists():
            encode_seeds(data, seeds)
        rows = []
        for size in sizes:
            root = Path(folder) / str(size)
            built = run_child("build", seeds, root, size)
            rows.append({**run_child("measure", seeds, root, size), **built})
            print(json.dumps(rows[-1]), flush=True)
            subprocess.run(["rm", "-rf", str(root)], check=True)
    result = summarise(rows)
    print(json.dumps(result["exponents"], indent=1))
    (output / "scaling.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    plot(rows, output / "scaling.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/dev"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--seeds", type=Path, help="keep the encoded passages here, or reuse them")
    parser.add_argument("--task", choices=("build", "measure"), help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task = build if options.task == "build" else measure
        print(json.dumps(task(options.seeds, options.root, options.sizes[0])))
    else:
        run_all(options.data, options.output, options.sizes, options.seeds)


if __name__ == "__main__":
    main()
