"""Rows for the tiny base that a tiny model can learn: tagged names, pairs, questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

PLACES = ("Paris", "London", "上海", "北京")
COMPANIES = ("Acme Ltd", "bank Ltd", "Acme", "银行公司")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def tagged(path: Path, count: int = 60, seed: int = 0, places: tuple[str, ...] = PLACES) -> Path:
    """Sentences with a place after "in" or 在, and a company; texts with entities."""
    random = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        place, company = random.choice(places), random.choice(COMPANIES)
        chinese = place[0] > "z"
        parts = (
            [company, f"在{place}开户 {n}"] if chinese else [f"{company} shares", f"in {place} {n}"]
        )
        text = ("" if chinese else " ").join(parts)
        spans = [("ORG", company), ("LOC", place)]
        entities = [
            {"start": text.index(name), "end": text.index(name) + len(name), "label": label}
            for label, name in spans
        ]
        rows.append({"text": text, "entities": entities})
    return write(path, rows)


def pairs(path: Path, count: int = 80, seed: int = 0) -> Path:
    """Questions that match when they are about the same thing."""
    random = np.random.default_rng(seed)
    topics = ("card", "loan", "fee", "rate", "transfer", "account")
    rows = []
    for n in range(count):
        a, other = random.choice(topics, 2, replace=False)
        b = a if n % 2 else other
        rows.append({"q1": f"what is my {a} {n}", "q2": f"help {b} please {n}", "same": n % 2})
    return write(path, rows)


def questions(folder: Path, count: int = 60, seed: int = 0) -> Path:
    """Questions where something is; a third of the contexts do not say."""
    random = np.random.default_rng(seed)
    paragraphs, asked = [], []
    for n in range(count):
        place = random.choice(PLACES)
        told = n % 3 > 0
        text = f"Acme {n} is in {place} please" if told else f"Acme {n} is a good bank please"
        paragraphs.append({"pid": f"p{n}", "context": text})
        answers = [{"text": place, "start": text.index(place)}] if told else []
        asked.append(
            {"id": f"q{n}", "pid": f"p{n}", "question": f"where is Acme {n}", "answers": answers}
        )
    write(folder / "rows_paragraphs.jsonl", paragraphs)
    return write(folder / "rows_questions.jsonl", asked)


def data(folder: Path, train: str, **values: Any) -> dict[str, Any]:
    """A data section that keeps rows alike but for a number."""
    return {
        "root": str(folder),
        "train": train,
        "split": {"valid": 0.2, "test": 0.2, "group_near_duplicates": False},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
        **values,
    }
