"""Merged weights to a verified folder that ``open_generator`` serves.

The runtime's builder leaves the word vectors of an int8 model in fp32, for it can quantise their
look-up to four bits only. Where the output matrix is the same tensor, the look-up is rewritten to
read the quantised output matrix: a 270M model goes from 1040 to 370 MB.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import ModelError
from assistant.models.generation.files import (
    DATA_FILE,
    KNOWN_FILES,
    MODEL_FILE,
    NOTICE_FILE,
    TASK,
    checksums,
    read_marks,
)
from assistant.models.manifest import MANIFEST_FILE, ModelManifest
from training.generator.source import BaseModel

BUILD_SECONDS = 1800
_EMBEDDING = "model.embed_tokens.weight"
_HEAD = "lm_head.MatMul.weight_Q8"
_HEAD_SCALES = "lm_head.MatMul.weight_scales"


@dataclass(frozen=True, slots=True)
class Exported:
    """A built model in ``folder``, not yet measured: no manifest is written yet."""

    folder: Path
    precision: str


def export(merged: Path, target: Path, precision: str) -> Exported:
    """Build ``precision`` of the Hugging Face folder ``merged`` in ``target``.

    ``target`` appears only when it is whole. Raises ModelError when the builder fails (for example
    on a full disk) with the last lines of what it said.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        made = Path(temporary) / "model"
        _run_builder(merged, made, precision)
        for path in list(made.iterdir()):
            if path.name not in KNOWN_FILES:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if precision == "int8":
            tie_embedding(made)
        if target.exists():
            shutil.rmtree(target)
        os.replace(made, target)
    return Exported(target, precision)


def write_manifest(
    exported: Exported,
    base: BaseModel,
    *,
    name: str,
    context_tokens: int,
    parity: Mapping[str, float],
) -> ModelManifest:
    """Write ``manifest.json`` (and the licence's notice) beside a built model and return it."""
    folder = exported.folder
    if base.notice:
        (folder / NOTICE_FILE).write_text(base.notice + "\n", encoding="utf-8")
    marks = read_marks(folder)
    manifest = ModelManifest(
        name=name,
        task=TASK,
        dim=int(base.config()["hidden_size"]),
        max_tokens=min(context_tokens, marks.context),
        query_prefix="",
        passage_prefix="",
        licence=base.licence,
        source=base.label,
        source_version=base.version,
        source_sha256=base.sha256,
        precision=exported.precision,
        files=checksums(folder),
        parity=dict(parity),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pieces=marks.vocabulary,
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def tie_embedding(folder: Path) -> bool:
    """Let the word look-up read the int8 output matrix; say whether the model allowed it.

    The matrix is stored as uint8 (vocabulary, blocks, 32) with a scale for each block and the zero
    point 128. The word vectors and the output matrix must be the same tensor in fp32, which is
    checked on the values.
    """
    import onnx

    path = folder / MODEL_FILE
    model = onnx.load(str(path))
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    if not {_EMBEDDING, _HEAD, _HEAD_SCALES} <= set(tensors):
        return False
    gather = next(
        (n for n in graph.node if n.op_type == "Gather" and n.input[0] == _EMBEDDING), None
    )
    if gather is None or not _same_matrix(tensors, onnx.numpy_helper.to_array):
        return False
    place = list(graph.node).index(gather)
    nodes = _dequantising_lookup(onnx.helper, gather.input[1], gather.output[0])
    graph.node.remove(gather)
    for offset, node in enumerate(nodes):
        graph.node.insert(place + offset, node)
    constants = {
        "tied/zero_point": np.float32(128),
        "tied/width": np.array([0, 0, -1], dtype=np.int64),
        "tied/axis": np.array([-1], dtype=np.int64),
    }
    for name, value in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    graph.initializer.remove(tensors[_EMBEDDING])
    (folder / DATA_FILE).unlink()
    onnx.save_model(
        model,
        str(path),
        save_as_external_data=True,
        all_tensors_to_one_file=True,
        location=DATA_FILE,
        size_threshold=1024,
    )
    return True


def _dequantising_lookup(helper: Any, ids: str, output: str) -> list[Any]:
    return [
        helper.make_node("Gather", [_HEAD, ids], ["tied/rows"], axis=0),
        helper.make_node("Cast", ["tied/rows"], ["tied/float"], to=1),
        helper.make_node("Sub", ["tied/float", "tied/zero_point"], ["tied/centred"]),
        helper.make_node("Gather", [_HEAD_SCALES, ids], ["tied/row_scales"], axis=0),
        helper.make_node("Unsqueeze", ["tied/row_scales", "tied/axis"], ["tied/scales"]),
        helper.make_node("Mul", ["tied/centred", "tied/scales"], ["tied/blocks"]),
        helper.make_node("Reshape", ["tied/blocks", "tied/width"], [output]),
    ]


def _same_matrix(tensors: Mapping[str, Any], to_array: Any) -> bool:
    words = to_array(tensors[_EMBEDDING])[:512]
    quantised = to_array(tensors[_HEAD])[:512].astype(np.float32) - 128
    scales = to_array(tensors[_HEAD_SCALES])
    if scales.ndim != 2 or quantised.ndim != 3:
        return False
    found = (quantised * scales[:512, :, None]).reshape(len(quantised), -1)
    if found.shape != words.shape:
        return False
    # Rounding moves a value by at most half a step.
    step = np.repeat(np.abs(scales[:512]), quantised.shape[2], axis=1)
    return bool((np.abs(found - words) <= 0.51 * step + 1e-6).mean() > 0.99)


def _run_builder(merged: Path, target: Path, precision: str) -> None:
    command = [sys.executable, "-m", "training.generator.genai_build"]
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    try:
        done = subprocess.run(
            [*command, str(merged), str(target), precision],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"The {precision} export took more than {BUILD_SECONDS} s.") from error
    if done.returncode or not (target / MODEL_FILE).is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()][-4:]
        raise ModelError(
            f"The {precision} export failed (exit {done.returncode}): {' | '.join(lines)[-600:]}"
        )
