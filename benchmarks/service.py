"""The running service over many chunks: start to first answer, memory, and time per question.

    python benchmarks/service.py DOCUMENTS QUESTIONS.jsonl [--chunks 50000] [--data-dir DIR]

DOCUMENTS is a folder of files, QUESTIONS JSON lines with a field ``text``. The folder is ingested
again and again under other names until there are enough chunks; a text met before is not encoded
again, its vectors get a little noise instead (cosine about 0.97 to the original), so that copies
are neighbours but not equals. A data folder given is kept and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.ingest import Ingestor
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Scope
from indexes.types import FloatArray, Span

NOISE = 0.013
WAIT_SECONDS = 120


class Remembering:
    """An encoder that encodes each text once and varies what it remembers."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self._known: dict[tuple[str, str], tuple[FloatArray, FloatArray]] = {}
        self._rng = np.random.default_rng(7)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_passages_with_spans(
        self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> tuple[FloatArray, list[FloatArray]]:
        keys = list(zip(texts, contexts, strict=True))
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if new:
            vectors, parts = self._encoder.encode_passages_with_spans(
                [texts[i] for i in new], [contexts[i] for i in new], [spans[i] for i in new]
            )
            for i, vector, part in zip(new, vectors, parts, strict=True):
                self._known[keys[i]] = (vector, part)
        found = [self._known[key] for key in keys]
        return np.stack([self._vary(v) for v, _ in found]), [p for _, p in found]

    def _vary(self, vector: FloatArray) -> FloatArray:
        noisy = vector + self._rng.normal(0, NOISE, vector.shape).astype(np.float32)
        varied: FloatArray = noisy / np.linalg.norm(noisy)
        return varied


def fill(data_dir: Path, documents: Path, chunks: int) -> int:
    """Ingest copies of the folder until there are ``chunks``; return how many there are."""
    runtime = Runtime.open(Settings(data_dir=data_dir))
    ingestor = Ingestor(
        runtime.storage, Remembering(runtime.encoder), runtime.knowledge, runtime.settings
    )
    have = runtime.create_collection(Scope()).chunks
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        while have < chunks:
            number += 1
            copy = Path(folder) / f"copy-{number:03}"
            shutil.copytree(documents, copy / f"copy-{number:03}")
            ingestor.ingest([copy], Scope())
            shutil.rmtree(copy)
            have = runtime.collection_stats(Scope()).chunks
            print(f"{have} chunks", file=sys.stderr)
    runtime.knowledge.compact(Scope())
    runtime.close()
    return have


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, text: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/chat",
        json.dumps({"question": text}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def first_answer(port: int, text: str, since: float) -> float:
    """Ask until there is an answer; return the seconds since the process was started."""
    while time.perf_counter() - since < WAIT_SECONDS:
        try:
            ask(port, text)
            return time.perf_counter() - since
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    raise SystemExit(f"no answer within {WAIT_SECONDS} s")


def resident_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) // 1024


def measure(data_dir: Path, questions: Sequence[str]) -> dict[str, Any]:
    """Serve ``data_dir`` in a process of its own and ask every question, one at a time."""
    port = free_port()
    started = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "assistant", "serve", "--port", str(port)],
        env={**os.environ, "ASSISTANT_DATA_DIR": str(data_dir), "ASSISTANT_LOG_LEVEL": "error"},
        stdout=subprocess.DEVNULL,
    )
    try:
        start = first_answer(port, questions[0], started)
        for text in questions[:20]:
            ask(port, text)
        walls, parts, kinds = [], [], []
        for text in questions:
            begin = time.perf_counter()
            answer = ask(port, text)
            walls.append(1000 * (time.perf_counter() - begin))
            parts.append(answer["timings_ms"])
            kinds.append(answer["kind"])
        memory = resident_mb(server.pid)
    finally:
        server.terminate()
        server.wait(30)
    names = sorted({name for part in parts for name in part})
    return {
        "start_to_first_answer_s": round(start, 2),
        "resident_mb": memory,
        "http_ms_median": round(statistics.median(walls), 1),
        "http_ms_p95": round(statistics.quantiles(walls, n=20)[-1], 1),
        "own_ms_median": {
            name: round(statistics.median([p[name] for p in parts if name in p]), 2)
            for name in names
        },
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("documents", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--asked", type=int, default=300)
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    with options.questions.open(encoding="utf-8") as lines:
        questions = [json.loads(line)["text"] for line in lines][: options.asked]
    with tempfile.TemporaryDirectory() as folder:
        data_dir = options.data_dir or Path(folder)
        chunks = fill(data_dir, options.documents, options.chunks)
        print(json.dumps({"chunks": chunks, **measure(data_dir, questions)}, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
