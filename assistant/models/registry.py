"""Find built models on disk; use none whose files are not exactly those that were built."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from assistant.errors import ModelError
from assistant.models.manifest import ModelManifest, read_manifest

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
# Key of a tensor kept outside the model file, as ONNX writes it (protobuf field 1, length 8).
_EXTERNAL_DATA = b"\x0a\x08location"


class ModelRegistry:
    """Built models under ``models_dir``: ``<name>/<precision>.json`` points to the one in use."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    def encoder(self, name: str, precision: str = "int8") -> tuple[Path, ModelManifest]:
        """Return folder and manifest of encoder ``name`` (or of a folder), checksums verified.

        Raises ModelError when it is not built, or when a file is missing, changed, or refers to
        data outside the folder.
        """
        folder = self.folder(name, precision)
        if folder is None:
            raise ModelError(f"Encoder {name} ({precision}) is not built: run `assistant build`.")
        return folder, read_verified(folder)

    def folder(self, name: str, precision: str = "int8") -> Path | None:
        """Return the folder in use for ``name``, unverified; None when nothing is built."""
        given = Path(name)
        if given.is_absolute() or len(given.parts) > 1:
            return given if given.is_dir() else None
        pointer = self._pointer(name, precision)
        try:
            target = json.loads(pointer.read_text(encoding="utf-8"))["folder"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{pointer} cannot be read: run `assistant build`.") from error
        return pointer.parent / Path(str(target)).name

    def select(self, name: str, precision: str, folder: Path) -> None:
        """Make ``folder`` the one in use; atomic."""
        pointer = self._pointer(name, precision)
        temporary = pointer.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps({"folder": folder.name}) + "\n", encoding="utf-8")
        temporary.replace(pointer)

    def _pointer(self, name: str, precision: str) -> Path:
        return self.models_dir / name / f"{precision}.json"


def read_verified(folder: Path) -> ModelManifest:
    """Return the manifest in ``folder``, whose files are verified; ModelError if one is damaged."""
    manifest = read_manifest(folder)
    verify(folder, manifest)
    return manifest


def read_build(folder: Path) -> ModelManifest:
    """Return the manifest of an earlier build that one made now would equal.

    Raises ModelError when it is damaged, or of a time when builds did not say where their words
    are: it is to be built again.
    """
    manifest = read_verified(folder)
    if manifest.precision == "int8" and manifest.words is None:
        raise ModelError(f"{folder} does not say where its words are: run `assistant build`.")
    return manifest


def verify(folder: Path, manifest: ModelManifest) -> None:
    """Raise ModelError unless every file of ``manifest`` is in ``folder`` and unchanged."""
    missing = {MODEL_FILE, TOKENIZER_FILE} - set(manifest.files)
    if missing:
        raise ModelError(f"The manifest in {folder} lists no {', '.join(sorted(missing))}.")
    for name, expected in manifest.files.items():
        path = folder / name
        if Path(name).name != name or path.is_symlink():
            raise ModelError(f"The manifest in {folder} names {name!r}, outside its folder.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error}): run `assistant build`.") from error
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise ModelError(
                f"{path} has SHA-256 {found[:16]}…, expected {expected[:16]}…: the file was "
                "changed or cut short. Delete its folder and run `assistant build`."
            )
        if name.endswith(".onnx") and _EXTERNAL_DATA in content:
            raise ModelError(f"{path} refers to data outside its folder, which is refused.")
