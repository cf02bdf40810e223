"""Training on the tiny decoder: the loss, what is trained, resuming, merging, refusing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_decoder import write_tiny_decoder

from assistant.errors import InvalidInputError, ModelError
from training.generator.model import answer_loss, load_decoder, prepare, trainable
from training.generator.plan import GeneratorPlan
from training.generator.rows import Row
from training.generator.source import BaseModel, resolve
from training.generator.tokens import IGNORED, Codec, TokenRow, collate, encode_rows
from training.generator.train import Outcome, Progress, train
from training.generator.tuned import merge, save_tuned, tuned_tensors

ROWS = [
    Row(f"Question: {name} card?\nAnswer:", f"{cost} a year", "answer")
    for name, cost in (("gold", "ten"), ("red", "two"), ("blue", "six"), ("old", "none"))
]


def plan_for(**values: Any) -> GeneratorPlan:
    given: dict[str, Any] = {
        "name": "tiny",
        "train": (Path("rows.jsonl"),),
        "rank": 4,
        "alpha": 8,
        "max_steps": 12,
        "batch_size": 4,
        "accumulate": 1,
        "learning_rate": 0.02,
        "eval_every": 4,
        "max_tokens": 64,
        "precision": "fp32",
    }
    return GeneratorPlan(**{**given, **values})


@pytest.fixture(scope="module")
def rows(codec: Codec) -> list[TokenRow]:
    return encode_rows(codec, ROWS, 64)[0]


def as_batch(rows: list[TokenRow]) -> dict[str, Any]:
    return collate([{"input_ids": r.ids, "labels": r.labels} for r in rows], 0)


def test_the_loss_is_the_librarys(tiny: BaseModel, rows: list[TokenRow]) -> None:
    model = load_decoder(tiny.folder, bf16=False)
    batch = as_batch(rows)
    want = model(**batch).loss.item()
    assert answer_loss(model, batch).item() == pytest.approx(want, rel=1e-5)
    count = (batch["labels"][:, 1:] != IGNORED).sum()
    assert answer_loss(model, batch, 2 * count).item() == pytest.approx(want / 2, rel=1e-5)


def test_padding_does_not_change_the_loss(tiny: BaseModel, rows: list[TokenRow]) -> None:
    model = load_decoder(tiny.folder, bf16=False)
    alone = [answer_loss(model, as_batch([row])).item() for row in rows]
    weights = [sum(label != IGNORED for label in row.labels) for row in rows]
    together = answer_loss(model, as_batch(rows)).item()
    assert together == pytest.approx(np.average(alone, weights=weights), rel=1e-4)


def test_only_the_answer_is_learnt(codec: Codec) -> None:
    row = codec.row(ROWS[0], 64)
    assert row is not None
    learnt = [i for i, label in zip(row.ids, row.labels, strict=True) if label != IGNORED]
    assert codec.tokenizer.decode(learnt[:-1]) == " ten a year"
    assert learnt[-1] == codec.eos and row.ids[0] == codec.bos
    # The prompt is cut where serving cuts it, so that both see the same tokens.
    prompt = [codec.bos, *codec.encode(ROWS[0].prompt)]
    assert list(row.ids[: len(prompt)]) == prompt


def test_rows_that_do_not_fit_are_counted(codec: Codec) -> None:
    long = replace(ROWS[0], prompt="card " * 100)
    assert codec.row(long, 64) is None
    assert encode_rows(codec, [ROWS[0], long], 64)[1] == 1
    with pytest.raises(InvalidInputError, match="None of 1 rows fits 64 tokens"):
        encode_rows(codec, [long], 64)


def test_blocks_are_full_and_lose_nothing(codec: Codec) -> None:
    texts = ["The card costs ten a year.", "账户免费", "It takes three working days."] * 5
    blocks = codec.blocks(texts, 16)
    assert all(len(block.ids) == 16 for block in blocks[:-1])
    flat = [i for block in blocks for i in block.ids]
    want = [i for t in texts for i in (codec.bos, *codec.encode(t), codec.eos)]
    assert flat == want[: len(flat)] and len(want) - len(flat) <= 1
    assert all(block.ids == block.labels for block in blocks)


@pytest.mark.parametrize(
    ("method", "touched"),
    [
        ("lora", {"model.layers.0", "model.layers.1"}),
        ("top_layers", {"model.layers.1", "model.norm.weight"}),
        ("full", {"model.layers.0", "model.layers.1", "model.norm.weight"}),
    ],
)
def test_a_method_changes_what_it_says(
    tiny: BaseModel, rows: list[TokenRow], tmp_path: Path, method: Any, touched: set[str]
) -> None:
    plan = plan_for(method=method, top_layers=1, max_steps=3)
    outcome = train(plan, tiny, rows, [], folder=tmp_path)
    tensors = tuned_tensors(outcome.model)
    assert {".".join(name.split(".")[:3]) for name in tensors} == touched
    assert not any("embed" in name or "lm_head" in name for name in tensors)
    if method != "lora":
        assert outcome.trainable_parameters == sum(t.size for t in tensors.values())


def test_training_learns_and_tells(tiny: BaseModel, rows: list[TokenRow], tmp_path: Path) -> None:
    heard: list[Progress] = []
    outcome = train(plan_for(max_steps=24), tiny, rows, rows, folder=tmp_path, report=heard.append)
    first = answer_loss(load_decoder(tiny.folder, bf16=False), as_batch(rows)).item()
    assert outcome.valid_loss is not None
    assert outcome.valid_loss < first / 3
    assert [p.step for p in heard] == list(range(1, outcome.steps + 1))
    assert heard[-1].valid_loss is not None
    assert heard[-1].seconds_left <= heard[0].seconds_left + 60


def test_a_killed_run_goes_on_to_the_same_end(
    tiny: BaseModel, rows: list[TokenRow], tmp_path: Path
) -> None:
    plan = plan_for(max_steps=8, eval_every=2)
    whole = tuned_tensors(train(plan, tiny, rows, [], folder=tmp_path / "whole").model)

    class Killed(BaseException):
        pass

    def kill(progress: Progress) -> None:
        if progress.step == 5:
            raise Killed

    with pytest.raises(Killed):
        train(plan, tiny, rows, [], folder=tmp_path / "cut", report=kill)
    outcome = train(plan, tiny, rows, [], folder=tmp_path / "cut")
    assert (outcome.resumed_from, outcome.steps) == (4, 8)
    assert outcome.examples == 4 * 4
    for name, value in tuned_tensors(outcome.model).items():
        np.testing.assert_allclose(value, whole[name], atol=2e-3, err_msg=name)


def test_a_checkpoint_cut_short_is_passed_over(
    tiny: BaseModel, rows: list[TokenRow], tmp_path: Path
) -> None:
    plan = plan_for(max_steps=4, eval_every=2)
    train(plan, tiny, rows, [], folder=tmp_path)
    (tmp_path / "checkpoint-4" / "trainer_state.json").unlink()
    assert train(plan, tiny, rows, [], folder=tmp_path).resumed_from == 2


def test_minutes_end_a_run(tiny: BaseModel, rows: list[TokenRow], tmp_path: Path) -> None:
    outcome = train(plan_for(max_steps=500, minutes=1e-4), tiny, rows, [], folder=tmp_path)
    assert outcome.steps == 1


def test_a_loss_that_is_no_number_is_an_error(
    tiny: BaseModel, rows: list[TokenRow], tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny.folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = np.inf
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    broken = resolve(str(folder), tmp_path)
    with pytest.raises(ModelError, match="no longer a number"):
        train(plan_for(max_steps=2), broken, rows, [], folder=tmp_path / "run")


@pytest.fixture(scope="module")
def tuned(
    tiny: BaseModel, rows: list[TokenRow], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    folder = tmp_path_factory.mktemp("tuned")
    outcome = train(plan_for(), tiny, rows, [], folder=folder / "run")
    save_tuned(folder / "tuned.safetensors", tuned_tensors(outcome.model), tiny, {})
    return folder / "tuned.safetensors", outcome


def test_merging_is_what_peft_does(
    tiny: BaseModel, rows: list[TokenRow], tuned: tuple[Path, Outcome], tmp_path: Path
) -> None:
    path, outcome = tuned
    found = load_decoder(merge(tiny, path, tmp_path / "merged"), bf16=False).state_dict()
    want = outcome.model.merge_and_unload().state_dict()
    assert set(found) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(found[name].numpy(), value.numpy(), atol=5e-3, err_msg=name)
    plain = load_decoder(tiny.folder, bf16=False).state_dict()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not np.allclose(found[name].numpy(), plain[name].numpy(), atol=1e-2)


def test_the_file_is_small_and_names_its_base(tuned: tuple[Path, Outcome]) -> None:
    content = tuned[0].read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["base"] == "tiny"
    assert len(content) < 64_000


def test_another_base_is_refused(tuned: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder = write_tiny_decoder(tmp_path / "other", seed=1)
    with pytest.raises(ModelError, match="was made for tiny"):
        merge(resolve(str(folder), tmp_path), tuned[0], tmp_path / "merged")


def test_damage_is_refused(tiny: BaseModel, tuned: tuple[Path, Outcome], tmp_path: Path) -> None:
    broken = tmp_path / "tuned.safetensors"
    broken.write_bytes(tuned[0].read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be read"):
        merge(tiny, broken, tmp_path / "merged")
    save_tuned(broken, {"model.layers.7.x": np.zeros(3, np.float32)}, tiny, {})
    with pytest.raises(ModelError, match="does not have"):
        merge(tiny, broken, tmp_path / "merged")


def test_unknown_targets_are_named(tiny: BaseModel) -> None:
    with pytest.raises(InvalidInputError, match="no modules named query"):
        prepare(load_decoder(tiny.folder, bf16=False), plan_for(targets=("query",)))


def test_lora_counts_its_parameters(tiny: BaseModel) -> None:
    model = prepare(load_decoder(tiny.folder, bf16=False), plan_for(targets=("q_proj",), rank=2))
    # Two layers, each (2, 32) and (64, 2).
    assert trainable(model) == 2 * (2 * 32 + 64 * 2)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickled_weights_are_refused(tiny: BaseModel, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(tiny.folder, folder)
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(ModelError, match="pickled weights"):
        resolve(str(folder), tmp_path)


def test_an_unknown_base_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gemma-3-270m"):
        resolve("no-such-base", tmp_path)


@pytest.mark.parametrize(
    "bad", [{"rank": 0}, {"max_tokens": 8}, {"train": ()}, {"precisions": ()}, {"dropout": 0.95}]
)
def test_a_plan_checks_its_values(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        plan_for(**bad)
