"""Names that tests and fixtures share."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def write_beir(folder: Path) -> None:
    """Write a retrieval set of four texts and three questions, in both languages."""
    texts = [
        "A replacement card costs 5 yuan.",
        "Cats sleep all day in the sun.",
        "The capital of France is Paris.",
        "跨行转账免收手续费。",
    ]
    queries = {
        "q1": ("How much is a replacement card?", "d0"),
        "q2": ("Where do kittens nap?", "d1"),
        "q3": ("转账要手续费吗？", "d3"),
    }
    folder.mkdir()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as stream:
        for number, text in enumerate(texts):
            stream.write(json.dumps({"_id": f"d{number}", "title": "", "text": text}) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as stream:
        for key, (text, _) in queries.items():
            stream.write(json.dumps({"_id": key, "text": text}) + "\n")
    lines = [f"{key}\t{document}\t1\n" for key, (_, document) in queries.items()]
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
