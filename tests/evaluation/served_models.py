"""Tiny real models, built to ONNX as trained ones are, in a registry; and data files."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT

sys.path.insert(0, str(ROOT / "tests" / "models"))

import tuned_models as models
import versions_support as versions

from assistant.models.heads import HeadSpec
from assistant.models.store import ModelStore

Evaluate = Callable[..., dict[str, Any]]

SENTIMENT = models.SENTIMENT
TOPICS = models.TOPICS
INTENT = HeadSpec(
    "intent",
    "sequence",
    ("balance", "card", "fees"),
    threshold=0.45,
    reject_label="out_of_scope",
)
RISK = HeadSpec("risk", "sequence", ("good", "bad"))
PAIR = HeadSpec("match", "sequence", ("match",), "sigmoid", threshold=0.4)
TAGS = models.TAGS
SPAN = models.SPAN


WORDS = (
    "card",
    "bank",
    "lost",
    "fee",
    "abc",
    "xyz",
    "Hello",
    "你好",
    "银行",
    "卡",
    "丢",
    "了",
    "?",
)


def texts(count: int, seed: int = 0, length: int = 5) -> list[str]:
    """Random texts of words the tiny tokeniser knows and some it does not."""
    dice = random.Random(seed)
    return [" ".join(dice.choices(WORDS, k=dice.randint(1, length))) for _ in range(count)]


def lines(*rows: Any) -> str:
    """Rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write(path: Path, text: str | bytes) -> Path:
    """Write a file and return it."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def write_lines(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON Lines and return the file."""
    return write(path, lines(*rows))


def check_shape(result: dict[str, Any], model: str, rows: int, file: Path) -> None:
    """What every result of an evaluation has."""
    assert result["model"] == model
    assert result["data"] == str(file)
    assert result["rows"] == rows
    assert result["seconds"] > 0
    assert result["rows_per_second"] == pytest.approx(rows / result["seconds"], rel=0.3)
    for name, metric in result["metrics"].items():
        assert set(metric) == {"value", "low", "high", "n"}, name
        if metric["value"] is not None:
            assert metric["low"] <= metric["high"], name
    first = next(iter(result["metrics"].values()))
    assert first["low"] <= first["value"] <= first["high"]


def varied(folder: Path, head: HeadSpec, seed: int) -> tuple[HeadSpec, dict[str, Any]]:
    """Return the head with a bias and a temperature under which texts get different labels."""
    model = models.model(folder, head, seed=seed)
    encoded = [item.tokens for item in model.tokenizer.texts(texts(100, seed=77))]
    logits = np.concatenate([output[head.name] for output in model.run(encoded)])
    model.close()
    name = f"head.{head.name}.out.b"
    bias = models.tuned(head, seed=seed).tensors[name] - logits.mean(axis=0)
    return replace(head, temperature=float(logits.std(axis=0).mean())), {name: bias}


def add(
    store: ModelStore, folder: Path, task: str, name: str, head: HeadSpec, seed: int = 0
) -> str:
    """Build a tiny model with this head and put it into use; return its name@version."""
    folder.mkdir(parents=True)
    head, tensors = varied(folder / "first", head, seed)
    models.built(folder / "int8", head, precision="int8", seed=seed, task=task, tensors=tensors)
    shutil.rmtree(folder / "first")
    version = store.add(folder, task=task, name=name, passport=versions.passport(task, name))
    store.promote(version)
    return version.ref
