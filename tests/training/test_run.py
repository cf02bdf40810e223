"""A recipe becomes a version in the registry, and goes on where it was killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny
import torch
from onnx import load as load_onnx

from assistant.errors import AssistantError, InvalidInputError, ModelError, StorageError
from assistant.models.build.tuned import read_tuned
from assistant.models.loading import open_classifier
from assistant.models.store import ModelStore
from training import export as exporting
from training import loop
from training import run as running
from training.recipe import Recipe, with_changes
from training.reporting import Silent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path, **changes: object) -> Recipe:
    return tiny.intent_recipe(base, folder, "tiny", **changes)


class Notes(Silent):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.steps: list[tuple[int, int, float]] = []
        self.lines: list[Mapping[str, float]] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def step(self, done: int, total: int, seconds_left: float) -> None:
        self.steps.append((done, total, seconds_left))

    def log(self, line: Mapping[str, float]) -> None:
        self.lines.append(line)


def test_from_rows_to_a_served_version(base: Path, tmp_path: Path) -> None:
    settings, notes = tiny.settings(tmp_path), Notes()
    outcome = running.run(recipe(base, tmp_path), settings, notes, promote=True)
    passport = outcome.passport
    assert outcome.version.ref == "intent/tiny@v1"
    assert outcome.promoted
    assert passport.gate.passed
    assert passport.metrics["test"]["accuracy"].value > 0.8
    assert passport.metrics["test"]["accuracy"].low <= passport.metrics["test"]["accuracy"].value
    assert set(passport.data.licences) == {"MIT", "CC0-1.0"}
    assert passport.data.rows["train"] > passport.data.rows["test"] > 0
    assert passport.parity["torch_label_difference"] < 1e-3
    assert passport.train_seconds > 0
    assert passport.latency_ms["cpu"]["32_tokens"] > 0
    assert passport.recipe["train"]["epochs"] == 8
    assert passport.libraries["torch"]
    assert any("training" in stage for stage in notes.stages)
    assert notes.steps[-1][0] == notes.steps[-1][1]
    assert any("loss" in line for line in notes.lines)
    assert any("eval_accuracy" in line for line in notes.lines)
    log = (outcome.folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [line["step"] for line in notes.lines]
    served = open_classifier(settings, "intent")
    (prediction,) = served.classify(["what is the fee"])
    served.close()
    assert prediction.label == "fee"
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-4)


def test_records_learn_from_table_models_to_a_served_version(base: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = [
        {"loan": random.choice(["none", "much"]), "money": int(random.integers(10, 99))}
        for _ in range(150)
    ]
    labels = ["bad" if r["loan"] == "much" and r["money"] > 30 else "good" for r in rows]
    lines = [
        json.dumps({"record": {k: str(v) for k, v in row.items()}, "label": label})
        for row, label in zip(rows, labels, strict=True)
    ]
    (tmp_path / "credit.jsonl").write_text("\n".join(lines))
    wanted = with_changes(
        recipe(base, tmp_path),
        {
            "recipe.kind": "risk",
            "data.train": [str(tmp_path / "credit.jsonl")],
            "data.columns": {"record": ["record"]},
            "records.synthetic": 300,
            "train.epochs": 3,
            "gate.metric": "roc_auc",
            "gate.at_least": 0.6,
        },
    )
    passport = running.run(wanted, tiny.settings(tmp_path), Notes()).passport
    assert passport.gate.passed, passport.gate
    assert passport.metrics["test"]["roc_auc"].value > 0.6


def test_the_same_recipe_again_is_the_same_version(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    wanted = recipe(base, tmp_path)
    first = running.run(wanted, settings, Silent())
    notes = Notes()
    second = running.run(wanted, settings, notes)
    assert second.version == first.version
    assert notes.stages == []
    third = running.run(wanted, settings, Silent(), again=True)
    assert third.version.number == 2
    one, two = (read_tuned(v.folder / "tuned.safetensors") for v in (first.version, third.version))
    assert one.tensors.keys() == two.tensors.keys()
    for name, value in one.tensors.items():
        np.testing.assert_array_equal(value, two.tensors[name], err_msg=f"seeded: {name}")


def _run_slowly(wanted: Recipe, folder: Path) -> None:
    """Train in a process of its own, slowly enough to be killed in the middle."""
    torch.set_num_threads(1)

    class Slow(Silent):
        def step(self, done: int, total: int, seconds_left: float) -> None:
            time.sleep(0.15)

    running.run(wanted, tiny.settings(folder), Slow())


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path, train={"epochs": 30, "patience": 0})
    process = multiprocessing.get_context("spawn").Process(
        target=_run_slowly, args=(wanted, tmp_path)
    )
    process.start()
    folder = running.run_folder(wanted, tiny.settings(tmp_path), "shared")
    deadline = time.monotonic() + 90
    while len(list(folder.glob("checkpoint-*/trainer_state.json"))) < 1:
        assert time.monotonic() < deadline
        assert process.is_alive()
        time.sleep(0.05)
    time.sleep(0.5)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert ModelStore.of(tiny.settings(tmp_path)).versions("intent", "tiny") == []
    # A disk that is full half way through a checkpoint leaves such a one.
    whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    torn = folder / f"checkpoint-{max(int(path.name.split('-')[1]) for path in whole) + 1}"
    torn.mkdir(exist_ok=True)
    (torn / loop.WEIGHTS).write_bytes(b"half of it")
    (torn / "trainer_state.json").unlink(missing_ok=True)
    notes = Notes()
    outcome = running.run(wanted, tiny.settings(tmp_path), notes)
    assert notes.steps[0][0] > 1, "it began at its checkpoint, not anew"
    assert notes.steps[-1][0] == notes.steps[-1][1]
    assert outcome.passport.metrics["test"]["accuracy"].value > 0.8


def test_a_run_ended_between_validations_loses_little(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "KEEP_SECONDS", 0.0)
    wanted = recipe(base, tmp_path, train={"epochs": 2, "evaluations": 1})
    settings = tiny.settings(tmp_path)

    class Ended(Silent):
        def step(self, done: int, total: int, seconds_left: float) -> None:
            del seconds_left
            if done == total - 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run(wanted, settings, Ended())
    notes = Notes()
    outcome = running.run(wanted, settings, notes)
    assert notes.steps[0][0] == notes.steps[-1][1] - 1, "only the step that was under way is lost"
    assert outcome.version.number == 1


@pytest.mark.parametrize("valid", [0.2, 0.0])
def test_a_time_limit_ends_a_run_with_a_model(base: Path, tmp_path: Path, valid: float) -> None:
    wanted = recipe(base, tmp_path, train={"epochs": 10_000, "minutes": 0.02})
    wanted = with_changes(wanted, {"data.split.valid": valid})
    notes = Notes()
    outcome = running.run(wanted, tiny.settings(tmp_path), notes)
    assert notes.steps[-1][0] < notes.steps[-1][1]
    assert outcome.version.number == 1


def test_early_stopping_ends_a_run(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path, train={"epochs": 200, "patience": 2, "min_delta": 0.001})
    notes = Notes()
    running.run(wanted, tiny.settings(tmp_path), notes)
    assert notes.steps[-1][0] < notes.steps[-1][1] / 4


@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_ends_in_a_served_model(
    base: Path, tmp_path: Path, method: str
) -> None:
    tuning = {"method": method, "layers": 1, "rank": 4, "tokens": 4}
    outcome = running.run(
        recipe(base, tmp_path, tuning=tuning), tiny.settings(tmp_path), Silent(), promote=True
    )
    assert outcome.passport.metrics["test"]["accuracy"].value > 0.4
    full = 4 * 32 * 32 * 2 + 2 * 32 * 64 * 2
    assert 0 < outcome.passport.trainable_parameters < full


def test_all_precisions_are_built_and_checked(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path, export={"precisions": ["int8", "fp16", "fp32"]})
    outcome = running.run(wanted, tiny.settings(tmp_path), Silent())
    assert outcome.version.precisions == ("int8", "fp32", "fp16")
    assert 0 < outcome.passport.parity["fp16_label_difference"] < 0.1
    half = load_onnx(outcome.version.folder / "fp16" / "model.onnx")
    assert all(w.data_type != 1 for w in half.graph.initializer), "no fp32 weights are left"


def test_a_gate_that_fails_keeps_the_version_from_serving(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    wanted = recipe(base, tmp_path, gate={"metric": "accuracy", "at_least": 1.01})
    outcome = running.run(wanted, settings, Silent(), promote=True)
    assert not outcome.promoted
    assert "below the recipe's bar" in outcome.passport.gate.reason
    store = ModelStore.of(settings)
    assert store.current_or_none("intent", "tiny") is None
    with pytest.raises(InvalidInputError, match="did not pass its gate"):
        store.promote(outcome.version)


def test_a_worse_version_does_not_pass_beside_the_current_one(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    good = running.run(recipe(base, tmp_path), settings, Silent(), promote=True)
    assert good.promoted
    untrained = {"max_steps": 1, "learning_rate": 1e-9, "head_learning_rate": 1e-9}
    heads = {"label": {"start": "random"}}
    worse = recipe(base, tmp_path, train=untrained, heads=heads)
    bad = running.run(worse, settings, Silent(), promote=True)
    assert not bad.promoted
    assert "intent/tiny@v1" in bad.passport.gate.reason
    assert ModelStore.of(settings).current("intent", "tiny").number == 1


def test_one_label_only_is_refused(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path)
    rows = "\n".join(f"my card is lost {n},lost" for n in range(30))
    (tmp_path / "rows.csv").write_text(f"text,intent\n{rows}\n", encoding="utf-8")
    with pytest.raises(AssistantError, match="label"):
        running.run(wanted, tiny.settings(tmp_path), Silent())


def test_an_int8_loss_above_the_limit_fails() -> None:
    assert exporting.check_loss("accuracy", {"accuracy": 0.9}, {"accuracy": 0.895}, 0.01) == 0.005
    with pytest.raises(ModelError, match=r"loses 0\.0500 of accuracy"):
        exporting.check_loss("accuracy", {"accuracy": 0.9}, {"accuracy": 0.85}, 0.01)


def test_a_graph_that_strays_from_torch_is_refused(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parity gate sees a real difference: the exported weights are nudged after training."""
    original = exporting.apply

    def nudged(*args: object) -> object:
        weights = original(*args)  # type: ignore[arg-type]
        weights.tensors["l1.fo.w"][:] *= 1.5  # type: ignore[index]
        return weights

    monkeypatch.setattr(exporting, "apply", nudged)
    with pytest.raises(ModelError, match="strays from PyTorch"):
        running.run(recipe(base, tmp_path), tiny.settings(tmp_path), Silent())
    assert ModelStore.of(tiny.settings(tmp_path)).versions("intent", "tiny") == []


def test_a_full_disk_at_export_loses_nothing(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.settings(tmp_path)
    running.run(recipe(base, tmp_path), settings, Silent(), promote=True)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "model.onnx":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    wanted = recipe(base, tmp_path, train={"epochs": 2})
    with pytest.raises(StorageError, match="disk is full"):
        running.run(wanted, settings, Silent())
    monkeypatch.undo()
    assert not (running.run_folder(wanted, settings, "shared") / "version").exists()
    assert ModelStore.of(settings).current("intent", "tiny").number == 1
    assert running.run(wanted, settings, Silent()).version.number == 2
