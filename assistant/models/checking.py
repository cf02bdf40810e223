"""Is a version's folder exactly what was added? Checksums, no pickles, no data outside."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ModelError
from assistant.models.manifest import MANIFEST_FILE, ModelManifest, read_manifest
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE

SEAL_FILE = "version.json"
TUNED_FILE = "tuned.safetensors"
PRECISIONS = ("int8", "fp32", "fp16", "bf16", "int4")
_FORMAT = 1
_CHUNK = 2**20
# What a version may hold. Python's pickle runs code when read: none of its usual names is here.
_WEIGHTS = (".onnx", ".data", ".safetensors", ".model")
_TEXTS = (".json", ".jsonl", ".toml", ".jinja", ".md", ".txt", ".csv", ".svg", ".png")
_SUFFIXES = frozenset({*_WEIGHTS, *_TEXTS})
_MAGIC = (
    *((bytes([0x80, protocol]), "a Python pickle") for protocol in range(1, 6)),
    (b"PK\x03\x04", "a zip archive, as PyTorch writes its pickles"),
    (b"\x1f\x8b", "a gzip archive"),
)


@dataclass(frozen=True, slots=True)
class Seal:
    """What was added: path -> SHA-256 and bytes of every file, and when (ISO 8601, UTC)."""

    number: int
    created: str
    files: Mapping[str, str]
    sizes: Mapping[str, int]

    def to_json(self) -> str:
        """Return the seal as JSON text."""
        data = {
            "format": _FORMAT,
            "version": self.number,
            "created": self.created,
            "files": dict(sorted(self.files.items())),
            "sizes": dict(sorted(self.sizes.items())),
        }
        return json.dumps(data, indent=2) + "\n"

    def size(self, part: str) -> int:
        """Return the bytes of the folder ``part``."""
        return sum(size for path, size in self.sizes.items() if path.startswith(f"{part}/"))


def read_seal(folder: Path) -> Seal:
    """Return the seal of a version; ModelError when it is missing or damaged."""
    path = folder / SEAL_FILE
    try:
        data: Any = json.loads(path.read_bytes())
        if data["format"] != _FORMAT:
            raise ValueError(f"format {data['format']!r} instead of {_FORMAT}")
        files = {str(name): str(digest) for name, digest in data["files"].items()}
        sizes = {str(name): int(size) for name, size in data["sizes"].items()}
        return Seal(int(data["version"]), str(data["created"]), files, sizes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}: {error}): the version is damaged; "
            "promote another or add it again."
        ) from error


def copy_version(source: Path, target: Path) -> None:
    """Copy a finished folder durably; ``target`` must not exist.

    Raises ModelError for a link or anything else that is neither file nor folder, OSError when
    the disk refuses.
    """
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelError(f"{path} is a link or no plain file; a version holds plain files.")
        if path.is_dir():
            copy_version(path, target / path.name)
        else:
            _copy_file(path, target / path.name)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, _CHUNK)
        writer.flush()
        os.fsync(writer.fileno())


def seal_folder(folder: Path, number: int, created: str) -> Seal:
    """Return the seal of what is in ``folder`` now."""
    paths = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    paths.pop(SEAL_FILE, None)
    return Seal(
        number,
        created,
        {name: sha256(path) for name, path in paths.items()},
        {name: path.stat().st_size for name, path in paths.items()},
    )


def contents_problems(folder: Path, task: str, digests: Mapping[str, str]) -> Iterator[str]:
    """Yield what keeps ``folder`` from being a version, whatever its seal says.

    ``digests`` are the SHA-256 of its files as they are. Every file must be of a known kind and
    where it belongs, every precision complete and as its manifest says.
    """
    parts = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
    for path in _files(folder):
        yield from _file_problems(path, path.relative_to(folder).parts)
    wanted = (folder / "int8").is_dir() or (task == "base" and (folder / TUNED_FILE).is_file())
    if not wanted:
        yield f"{folder.name} holds no int8 folder, from which it would be served"
    for part in parts:
        if part in PRECISIONS:
            yield from _part_problems(folder / part, digests)


def _file_problems(path: Path, parts: tuple[str, ...]) -> Iterator[str]:
    shown = "/".join(parts)
    if len(parts) > 2 or (len(parts) == 2 and parts[0] not in PRECISIONS):
        yield f"{shown} is in no folder of a precision ({', '.join(PRECISIONS)})"
    if path.is_symlink():
        yield f"{shown} is a link"
        return
    if path.suffix.lower() not in _SUFFIXES:
        yield f"{shown} is of a kind a version may not hold ({path.suffix or 'no suffix'})"
    elif path.suffix == ".safetensors":
        yield from _safetensors_problems(path, shown)
    elif path.suffix not in (".data", ".model"):
        with path.open("rb") as file:
            head = file.read(8)
        yield from (f"{shown} is {what}" for magic, what in _MAGIC if head.startswith(magic))


def _safetensors_problems(path: Path, shown: str) -> Iterator[str]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, 1))
    if header != b"{" or length + 8 > path.stat().st_size:
        yield f"{shown} is no safetensors file"


def _part_problems(folder: Path, digests: Mapping[str, str]) -> Iterator[str]:
    part = folder.name
    try:
        manifest = read_manifest(folder)
    except ModelError as error:
        yield str(error)
        return
    if manifest.precision != part:
        yield f"{part}/{MANIFEST_FILE} is of a {manifest.precision} model"
    present = {path.name for path in folder.iterdir()} - {MANIFEST_FILE}
    for name in sorted({MODEL_FILE, TOKENIZER_FILE} - set(manifest.files)):
        yield f"{part}/{MANIFEST_FILE} lists no {name}"
    for name in sorted(set(manifest.files) - present):
        yield f"{part}/{name} is missing"
    for name in sorted(present - set(manifest.files)):
        yield f"{part}/{name} is not in its manifest"
    for name in sorted(present & set(manifest.files)):
        if digests.get(f"{part}/{name}") != manifest.files[name]:
            yield f"{part}/{name} is not the file its manifest names (SHA-256 differs)"
        elif name.endswith(".onnx"):
            yield from graph_problems(folder / name, manifest)


def graph_problems(path: Path, manifest: ModelManifest) -> Iterator[str]:
    """Yield what is wrong with a graph: not ONNX, or weights outside the files of its manifest."""
    import onnx

    shown = f"{path.parent.name}/{path.name}"
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises a family of its own
        yield f"{shown} is no ONNX graph ({type(error).__name__})"
        return
    for location in sorted(set(_locations(model))):
        if location not in manifest.files:
            yield f"{shown} refers to data outside its folder ({location[:80]!r})"


def _locations(message: Any) -> Iterator[str]:
    """Yield where tensors anywhere in a protobuf message keep their data, if outside of it."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
            continue
        repeated = not hasattr(value, "ListFields")
        for child in value if repeated else (value,):
            yield from _locations(child)


