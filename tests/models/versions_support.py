"""Finished model folders of tiny weights, and passports for them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import tiny_models as tiny

from assistant.models.build import build_encoder
from assistant.models.passport import DataNote, Figure, Gate, Passport
from assistant.models.registry import ModelRegistry
from assistant.settings import Settings

PASSPORT = Passport(
    task="intent",
    name="bank",
    recipe={"recipe": {"task": "classifier", "name": "bank"}, "tuning": {"method": "lora"}},
    parent="e5-small-zh-en",
    data=DataNote("ab" * 32, ("CC-BY-4.0",), {"train": 800, "test": 200}),
    metrics={"test": {"accuracy": Figure(0.91, 0.87, 0.94, 200)}},
    gate=Gate("accuracy", 0.9, True, value=0.91),
    created="2026-01-02T03:04:05+00:00",
)
FAILED = replace(
    PASSPORT,
    metrics={"test": {"accuracy": Figure(0.5, 0.4, 0.6, 200)}},
    gate=Gate("accuracy", 0.9, False, "0.5 is below 0.9", value=0.5),
)


def passport(task: str = "intent", name: str = "bank", **changes: object) -> Passport:
    return replace(PASSPORT, task=task, name=name, **changes)


def finished(folder: Path, seed: int = 0) -> Path:
    """Build a tiny encoder as int8 into ``folder/int8``, as an export leaves it."""
    cache = folder.with_name(f"{folder.name}-cache")
    source = tiny.hugging_face_folder(cache / "weights", tiny.weights(seed))
    build_encoder(Settings(cache_dir=cache, encoder="tiny"), source=str(source))
    built = ModelRegistry(cache / "models").folder("tiny")
    assert built is not None
    shutil.copytree(built, folder / "int8")
    shutil.rmtree(cache)
    return folder
