"""The whole way on the tiny decoder: recipe, version in the registry, serving, going on from it."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_generator_evaluate import ANSWER, CHINESE, REFUSE, REWRITE

from assistant.errors import InvalidInputError, ModelError, StorageError
from assistant.models.generation.generator import open_generator
from assistant.models.generation.opening import open_generator_in_use
from assistant.models.store import ModelStore
from assistant.settings import Settings
from training.generator.plan import GeneratorPlan
from training.generator.rows import write_rows
from training.generator.source import BaseModel
from training.generator.start import resolve_start, stacked
from training.generator.task import Examples
from training.generator.task import run as run_plan
from training.recipe import RECIPES, Recipe, make_recipe, read_recipe
from training.reporting import Silent
from training.run import run
from training.tasks.generator import plan_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    rows = [ANSWER, REFUSE, CHINESE, REWRITE]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "test.jsonl", [ANSWER, CHINESE])
    texts = ["The card costs ten a year. The account is free.", "账户免费开立，年费一百元。"] * 4
    lines = [
        json.dumps({"text": f"{text} {i}"}, ensure_ascii=False) for i, text in enumerate(texts)
    ]
    (folder / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def recipe_for(tiny: BaseModel, rows: Path, **changed: dict[str, Any]) -> Recipe:
    values: dict[str, dict[str, Any]] = {
        "recipe": {"task": "generator", "name": "tiny"},
        "base": {"model": str(tiny.folder), "licence": "MIT"},
        "data": {
            "root": str(rows),
            "train": "train.jsonl",
            "test": "test.jsonl",
            "split": {"valid": 0},
            "columns": {
                "prompt": "prompt",
                "response": "response",
                "keep": ["task", "language", "evidence", "answers"],
            },
            "leaks": {"override": "a test of the machinery learns by heart"},
        },
        "tuning": {"method": "lora", "rank": 2, "dropout": 0},
        "train": {"max_steps": 6, "batch_size": 4, "learning_rate": 0.02, "max_tokens": 200},
        "export": {"max_loss": 1.0},
        "generation": {"max_new_tokens": 12},
        "gate": {"metric": "answer_f1"},
    }
    for section, change in changed.items():
        values[section] = {**values.get(section, {}), **change}
    return make_recipe(values, "test")


def test_a_recipe_becomes_a_served_version_and_is_trained_on(
    tiny: BaseModel, rows_folder: Path, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    outcome = run(recipe_for(tiny, rows_folder), settings, Silent(), promote=True)
    version, passport = outcome.version, outcome.passport
    assert (version.task, version.name, version.number) == ("generator", "tiny", 1)
    assert passport.figure("test.answer_f1") is not None
    assert passport.parity["int8_logit_cosine"] > 0.99
    assert passport.size_bytes > 100_000
    assert passport.latency_ms["cpu"]["token"] > 0
    assert passport.data.rows == {"train": 4, "valid": 0, "test": 2}
    assert passport.gate.passed and outcome.promoted
    with open_generator_in_use(settings) as opened:
        assert opened.generate(ANSWER.prompt, max_tokens=4).tokens <= 4
    assert not ModelStore.of(settings).verify()

    _trained_on(tiny, rows_folder, settings)
    (version.part("int8") / "model.onnx.data").write_bytes(b"changed")
    with pytest.raises(ModelError, match="changed or cut short"):
        open_generator(version.part("int8"))
    with pytest.raises(ModelError, match="damaged"):
        open_generator_in_use(settings)


def _trained_on(tiny: BaseModel, rows: Path, settings: Settings) -> None:
    """The next version starts from the first and is one file of changes to the original base."""
    base = {"model": "registry:generator/tiny@v1"}
    second = run(recipe_for(tiny, rows, base=base), settings, Silent()).version
    first = ModelStore.of(settings).version("generator", "tiny", 1)
    assert second.number == 2 and second.passport().parent == "generator/tiny@v1"
    before, after = (load_file(v.folder / "tuned.safetensors") for v in (first, second))
    name = "model.layers.0.self_attn.q_proj.lora_a"
    assert (before[name].shape, after[name].shape) == ((2, 32), (4, 32))
    np.testing.assert_array_equal(after[name][:2], before[name])
    start = resolve_start("registry:generator/tiny", settings)
    assert start.reference == "generator/tiny@v1" and start.original is not None
    with pytest.raises(InvalidInputError, match="starts from a generator"):
        resolve_start("registry:reader/tiny", settings)


def test_plain_text_becomes_a_version_too(
    tiny: BaseModel, rows_folder: Path, settings: Settings
) -> None:
    recipe = recipe_for(
        tiny,
        rows_folder,
        recipe={"task": "pretrain", "name": "company"},
        pretrain={"target": "generator", "block_tokens": 32},
        data={
            "train": "texts.jsonl",
            "test": (),
            "columns": {"text": "text"},
            "split": {"valid": 0.25},
        },
        gate={"metric": ""},
    )
    outcome = run(recipe, settings, Silent())
    assert outcome.version.task == "generator"
    assert outcome.passport.gate.passed
    assert outcome.passport.metrics == {}


def test_an_export_that_loses_too_much_leaves_no_version(tiny: BaseModel, tmp_path: Path) -> None:
    plan = GeneratorPlan("tiny", train=(Path("r"),), max_steps=1, max_tokens=200, max_loss=-1e6)
    with pytest.raises(ModelError, match="max_loss allows"):
        run_plan(plan, Examples([ANSWER, CHINESE]), tiny, tmp_path, Silent())
    assert not (tmp_path / "version").exists()
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("limit", [20_000, 60_000, 150_000])
def test_a_disk_that_refuses_leaves_no_version(tiny: BaseModel, tmp_path: Path, limit: int) -> None:
    """A bound on the size of files stands for a full disk, in this process and the exporter's."""
    plan = GeneratorPlan("tiny", train=(Path("r"),), max_steps=1, max_tokens=200, max_loss=10)
    rows = Examples([ANSWER, CHINESE])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises((StorageError, ModelError)) as caught:
            run_plan(plan, rows, tiny, tmp_path, Silent())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.__cause__ is not None or "export failed" in str(caught.value)
    assert not (tmp_path / "version").exists()