def sealed_problems(folder: Path, part: str | None = None) -> Iterator[str]:
    """Yield where ``folder`` (or only its folder ``part``) differs from its seal."""
    try:
        seal = read_seal(folder)
    except ModelError as error:
        yield str(error)
        return
    paths = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    paths.pop(SEAL_FILE, None)
    wanted = {name for name in {*paths, *seal.files} if not part or name.startswith(f"{part}/")}
    for name in sorted(wanted):
        if name not in paths:
            yield f"{name} is missing"
        elif name not in seal.files:
            yield f"{name} was not there when the version was added"
        elif paths[name].is_symlink():
            yield f"{name} is a link"
        else:
            yield from _changed(name, paths[name], seal)


def _changed(name: str, path: Path, seal: Seal) -> Iterator[str]:
    try:
        found = sha256(path)
    except OSError as error:
        yield f"{name} cannot be read ({error})"
        return
    if found != seal.files[name]:
        yield (
            f"{name} has SHA-256 {found[:16]}…, expected {seal.files[name][:16]}…: it was changed "
            "or cut short"
        )


def sha256(path: Path) -> str:
    """Return a file's SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    """Every file below ``folder``, and links to folders, which are not followed."""
    found = []
    for root, folders, names in os.walk(folder):
        here = Path(root)
        found += [here / name for name in names]
        found += [here / name for name in folders if (here / name).is_symlink()]
    return sorted(found)
