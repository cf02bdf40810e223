"""Exports against PyTorch, over many lengths; the word look-up of int8; what a gate refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from assistant.errors import ModelError
from assistant.models.generation.generator import open_generator
from training.generator import export as exporting
from training.generator import parity
from training.generator.model import load_decoder
from training.generator.rows import Row
from training.generator.source import BaseModel
from training.generator.tokens import Codec

ROWS = [
    Row("Context:\n[1] The card costs ten.\nQuestion: cost?\nAnswer:", "ten [1]", "answer"),
    Row("资料：\n[1] 年费一百元\n问题：年费？\n回答：", "一百元 [1]", "answer", "zh"),
]


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_logits_are_those_of_pytorch_at_many_lengths(
    exports: dict[str, Path], tiny: BaseModel, codec: Codec, precision: str
) -> None:
    import torch

    model = load_decoder(tiny.folder, bf16=False)
    random = np.random.default_rng(1)
    with open_generator(exports[precision]) as opened:
        for length in (1, 2, 5, 31, 63, 64, 65, 130, 255):
            ids = [codec.bos, *(int(i) for i in random.integers(4, 300, length - 1))]
            with torch.inference_mode():
                want = model(input_ids=torch.tensor([ids])).logits[0, -1].numpy()
            found = opened.last_logits_of(ids)
            if precision == "fp32":
                np.testing.assert_allclose(found, want, atol=5e-3)
            cosine = want @ found / np.linalg.norm(want) / np.linalg.norm(found)
            assert cosine > 0.995, (precision, length)


def test_greedy_text_is_that_of_pytorch(
    exports: dict[str, Path], tiny: BaseModel, codec: Codec
) -> None:
    with open_generator(exports["fp32"]) as opened:
        figures = parity.measure(tiny.folder, opened, codec, ROWS)
    assert figures["greedy_equal"] == 1
    assert figures["top_equal"] == 1
    assert abs(figures["loss_added"]) < 1e-2
    parity.check(figures, "fp32", max_loss=0.05)


def test_int8_reads_its_words_from_the_output_matrix(exports: dict[str, Path]) -> None:
    graph = onnx.load(str(exports["int8"] / "model.onnx")).graph
    names = {tensor.name for tensor in graph.initializer}
    assert "model.embed_tokens.weight" not in names
    readers = [node for node in graph.node if "lm_head.MatMul.weight_Q8" in node.input]
    assert {node.op_type for node in readers} == {"Gather", "MatMulNBits"}


def test_an_untied_output_matrix_is_left_alone(exports: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (folder / name).write_bytes((exports["fp32"] / name).read_bytes())
    before = (folder / "model.onnx").read_bytes()
    assert not exporting.tie_embedding(folder)
    assert (folder / "model.onnx").read_bytes() == before


def test_the_gate_refuses_what_loses_too_much() -> None:
    good = {"logit_difference": 0.5, "loss_added": 0.01}
    parity.check(good, "int8", max_loss=0.05)
    with pytest.raises(ModelError, match=r"adds 0\.2000.*max_loss allows 0\.05"):
        parity.check({**good, "loss_added": 0.2}, "int8", max_loss=0.05)
    with pytest.raises(ModelError, match="differs from PyTorch"):
        parity.check(good, "fp32", max_loss=0.05)
    with pytest.raises(ModelError, match="adds nan"):
        parity.check({**good, "loss_added": float("nan")}, "int8", max_loss=0.05)


def test_a_failed_export_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "gemma3_text"}')
    with pytest.raises(ModelError, match="export failed"):
        exporting.export(broken, tmp_path / "out" / "int8", "int8")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_manifest_lists_every_file_with_its_hash(exports: dict[str, Path]) -> None:
    folder = exports["int8"]
    manifest = json.loads((folder / "manifest.json").read_text())
    present = {path.name for path in folder.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == present
    assert manifest["task"] == "generator" and manifest["max_tokens"] == 256
