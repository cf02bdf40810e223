"""The manifest beside every built model: what it is, where it came from, what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from assistant.errors import ModelError
from assistant.models.heads import HeadSpec, head_from_json

MANIFEST_FILE = "manifest.json"
# Raised whenever the graph, the tokeniser or the meaning of a file changes: older builds are then
# refused with the advice to build again.
FORMAT = 2


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where in the model file the bytes of a tensor are: ``shape`` numbers of ``dtype``, row by
    row, from ``offset`` on; ``sha256`` is theirs alone."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """A built model. ``files`` maps file names in its folder to their SHA-256.

    ``words`` is the table of word vectors, by far the largest tensor, which most models have in
    common with their base: those at work at once keep one (None: not known, each keeps its own).

    ``heads`` is empty for a plain encoder, whose graph gives pooled vectors. ``parity`` holds the
    figures of the build's gate, ``precision`` is ``int8`` (CPU), ``fp16`` (CUDA) or ``fp32``,
    ``created`` an ISO 8601 time in UTC.
    """

    name: str
    task: str
    dim: int
    max_tokens: int
    query_prefix: str
    passage_prefix: str
    licence: str
    source: str
    source_version: str
    source_sha256: str
    precision: str
    files: Mapping[str, str]
    parity: Mapping[str, float]
    created: str
    pieces: int = 0
    heads: tuple[HeadSpec, ...] = ()
    format: int = FORMAT
    notes: Mapping[str, str] = field(default_factory=dict)
    words: StoredTensor | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def read_manifest(folder: Path) -> ModelManifest:
    """Return the manifest in ``folder``; ModelError when it is missing, damaged or outdated."""
    path = folder / MANIFEST_FILE
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"No built model in {folder}: run `assistant build`.") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}): run `assistant build`.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise ModelError(f"{path} has format {found}; expected {FORMAT}: run `assistant build`.")
    known = {f.name for f in fields(ModelManifest)}
    try:
        heads = tuple(head_from_json(head) for head in data.get("heads", ()))
        values = {k: v for k, v in data.items() if k in known}
        words = _stored(data["words"]) if data.get("words") else None
        manifest = ModelManifest(**{**values, "heads": heads, "words": words})
    except (TypeError, ValueError, KeyError, ModelError) as error:
        raise ModelError(f"{path} is incomplete ({error}): run `assistant build`.") from error
    _check_types(manifest, path)
    return manifest


def _stored(data: Any) -> StoredTensor:
    shape = tuple(int(size) for size in data["shape"])
    found = StoredTensor(
        str(data["name"]), str(data["dtype"]), shape, int(data["offset"]), str(data["sha256"])
    )
    if found.offset < 0 or min(shape, default=0) < 1:
        raise ValueError(f"tensor {found.name} at {found.offset} with shape {shape}")
    return found


def _check_types(manifest: ModelManifest, path: Path) -> None:
    sizes = (manifest.dim, manifest.max_tokens)
    if not all(isinstance(size, int) and 1 <= size <= 1_000_000 for size in sizes):
        raise ModelError(f"{path} states impossible sizes {sizes}: run `assistant build`.")
    if not isinstance(manifest.files, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in manifest.files.items()
    ):
        raise ModelError(f"{path} lists its files wrongly: run `assistant build`.")
