"""What tuning changed, as one small safetensors file; and merging it with its base, in numpy.

``tuned.safetensors`` holds, for each projection with adapters, ``NAME.lora_a`` (rank, in) and
``NAME.lora_b`` (out, rank) with the scaling folded into b, and for tensors trained as a whole the
tensor itself under the base's own name. Its metadata names the base and its SHA-256: with another
base it is refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.errors import ModelError, StorageError
from assistant.models.build.sources import WEIGHTS_FILE
from training.generator.source import BaseModel

TUNED_FILE = "tuned.safetensors"
FORMAT = "generator-tuned-1"
A, B = ".lora_a", ".lora_b"

Tensors = Mapping[str, NDArray[Any]]


def tuned_tensors(model: Any) -> dict[str, NDArray[Any]]:
    """Return what was trained in a torch module: adapters (float16) or whole tensors (float32)."""
    if hasattr(model, "get_base_model"):
        return dict(_adapters(model))
    return {
        name: parameter.detach().float().cpu().numpy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def save_tuned(path: Path, tensors: Tensors, base: BaseModel, details: Mapping[str, str]) -> None:
    """Write ``tensors`` with the base they belong to; ``details`` goes along as metadata."""
    metadata = {
        **details,
        "format": FORMAT,
        "base": base.label,
        "base_origin": base.origin,
        "base_sha256": base.sha256,
    }
    contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    _save(contiguous, path, metadata)


def merge(base: BaseModel, tuned: Path | None, target: Path) -> Path:
    """Write base and tuned weights as one Hugging Face folder (fp32) and return it.

    Without ``tuned`` it is the base itself. Raises ModelError when the file is damaged, was made
    for another base, or names a tensor the base does not have.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights = load_file(base.folder / WEIGHTS_FILE)
        changes = read_tuned(tuned, base) if tuned is not None else {}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"Weights cannot be read ({error}); train or install them again."
        ) from error
    for name, change in changes.items():
        if name.endswith(B):
            continue
        key = f"{name.removesuffix(A)}.weight" if name.endswith(A) else name
        if key not in weights:
            raise ModelError(f"{tuned} changes {key}, which {base.label} does not have.")
        if name.endswith(A):
            product = changes[name.removesuffix(A) + B].astype(np.float32) @ change.astype(
                np.float32
            )
        else:
            product = change - weights[key]
        if product.shape != weights[key].shape:
            raise ModelError(
                f"{tuned}: {key} has shape {product.shape}; the base has {weights[key].shape}."
            )
        weights[key] = weights[key].astype(np.float32) + product
    target.mkdir(parents=True, exist_ok=True)
    for path in base.folder.iterdir():
        if path.suffix == ".json" and not path.name.endswith(".index.json"):
            shutil.copyfile(path, target / path.name)
    _save(weights, target / WEIGHTS_FILE, {"format": "pt"})
    return target


def _save(tensors: dict[str, NDArray[Any]], path: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{path} cannot be written ({error}). Free some space.") from error


def read_tuned(path: Path, base: BaseModel) -> dict[str, NDArray[Any]]:
    """Return the tensors of a tuned file; ModelError when it was made for another base."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(path, framework="np") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path} is not a tuned generator ({metadata.get('format')}).")
    if metadata.get("base_sha256") != base.sha256:
        raise ModelError(
            f"{path} was made for {metadata.get('base')} "
            f"({str(metadata.get('base_sha256'))[:16]}…), not for {base.label} "
            f"({base.sha256[:16]}…). Use its own base."
        )
    tensors: dict[str, NDArray[Any]] = load_file(path)
    return tensors


def _adapters(model: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    from peft.tuners.lora import LoraLayer

    for name, module in model.get_base_model().named_modules():
        if not isinstance(module, LoraLayer) or not module.active_adapters:
            continue
        adapter = module.active_adapters[0]
        first: Any = module.lora_A[adapter].weight
        second: Any = module.lora_B[adapter].weight
        a = first.detach().float().cpu().numpy()
        b = second.detach().float().cpu().numpy()
        yield name + A, a.astype(np.float16)
        yield name + B, (b * module.scaling[adapter]).astype(np.float16)


def read_details(path: Path) -> dict[str, str]:
    """Return the metadata of a tuned file."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        found = file.metadata() or {}
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]
