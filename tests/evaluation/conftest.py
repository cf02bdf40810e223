"""Models to evaluate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from served_models import INTENT, PAIR, RISK, SENTIMENT, SPAN, TAGS, TOPICS, Evaluate, add

from assistant.cli import run
from assistant.models.store import ModelStore
from assistant.settings import Settings


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a model in use for every task. Only read it."""
    root = tmp_path_factory.mktemp("served")
    store = ModelStore(root / "models")
    for task, name, head in (
        ("sentiment", "mood", SENTIMENT),
        ("topic", "flashes", TOPICS),
        ("intent", "desk", INTENT),
        ("risk", "credit", RISK),
        ("reranker", "pairs", PAIR),
        ("tagger", "names", TAGS),
        ("reader", "spans", SPAN),
    ):
        add(store, root / "build" / task, task, name, head)
    return root


@pytest.fixture
def evaluate(served: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    """Run ``assistant eval`` on the served models; return the result and what stderr said."""

    def call(*words: str | Path, code: int = 0, data_dir: Path = served) -> dict[str, Any]:
        found = run(["eval", *map(str, words), "--json", "--data-dir", str(data_dir)])
        out, err = capsys.readouterr()
        assert found == code, err
        return {**(json.loads(out) if out else {}), "stderr": err}

    return call


@pytest.fixture(scope="session")
def settings_of(served: Path) -> Settings:
    return Settings(data_dir=served)
