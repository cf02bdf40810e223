"""What a run starts from: a base, or a trained generator on top of one.

Training on from a trained version leaves one file of changes relative to the original base, never
a chain: adapters are put side by side, whole tensors replace what was before.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.errors import InvalidInputError
from assistant.models.build.sources import WEIGHTS_FILE, sha256_of
from assistant.models.names import REGISTRY_PREFIX, SHARED_TENANT, parse_ref
from assistant.models.store import ModelStore
from assistant.settings import Settings
from training.generator.source import BaseModel, resolve
from training.generator.tuned import TUNED_FILE, A, B, Tensors, merge, read_details, read_tuned


def resolve_start(base: str, settings: Settings, tenant: str = SHARED_TENANT) -> BaseModel:
    """Return what ``base`` names: as ``resolve``, or ``registry:generator/NAME[@vN]``.

    For a trained version ``folder`` holds the merged weights, written once into the cache, and
    ``original`` is the base they belong to. Raises NotFoundError for an unknown version,
    ModelError when weights are missing, damaged or of another base.
    """
    cache = settings.cache_dir / "generator"
    if not base.startswith(REGISTRY_PREFIX):
        return resolve(base, cache)
    ref = parse_ref(base)
    if ref.task != "generator":
        raise InvalidInputError(f"{base} is a {ref.task}; a generator starts from a generator.")
    store = ModelStore.of(settings)
    if ref.number is None:
        version = store.current(ref.task, ref.name, tenant)
    else:
        version = store.version(ref.task, ref.name, ref.number, tenant)
    store.check(version, None)
    tuned = version.folder / TUNED_FILE
    details = read_details(tuned)
    original = resolve(details.get("base_origin") or details["base"], cache)
    merged = cache / f"merged-{sha256_of(tuned)[:16]}-{original.sha256[:8]}"
    if not (merged / WEIGHTS_FILE).is_file():
        merge(original, tuned, merged)
    return replace(
        original, folder=merged, original=original, parent=tuned, reference=str(version.ref)
    )


def since_original(tensors: Tensors, start: BaseModel) -> dict[str, NDArray[Any]]:
    """Return ``tensors``, trained from ``start``, as changes relative to the original base."""
    if start.original is None or start.parent is None:
        return dict(tensors)
    return stacked(read_tuned(start.parent, start.original), tensors)


def stacked(before: Tensors, after: Tensors) -> dict[str, NDArray[Any]]:
    """Return one set of changes that does what ``before`` and then ``after`` do.

    Adapters of one matrix are concatenated along the rank, which adds their products. A whole
    tensor in ``after`` holds its final value; one in ``before`` takes up later adapters.
    """
    found = dict(before)
    for name, value in after.items():
        if name.endswith(B):
            continue
        if not name.endswith(A):
            module = name.removesuffix(".weight")
            found.pop(module + A, None)
            found.pop(module + B, None)
            found[name] = value
            continue
        module = name.removesuffix(A)
        first, second = value, after[module + B]
        whole = f"{module}.weight"
        if whole in found:
            product = second.astype(np.float32) @ first.astype(np.float32)
            found[whole] = found[whole] + product
        elif name in found:
            found[name] = np.concatenate([found[name], first])
            found[module + B] = np.concatenate([found[module + B], second], axis=1)
        else:
            found[name], found[module + B] = first, second
    return found


def merged_folder(start: BaseModel, tuned: Path, target: Path) -> Path:
    """Merge ``tuned``, which is relative to the original base, with that base."""
    return merge(start.original or start, tuned, target)
