"""What a promotion costs a running service: failures, latency and memory while versions change.

Two versions of the base encoder (the same weights, so that only the change is measured) are added
to a registry of their own, and four threads ask without pause while one is promoted after the
other.

    python -m benchmarks.model_swap --swaps 20
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from assistant.models.encoder import Encoder
from assistant.models.live_models import Served
from assistant.models.manifest import ModelManifest
from assistant.models.passport import DataNote, Gate, Passport
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE, ModelRegistry
from assistant.models.session import open_backend
from assistant.models.store import ModelStore
from assistant.settings import Settings

PASSPORT = Passport(
    "encoder", "bench", {}, "e5-small-zh-en", DataNote("0" * 64, ()), {}, Gate("none", None, True)
)
QUESTION = ["How do I report a lost card to the bank, and what does it cost?"]


def opener(folder: Path, manifest: ModelManifest) -> Encoder:
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    return Encoder(manifest, tokenizer, open_backend(folder / MODEL_FILE, "cpu", 2), threads=2)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


class Load:
    """Threads that ask without pause."""

    def __init__(self, served: Served[Encoder], threads: int) -> None:
        self.times: list[tuple[float, float]] = []
        self.failures = 0
        self._served = served
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                with self._served.use() as (_, encoder):
                    encoder.encode_queries(QUESTION)
            except Exception:
                self.failures += 1
            self.times.append((began, time.perf_counter() - began))

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def spread(times: list[float]) -> dict[str, float]:
    p50, p99 = np.percentile(np.array(times) * 1000, [50, 99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1), "n": len(times)}


def measure(root: Path, swaps: int) -> dict[str, object]:
    folder = ModelRegistry(Settings().models_dir).folder(Settings().encoder)
    assert folder is not None, "run `assistant build` first"
    shutil.copytree(folder, root / "run" / "int8")
    store = ModelStore(root / "models")
    versions = [
        store.add(root / "run", task="encoder", name="bench", passport=PASSPORT) for _ in range(2)
    ]
    store.promote(versions[0])
    served = Served(store, "encoder", "bench", "shared", opener)
    load = Load(served, 4)
    time.sleep(4)
    memory, windows, delays = [resident_mb()], [], []
    for swap in range(swaps):
        began = time.perf_counter()
        newest = store.promote(versions[(swap + 1) % 2])
        promoted = time.perf_counter()
        while served.status().version != newest:
            time.sleep(0.005)
        windows.append((began, time.perf_counter()))
        delays.append(time.perf_counter() - promoted)
        time.sleep(0.5)
        memory.append(resident_mb())
    load.stop()
    served.close()
    first = windows[0][0]
    during = [t for at, t in load.times if any(a <= at <= b for a, b in windows)]
    before = [t for at, t in load.times if at < first]
    return {
        "model_mb": round(versions[0].seal().size("int8") / 1e6, 1),
        "swaps": swaps,
        "requests": len(load.times),
        "failures": load.failures,
        "seconds_from_promotion_to_service": {
            "median": round(float(np.median(delays)), 2),
            "most": round(max(delays), 2),
        },
        "latency_ms_before": spread(before),
        "latency_ms_while_changing": spread(during),
        "memory_mb": {
            "before": round(memory[0]),
            "median_of_first_5": round(float(np.median(memory[1:6]))),
            "median_of_last_5": round(float(np.median(memory[-5:]))),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(folder), arguments.swaps), indent=2))


if __name__ == "__main__":
    main()