def test_the_shipped_recipe_is_read(tmp_path: Path) -> None:
    recipe = read_recipe(RECIPES / "generator-bank.toml", ["data.root=/rows"])
    plan = plan_of(recipe, 1200)
    assert (plan.method, plan.rank, plan.max_steps) == ("lora", 16, 120)
    assert plan.eval_every == 30
    assert plan.targets[-2:] == ("up_proj", "down_proj")


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("tuning", {"method": "prompt"}, "a generator knows"),
        ("export", {"precisions": ["int8", "fp16"]}, "int8, fp32 and int4"),
    ],
)
def test_what_generators_do_not_know_is_said(
    tiny: BaseModel, rows_folder: Path, section: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        plan_of(recipe_for(tiny, rows_folder, **{section: change}), 4)


def test_stacked_changes_add_up() -> None:
    random = np.random.default_rng(0)

    def lora(rank: int) -> dict[str, Any]:
        return {
            "m.lora_a": random.normal(size=(rank, 5)).astype(np.float32),
            "m.lora_b": random.normal(size=(4, rank)).astype(np.float32),
        }

    first, second = lora(2), lora(3)
    both = stacked(first, second)
    want = first["m.lora_b"] @ first["m.lora_a"] + second["m.lora_b"] @ second["m.lora_a"]
    np.testing.assert_allclose(both["m.lora_b"] @ both["m.lora_a"], want, rtol=1e-5)
    whole = {"m.weight": np.ones((4, 5), np.float32)}
    late = stacked(whole, second)
    np.testing.assert_allclose(late["m.weight"], 1 + second["m.lora_b"] @ second["m.lora_a"])
    assert stacked(first, whole) == whole
