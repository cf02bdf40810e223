"""Every run is written down once, and its plot shows what its log says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_base as tiny
from PIL import Image

from training import run as running
from training.experiments import curves, experiments_file, history, plot_run
from training.recipe import Recipe
from training.reporting import Silent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path) -> Recipe:
    return tiny.intent_recipe(base, folder, "noted")


def test_a_run_is_written_down_once_with_its_plot(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    wanted = recipe(base, tmp_path)
    outcome = running.run(wanted, settings, Silent())
    running.run(wanted, settings, Silent())
    (entry,) = history(settings)
    assert entry["version"] == "intent/noted@v1"
    assert entry["recipe"] == wanted.digest()
    test = outcome.passport.metrics["test"]["accuracy"].value
    assert entry["metrics"]["test"]["accuracy"] == pytest.approx(test, abs=1e-5)
    assert entry["train_seconds"] > 0
    assert entry["method"] == "full"
    plot = outcome.folder / "plots" / "training.png"
    with Image.open(plot) as image:
        assert image.size[0] > image.size[1] > 300
        assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert (outcome.version.folder / "training.png").read_bytes() == plot.read_bytes()
    card = (outcome.version.folder / "card.md").read_text(encoding="utf-8")
    assert "![loss and validation](training.png)" in card


def test_a_damaged_line_costs_no_other(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    assert history(settings) == []
    path = experiments_file(settings)
    path.parent.mkdir(parents=True)
    path.write_text('{"version": "a"}\n{"version": \n[1]\n{"version": "b"}\n', encoding="utf-8")
    assert [entry["version"] for entry in history(settings)] == ["a", "b"]


def test_a_resumed_run_shows_each_step_once(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [
        {"step": 1, "loss": 3.0, "seconds": 1},
        {"step": 2, "loss": 2.0},
        {"step": 2, "loss": 2.5, "eval_accuracy": 0.5},
        {"step": 3, "loss": 1.0},
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = curves(log)
    assert found["loss"].steps == (1, 2, 3)
    assert found["loss"].values == (3.0, 2.5, 1.0)
    assert found["eval_accuracy"].steps == (2,)
    assert "seconds" not in found


def test_a_run_that_logged_nothing_has_no_plot(tmp_path: Path) -> None:
    assert plot_run(tmp_path, "accuracy", "nothing") is None
    (tmp_path / "log.jsonl").write_text('{"step": 0, "eval_accuracy": 0.5}\n', encoding="utf-8")
    assert plot_run(tmp_path, "accuracy", "nothing") is None
    assert not (tmp_path / "plots").exists()
