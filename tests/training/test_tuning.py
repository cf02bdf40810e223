"""Every way of tuning changes what it says, and what it learnt survives the way to ONNX."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny
import torch

from assistant.errors import InvalidInputError, ModelError
from assistant.models.build.graph import build_graph
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.tuned import TunedWeights, apply, compose, read_tuned
from assistant.models.heads import HeadSpec
from assistant.models.session import CpuBackend
from assistant.models.tokens import ModelTokenizer
from training import tuning
from training.export import save_tuned
from training.modeling import TunedModel, outputs
from training.sections import Tuning

HEADS = (
    HeadSpec("intent", "sequence", ("a", "b", "c")),
    HeadSpec("topic", "sequence", ("x", "y"), activation="sigmoid", normalise=True),
    HeadSpec("tags", "token", ("O", "B-ORG", "I-ORG")),
)
TEXTS = [
    "how to block my card",
    "银行卡丢了怎么办",
    "fee",
    "what is the loan rate of the bank? " * 3,
]
METHODS = ("full", "top_layers", "lora", "adalora", "prompt")


def tuned_model(method: str, seed: int = 0) -> tuple[TunedModel, Tuning]:
    """A model on which the method has taken a few real steps."""
    torch.manual_seed(seed)
    section = Tuning(method=method, layers=1, rank=4, tokens=5, dropout=0.0)
    model = TunedModel(
        tiny.weights(), HEADS, dropout=0.0, prompt_tokens=tuning.prompt_tokens(section)
    )
    tuning.prepare(model, section, total_steps=12)
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.05)
    ids = torch.randint(4, len(tiny.PIECES), (8, 12))
    mask = torch.ones_like(ids)
    for step in range(12):
        hidden = model.hidden_states(ids, mask)
        loss = sum(
            (model.logits(hidden, mask, head.name) ** 2 - (1 + step)).abs().mean() for head in HEADS
        )
        loss.backward()
        optimizer.step()
        for callback in tuning.callbacks(model, section):
            state = type("State", (), {"global_step": step})
            callback.on_optimizer_step(None, state, None)
        optimizer.zero_grad()
    return model, section


def as_tuned(tensors: dict[str, np.ndarray], sha256: str = "b" * 64) -> TunedWeights:
    return TunedWeights(
        "m", "multitask", "tiny", sha256, 48, "query: ", "passage: ", "MIT", HEADS, tensors
    )


def test_a_compact_file_keeps_each_factor_within_half_a_step(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    a = random.normal(size=(4, 16)).astype(np.float32) * np.array([[1], [10], [0], [1e-3]], "f4")
    b = random.normal(size=(16, 4)).astype(np.float32)
    bias = random.normal(size=16).astype(np.float32)
    tensors = {"l0.q.lora_a": a, "l0.q.lora_b": b, "l0.q.b": bias}
    whole, small = tmp_path / "whole", tmp_path / "small"
    save_tuned(as_tuned(tensors), whole)
    save_tuned(as_tuned(tensors), small, compact=True)
    read = read_tuned(small).tensors
    assert read.keys() == tensors.keys()
    assert small.stat().st_size < whole.stat().st_size
    # Half a step of 127 to the largest of each of the four terms, however small that term is.
    for name, axis in (("l0.q.lora_a", 1), ("l0.q.lora_b", 0)):
        allowed = np.abs(tensors[name]).max(axis=axis, keepdims=True) / 127 / 2
        assert (np.abs(read[name] - tensors[name]) <= allowed * 1.001).all()
    np.testing.assert_allclose(read["l0.q.b"], bias, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_the_merged_graph_is_the_trained_model(method: str, tmp_path: Path) -> None:
    model, _ = tuned_model(method)
    base = tiny.weights()
    save_tuned(as_tuned(tuning.tensors(model, base)), tmp_path / "tuned.safetensors")
    tuned = read_tuned(tmp_path / "tuned.safetensors")
    assert tuned.heads == HEADS
    # Adapters stay in torch as peft runs them: merging is checked against not merging.
    weights = apply(tuned, base, "b" * 64)
    graph = build_graph(weights, "fp32", padded=False, heads=HEADS).SerializeToString()
    items = ModelTokenizer(build_tokenizer(base.vocabulary), 48, "query: ", "passage: ").texts(
        TEXTS
    )
    backend = CpuBackend(graph, 1)
    try:
        ours = backend.run([item.tokens for item in items])
    finally:
        backend.close()
    untouched = outputs(TunedModel(base, HEADS, dropout=0.0), items, base.vocabulary.pad)
    for a, b, start in zip(
        ours, outputs(model, items, base.vocabulary.pad), untouched, strict=True
    ):
        assert a.keys() == b.keys() == {"pooled", "intent", "topic", "tags"}
        for name in a:
            np.testing.assert_allclose(a[name], b[name], atol=2e-4, err_msg=name)
        assert np.abs(b["pooled"] - start["pooled"]).max() > 1e-2


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("full", lambda n: n[0] == "l" or n.startswith(("emb.ln", "head."))),
        ("top_layers", lambda n: n.startswith(("l1.", "head."))),
        ("lora", lambda n: n.endswith(("lora_a", "lora_b")) or n.startswith("head.")),
        ("adalora", lambda n: n.endswith(("lora_a", "lora_b")) or n.startswith("head.")),
        ("prompt", lambda n: n == "prompt" or n.startswith("head.")),
    ],
)
def test_a_method_changes_only_what_it_says(method: str, changed: object) -> None:
    model, _ = tuned_model(method)
    found = tuning.tensors(model, tiny.weights())
    assert found
    assert [name for name in found if not changed(name)] == []  # type: ignore[operator]
    assert "emb.word" not in found


def test_adapters_are_far_smaller_than_what_they_change() -> None:
    sizes = {}
    for method in ("full", "lora"):
        model, _ = tuned_model(method)
        found = tuning.tensors(model, tiny.weights())
        sizes[method] = sum(v.size for n, v in found.items() if not n.startswith("head."))
    assert sizes["lora"] < sizes["full"] / 2


def test_adalora_prunes_to_the_rank_wanted() -> None:
    model, section = tuned_model("adalora")
    found = tuning.tensors(model, tiny.weights())
    ranks = [len(value) for name, value in found.items() if name.endswith("lora_a")]
    assert len(ranks) == 12
    assert sum(ranks) <= section.rank * len(ranks)
    assert min(ranks) < max(ranks) or sum(ranks) == section.rank * len(ranks)


def test_more_layers_than_there_are_is_refused() -> None:
    model = TunedModel(tiny.weights(), HEADS)
    with pytest.raises(InvalidInputError, match="has 2 layers"):
        tuning.prepare(model, Tuning(method="top_layers", layers=3), 10)


def test_an_adapter_for_another_base_is_refused() -> None:
    model, _ = tuned_model("lora")
    tuned = as_tuned(tuning.tensors(model, tiny.weights()))
    with pytest.raises(ModelError, match="was tuned on base tiny bbbbbbbbbbbb"):
        apply(tuned, tiny.weights(), "c" * 64)
    wide = dataclasses.replace(tiny.SHAPE, hidden=64)
    with pytest.raises(ModelError, match="made for another base"):
        apply(tuned, tiny.weights(shape=wide), "b" * 64)


@pytest.mark.parametrize(
    ("first", "second"), [("lora", "lora"), ("full", "lora"), ("lora", "full")]
)
def test_a_model_tuned_twice_is_one_file_on_the_first_base(first: str, second: str) -> None:
    base = tiny.weights()
    model, _ = tuned_model(first)
    parent = as_tuned(tuning.tensors(model, base))
    middle = apply(parent, base, "b" * 64)
    torch.manual_seed(3)
    section = Tuning(method=second, rank=3, dropout=0.0)
    again = TunedModel(middle, HEADS, dropout=0.0)
    tuning.prepare(again, section, 10)
    with torch.no_grad():
        for parameter in again.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    both = compose(parent, as_tuned(tuning.tensors(again, middle)))
    ids = torch.randint(4, 60, (1, 9))
    want = again.hidden_states(ids, torch.ones_like(ids)).detach().numpy()
    merged = TunedModel(apply(both, base, "b" * 64), HEADS, dropout=0.0).eval()
    found = merged.hidden_states(ids, torch.ones_like(ids)).detach().numpy()
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_head_is_taken_over_and_grows() -> None:
    model, _ = tuned_model("full")
    base = tiny.weights()
    merged = apply(as_tuned(tuning.tensors(model, base)), base, "b" * 64)
    more = HeadSpec("intent", "sequence", ("a", "b", "c", "d"))
    grown = TunedModel(merged, [more], dropout=0.0)
    old = model.heads["intent"].out.weight
    assert torch.equal(grown.heads["intent"].out.weight[:3], old)
    assert grown.heads["intent"].out.weight.shape[0] == 4


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "pickle"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    model, _ = tuned_model("lora")
    path = tmp_path / "tuned.safetensors"
    save_tuned(as_tuned(tuning.tensors(model, tiny.weights())), path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "changed": content.replace(b'\\"base\\"', b'\\"bose\\"'),
            "empty": b"",
            "pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        }[damage]
    )
    with pytest.raises(ModelError):
        read_tuned(path)
