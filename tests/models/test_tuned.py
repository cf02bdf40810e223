"""Tuned weights: merging into the base, standing on each other, and files of every sort."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import tuned_models as made

from assistant.errors import ModelError
from assistant.models.build.tuned import TunedWeights, apply, compose, keep_layers, read_tuned

RANDOM = np.random.default_rng(3)


def array(*shape: int) -> np.ndarray:
    return RANDOM.normal(scale=0.1, size=shape).astype(np.float32)


def lora(target: str, rank: int = 4, out: int = 32, into: int = 32) -> dict[str, np.ndarray]:
    return {f"{target}.lora_a": array(rank, into), f"{target}.lora_b": array(out, rank)}


def file_of(tuned: TunedWeights, path: Path) -> Path:
    """The safetensors file, written by hand from the format's definition."""
    header: dict[str, object] = {"__metadata__": tuned.metadata()}
    data = b""
    for name, value in tuned.tensors.items():
        end = len(data) + value.nbytes
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [len(data), end]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_a_file_reads_back_as_it_was(tmp_path: Path) -> None:
    tuned = made.tuned(
        made.SENTIMENT, made.TAGS, tensors=lora("l0.q"), layers=(1,), characters=True
    )
    found = read_tuned(file_of(tuned, tmp_path / "tuned.safetensors"))
    assert replace(found, tensors={}) == replace(tuned, tensors={})
    assert set(found.tensors) == set(tuned.tensors)
    for name, value in tuned.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], value)
    assert found.parameters == sum(value.size for value in tuned.tensors.values())


def test_files_of_the_library_read_as_well(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    tuned = made.tuned(made.SENTIMENT)
    library.save_file(dict(tuned.tensors), tmp_path / "t.safetensors", metadata=tuned.metadata())
    assert read_tuned(tmp_path / "t.safetensors").heads == tuned.heads


def test_damaged_files_are_told(tmp_path: Path) -> None:
    whole = file_of(made.tuned(made.SENTIMENT), tmp_path / "whole").read_bytes()
    path = tmp_path / "tuned.safetensors"
    with pytest.raises(ModelError, match="cannot be read"):
        read_tuned(path)
    for bad in (b"", b"\x80\x04.", whole[:50], whole[:-8], struct.pack("<Q", 2) + b"{}"):
        path.write_bytes(bad)
        with pytest.raises(ModelError):
            read_tuned(path)
    header = json.dumps({"__metadata__": {"tuned": '{"format": 9}'}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError, match="format 9; expected 1"):
        read_tuned(path)
    header = json.dumps([1]).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ModelError):
        read_tuned(path)


def test_adapters_add_up_and_replacements_replace() -> None:
    base = tiny.weights()
    extra = {"l1.fi.b": array(64), **lora("l0.q"), **lora("l1.fo", out=32, into=64)}
    merged = apply(made.tuned(tensors=extra), base, made.SHA)
    for target in ("l0.q", "l1.fo"):
        want = base.tensors[f"{target}.w"] + extra[f"{target}.lora_b"] @ extra[f"{target}.lora_a"]
        np.testing.assert_allclose(merged.tensors[f"{target}.w"], want, atol=1e-6)
    np.testing.assert_array_equal(merged.tensors["l1.fi.b"], extra["l1.fi.b"])
    untouched = set(base.tensors) - {"l0.q.w", "l1.fo.w", "l1.fi.b"}
    for name in untouched:
        assert merged.tensors[name] is base.tensors[name]
    assert not any("lora" in name for name in merged.tensors)


def test_another_base_is_refused() -> None:
    with pytest.raises(ModelError, match="tuned on base tiny 000000000000…, but this base is ab"):
        apply(made.tuned(), tiny.weights(), "ab" * 32)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"l0.q.w": array(8, 8)}, r"l0.q.w has shape \(8, 8\)"),
        ({"l9.q.w": array(32, 32)}, "the base has none of that name"),
        ({"prompt": array(3, 8)}, "prompt has shape"),
        (lora("l0.q", into=8), "made for another base"),
        (lora("l9.q"), "a base matrix of None"),
        ({"l0.q.lora_a": array(4, 32)}, "None, which do not fit"),
        ({"l0.q.lora_b": array(32, 4)}, "shapes None"),
        ({**lora("l0.q"), "l0.q.lora_b": array(32, 5)}, "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(tensors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        apply(made.tuned(tensors=tensors), tiny.weights(), made.SHA)


def test_heads_must_be_whole() -> None:
    tuned = made.tuned(made.SENTIMENT)
    without = {name: value for name, value in tuned.tensors.items() if not name.endswith("b")}
    with pytest.raises(ModelError, match=r"out\.b is missing.*3 labels"):
        apply(replace(tuned, tensors=without), tiny.weights(), made.SHA)
    wrong = {**tuned.tensors, "head.sentiment.dense.w": array(32, 8)}
    with pytest.raises(ModelError, match=r"dense\.w is \(32, 8\)"):
        apply(replace(tuned, tensors=wrong), tiny.weights(), made.SHA)


def test_kept_layers_are_renumbered() -> None:
    base = tiny.weights()
    kept = keep_layers(base, (1,))
    kept.check()
    assert kept.shape.layers == 1
    np.testing.assert_array_equal(kept.tensors["l0.fi.w"], base.tensors["l1.fi.w"])
    twice = keep_layers(base, (1, 0))
    np.testing.assert_array_equal(twice.tensors["l1.q.b"], base.tensors["l0.q.b"])
    for layers in ((2,), (-1,)):
        with pytest.raises(ModelError, match="the base has 2"):
            keep_layers(base, layers)
    # Tensors of a student count the layers that are left.
    merged = apply(made.tuned(layers=(1,), tensors=lora("l0.q")), base, made.SHA)
    assert not np.array_equal(merged.tensors["l0.q.w"], base.tensors["l1.q.w"])


@pytest.mark.parametrize("case", ["lora on lora", "full on lora", "lora on full", "layers"])
def test_a_child_composed_equals_a_child_on_its_parent(case: str) -> None:
    base = tiny.weights()
    parents = {
        "lora on lora": lora("l0.q") | lora("l1.k"),
        "full on lora": lora("l0.q") | {"prompt": array(2, 32)},
        "lora on full": {"l0.q.w": array(32, 32)},
        "layers": lora("l0.q"),
    }
    children = {
        "lora on lora": lora("l0.q", rank=2) | lora("l1.v"),
        "full on lora": {"l0.q.w": array(32, 32)},
        "lora on full": lora("l0.q"),
        "layers": lora("l0.q") | {"prompt": array(2, 32)},
    }
    layers = (1,) if case == "layers" else ()
    parent = made.tuned(made.SENTIMENT, tensors=parents[case], layers=layers)
    on_base = apply(parent, base, made.SHA)
    child = made.tuned(made.TAGS, tensors=children[case], base="registry:x/y@v1", seed=9)
    stepwise = apply(child, on_base, made.SHA)
    together = compose(parent, child)
    assert (together.base, together.heads) == ("tiny", (made.TAGS,))
    direct = apply(together, base, made.SHA)
    for name, value in direct.tensors.items():
        np.testing.assert_allclose(value, stepwise.tensors[name], atol=1e-6, err_msg=name)
    assert "head.sentiment.out.w" not in direct.tensors


def test_layers_are_taken_out_only_first() -> None:
    with pytest.raises(ModelError, match="cannot stand on another"):
        compose(made.tuned(), made.tuned(layers=(0,)))
