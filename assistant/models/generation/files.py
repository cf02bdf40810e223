"""The files of a built generator: which there may be, and what the runtime would do with them.

A generator is a folder with the ``ModelManifest`` of every built model (``max_tokens`` is the
context: prompt and completion together) and what ONNX Runtime GenAI reads: its configuration, the
graph and the graph's data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ModelError
from assistant.models.manifest import ModelManifest, read_manifest

CONFIG_FILE = "genai_config.json"
MODEL_FILE = "model.onnx"
DATA_FILE = "model.onnx.data"
TOKENIZER_FILE = "tokenizer.json"
NOTICE_FILE = "NOTICE.txt"
REQUIRED_FILES = (CONFIG_FILE, MODEL_FILE, DATA_FILE, TOKENIZER_FILE)
KNOWN_FILES = (*REQUIRED_FILES, "tokenizer_config.json", NOTICE_FILE)
TASK = "generator"
# Keys of the runtime's configuration that make it open files or load libraries.
_OPENING = ("filename", "custom_ops_library", "library", "adapter_filename")


@dataclass(frozen=True, slots=True)
class Marks:
    """What the runtime's configuration says of a decoder.

    ``eos`` ids end a completion. ``window`` is the sliding attention window in tokens (0: none);
    the runtime's cache may not be shorter.
    """

    bos: int
    eos: tuple[int, ...]
    window: int
    context: int
    vocabulary: int


def read_generator(folder: Path) -> tuple[ModelManifest, Marks]:
    """Return manifest and marks of a built generator, its files verified.

    Raises ModelError when a file is missing, changed, a link or not listed; when the configuration
    would open anything but the listed graph; when the graph keeps data anywhere but in the listed
    data file.
    """
    manifest = read_manifest(folder)
    if manifest.task != TASK:
        raise ModelError(f"{folder} holds a {manifest.task}, not a generator.")
    missing = sorted(set(REQUIRED_FILES) - set(manifest.files))
    unknown = sorted(set(manifest.files) - set(KNOWN_FILES))
    if missing or unknown:
        raise ModelError(
            f"The manifest in {folder} lists no {', '.join(missing) or 'unknown file'}"
            f"{' and unknown ' + ', '.join(unknown) if unknown else ''}: build the model again."
        )
    for name, expected in manifest.files.items():
        _check_file(folder / name, expected)
    marks = read_marks(folder)
    _check_external_data(folder)
    return manifest, marks


def read_marks(folder: Path) -> Marks:
    """Return what ``genai_config.json`` says; ModelError when damaged or opening other files."""
    path = folder / CONFIG_FILE
    try:
        model = json.loads(path.read_text(encoding="utf-8"))["model"]
        opened = [str(value) for key, value in _walk(model) if key in _OPENING]
        window = model["decoder"].get("sliding_window") or {}
        eos = model["eos_token_id"]
        marks = Marks(
            int(model["bos_token_id"]),
            tuple(int(i) for i in (eos if isinstance(eos, list) else [eos])),
            int(window.get("window_size", 0)),
            int(model["context_length"]),
            int(model["vocab_size"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not the runtime's configuration ({error!r}).") from error
    if opened != [MODEL_FILE]:
        raise ModelError(f"{path} opens {', '.join(opened) or 'nothing'}; allowed: {MODEL_FILE}.")
    return marks


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every known file in ``folder``, by name."""
    return {name: sha256_of(folder / name) for name in KNOWN_FILES if (folder / name).is_file()}


def _check_file(path: Path, expected: str) -> None:
    if path.is_symlink() or not path.is_file():
        raise ModelError(f"{path} is missing or a link: build the model again or roll back.")
    found = sha256_of(path)
    if found != expected:
        raise ModelError(
            f"{path} has SHA-256 {found[:16]}…, expected {expected[:16]}…: the file was changed "
            "or cut short. Build the model again or roll back."
        )


def _check_external_data(folder: Path) -> None:
    import onnx

    path = folder / MODEL_FILE
    try:
        graph = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises a family of its own
        raise ModelError(f"{path} is no ONNX graph ({type(error).__name__}).") from error
    for location in _locations(graph):
        if location != DATA_FILE:
            raise ModelError(f"{path} keeps data in {location[:80]!r}; allowed: {DATA_FILE}.")


def _locations(message: Any) -> Iterator[str]:
    """Yield where tensors anywhere in a protobuf message keep their data, if outside of it."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
            continue
        for child in (value,) if hasattr(value, "ListFields") else value:
            yield from _locations(child)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)
