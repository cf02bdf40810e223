"""Generator folders that lie: data outside, other files opened, another kind of model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from assistant.errors import ModelError
from assistant.models.generation.files import checksums, read_generator, read_marks
from assistant.models.manifest import ModelManifest

CONFIG: dict[str, Any] = {
    "model": {
        "bos_token_id": 2,
        "eos_token_id": [1, 106],
        "context_length": 512,
        "vocab_size": 300,
        "decoder": {"filename": "model.onnx", "sliding_window": {"window_size": 64}},
    }
}


def write_generator(folder: Path, *, location: str = "model.onnx.data", **changed: Any) -> Path:
    """Write a folder that is right but for ``changed``; its graph is one tensor."""
    folder.mkdir()
    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    (folder / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    (folder / "model.onnx.data").write_bytes(b"\0" * 16)
    (folder / "tokenizer.json").write_text("{}")
    config = changed.pop("config", CONFIG)
    (folder / "genai_config.json").write_text(json.dumps(config))
    values: dict[str, Any] = {
        "name": "g",
        "task": "generator",
        "dim": 4,
        "max_tokens": 256,
        "query_prefix": "",
        "passage_prefix": "",
        "licence": "MIT",
        "source": "s",
        "source_version": "1",
        "source_sha256": "0",
        "precision": "int8",
        "files": checksums(folder),
        "parity": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    manifest = ModelManifest(**{**values, **changed})
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def test_a_right_folder_is_read(tmp_path: Path) -> None:
    manifest, marks = read_generator(write_generator(tmp_path / "g"))
    assert manifest.max_tokens == 256
    assert (marks.bos, marks.eos, marks.window, marks.context) == (2, (1, 106), 64, 512)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "other.data", ""])
def test_data_elsewhere_is_refused(tmp_path: Path, location: str) -> None:
    with pytest.raises(ModelError, match="keeps data in"):
        read_generator(write_generator(tmp_path / "g", location=location))


@pytest.mark.parametrize(
    "change",
    [
        {"filename": "../other.onnx"},
        {"session_options": {"custom_ops_library": "evil.so"}},
        {"pipeline": [{"stage": {"filename": "second.onnx"}}]},
    ],
)
def test_a_configuration_that_opens_more_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    decoder = {**CONFIG["model"]["decoder"], **change}
    config = {"model": {**CONFIG["model"], "decoder": decoder}}
    with pytest.raises(ModelError, match=r"opens .*; allowed: model\.onnx"):
        read_generator(write_generator(tmp_path / "g", config=config))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {"decoder": 1}}', "not json"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "genai_config.json").write_text(text)
    with pytest.raises(ModelError, match="not the runtime's configuration"):
        read_marks(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds a reranker"):
        read_generator(write_generator(tmp_path / "g", task="reranker"))


def test_a_file_left_out_of_the_manifest_is_refused(tmp_path: Path) -> None:
    folder = write_generator(tmp_path / "g")
    files = {k: v for k, v in checksums(folder).items() if k != "model.onnx.data"}
    with pytest.raises(ModelError, match=r"lists no model\.onnx\.data"):
        read_generator(write_generator(tmp_path / "h", files=files))


def test_only_the_session_imports_the_runtime(root: Path) -> None:
    importing = re.compile(r"^\s*(?:import|from) onnxruntime_genai", re.MULTILINE)
    files = [p for part in ("assistant", "indexes") for p in (root / part).rglob("*.py")]
    found = {p.relative_to(root).as_posix() for p in files if importing.search(p.read_text())}
    assert found == {"assistant/models/generation/session.py"}
