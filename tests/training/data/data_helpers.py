"""Small files and specs that the tests of the data pipeline share."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.data.ledger import Ledger
from training.data.readers import find_sources, read_source
from training.data.rows import Kind, Row
from training.data.spec import DataSpec


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def spec_of(folder: Path, **values: Any) -> DataSpec:
    return DataSpec.model_validate({"root": folder, "train": "train.csv", **values})


def read_all(spec: DataSpec, kind: Kind, ledger: Ledger | None = None) -> list[Row]:
    """Read the training files, uncleaned."""
    ledger = ledger or Ledger()
    sources = find_sources(spec.train, kind, spec)
    return [row for source in sources for row in read_source(source, kind, ledger)]


def rejected_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "rejected.jsonl").open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


TOPICS = {
    "card": "My card {} was declined at the {}",
    "loan": "What is the rate of a {} loan for a {}",
    "login": "The app shows error {} when I sign in from {}",
}
_WORDS = "lantern harbour copper meadow violin saddle orchard pebble thunder anchor"
WORDS = tuple(_WORDS.split())


def topic_rows(per_label: int = 10) -> list[tuple[str, str]]:
    """Distinct texts of three topics, no two of them near-duplicates."""
    rows = []
    for label, pattern in TOPICS.items():
        for number in range(per_label):
            first, second = WORDS[number % 10], WORDS[(number // 10 + 3 * number) % 10]
            rows.append((f"{pattern.format(first, second)} {number * 7919 % 1000} {second}", label))
    return rows
