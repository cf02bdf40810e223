"""What fine-tuning leaves: a small file that turns a base encoder into a model of its own.

It holds only what differs from the base, so an adapter of a few megabytes can be kept, shipped and
merged where the model is to be served, without torch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.errors import ModelError
from assistant.models.build.safetensors import read_metadata, read_safetensors
from assistant.models.build.weights import PROMPT, EncoderWeights, expected_shapes
from assistant.models.heads import HeadSpec, head_from_json, head_to_json
from indexes.types import FloatArray

TUNED_FILE = "tuned.safetensors"
FORMAT = 1
LORA_A, LORA_B = ".lora_a", ".lora_b"
_SCALES = "scales."
_STEPS = "steps."
"""Before the name of an array kept in 8 bits: what one step is worth, by rank (see compact)."""
_MOST = 127
_LAYER = re.compile(r"l(\d+)\.")


@dataclass(frozen=True, slots=True)
class TunedWeights:
    """A fine-tuned model, relative to its base.

    ``tensors``, float32 by canonical name (see ``EncoderWeights``): a base tensor's name replaces
    it; ``l3.q.lora_a`` (rank, in) and ``l3.q.lora_b`` (out, rank) add ``b @ a`` to ``l3.q.w`` (Hu
    et al. 2021, arXiv:2106.09685; the scaling is folded into b); ``prompt`` and ``head.*`` are
    new. ``layers`` are the base layers kept, in order, before anything else is applied (a
    distilled student); empty: all. Other names count the layers that are left. ``scales`` are the
    outlier factors of its int8 graph (``outlier_scales``), so that it can be built again, equal,
    without the texts they were found on; empty: not known. ``characters``: it was tuned on Chinese
    cut into single characters (``build_tokenizer``).

    ``base_sha256`` is the base's content hash: applied to another base, the numbers mean nothing.
    """

    name: str
    task: str
    base: str
    base_sha256: str
    max_tokens: int
    query_prefix: str
    passage_prefix: str
    licence: str
    heads: tuple[HeadSpec, ...]
    tensors: Mapping[str, FloatArray] = field(default_factory=dict)
    layers: tuple[int, ...] = ()
    scales: Mapping[str, FloatArray] = field(default_factory=dict)
    characters: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers it holds."""
        return sum(int(value.size) for value in self.tensors.values())

    def stored(self) -> dict[str, FloatArray]:
        """Return every array that goes into the file, by its name there."""
        scales = {_SCALES + name: value for name, value in self.scales.items()}
        return {**self.tensors, **scales}

    def compact(self) -> dict[str, NDArray[Any]]:
        """Return the arrays in fewer bits: factors 8, with a step for each rank; all others 16."""
        arrays: dict[str, NDArray[Any]] = {}
        for name, value in self.stored().items():
            if name.endswith((LORA_A, LORA_B)):
                across = 1 if name.endswith(LORA_A) else 0
                largest = np.abs(value).max(axis=across, keepdims=True)
                step = np.maximum(largest / _MOST, np.finfo(np.float32).tiny).astype(np.float32)
                arrays[name] = np.rint(value / step).astype(np.int8)
                arrays[_STEPS + name] = step
            else:
                arrays[name] = value.astype(np.float16)
        return arrays

    def metadata(self) -> dict[str, str]:
        """Return what goes beside the tensors in the file."""
        values = {
            "format": FORMAT,
            "name": self.name,
            "task": self.task,
            "base": self.base,
            "base_sha256": self.base_sha256,
            "max_tokens": self.max_tokens,
            "query_prefix": self.query_prefix,
            "passage_prefix": self.passage_prefix,
            "licence": self.licence,
            "heads": [head_to_json(head) for head in self.heads],
            "layers": list(self.layers),
            "characters": self.characters,
        }
        return {"tuned": json.dumps(values, ensure_ascii=False)}


def read_tuned(path: Path) -> TunedWeights:
    """Read a file of tuned weights; ModelError when it is missing, damaged or something else."""
    try:
        values: Any = json.loads(read_metadata(path)["tuned"])
        stored = read_safetensors(path)
        if values["format"] != FORMAT:
            raise ModelError(
                f"{path} has format {values['format']}; expected {FORMAT}: train it again."
            )
        return TunedWeights(
            name=str(values["name"]),
            task=str(values["task"]),
            base=str(values["base"]),
            base_sha256=str(values["base_sha256"]),
            max_tokens=int(values["max_tokens"]),
            query_prefix=str(values["query_prefix"]),
            passage_prefix=str(values["passage_prefix"]),
            licence=str(values["licence"]),
            heads=tuple(head_from_json(head) for head in values["heads"]),
            tensors={
                name: value * stored.get(_STEPS + name, np.float32(1))
                for name, value in stored.items()
                if not name.startswith((_SCALES, _STEPS))
            },
            layers=tuple(int(layer) for layer in values["layers"]),
            # What tames outliers never magnifies; rounding to 16 bits must not make it so.
            scales={
                name.removeprefix(_SCALES): np.maximum(value, 1)
                for name, value in stored.items()
                if name.startswith(_SCALES)
            },
            characters=bool(values.get("characters", False)),
        )
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} holds no tuned weights ({error}).") from error


def apply(tuned: TunedWeights, base: EncoderWeights, base_sha256: str) -> EncoderWeights:
    """Return ``base`` with ``tuned`` merged in, heads and prompt among its tensors.

    Raises ModelError when the tuned weights were made for another base or do not fit it.
    """
    if tuned.base_sha256 != base_sha256:
        raise ModelError(
            f"{tuned.name} was tuned on base {tuned.base} {tuned.base_sha256[:12]}…, but this base "
            f"is {base_sha256[:12]}…. Use the base it names, or train it again on this one."
        )
    weights = keep_layers(base, tuned.layers) if tuned.layers else base
    merged: dict[str, FloatArray] = dict(weights.tensors)
    shapes = expected_shapes(weights.shape, len(weights.vocabulary.pieces))
    for name, value in tuned.tensors.items():
        if name.endswith((LORA_A, LORA_B)):
            continue
        _check_shape(tuned, weights, name, value, shapes)
        merged[name] = value
    adapted = {
        name.removesuffix(LORA_A).removesuffix(LORA_B)
        for name in tuned.tensors
        if name.endswith((LORA_A, LORA_B))
    }
    for target in sorted(adapted):
        merged[f"{target}.w"] = _with_lora(tuned, target, merged)
    _check_heads(tuned, weights.shape.hidden)
    return replace(weights, tensors=merged)


def keep_layers(weights: EncoderWeights, layers: tuple[int, ...]) -> EncoderWeights:
    """Return the encoder with only these layers, renumbered in this order."""
    if max(layers) >= weights.shape.layers or min(layers) < 0:
        raise ModelError(f"Layers {layers} are asked for; the base has {weights.shape.layers}.")
    tensors = {name: value for name, value in weights.tensors.items() if not _LAYER.match(name)}
    for new, old in enumerate(layers):
        prefix = f"l{old}."
        for name, value in weights.tensors.items():
            if name.startswith(prefix):
                tensors[f"l{new}.{name.removeprefix(prefix)}"] = value
    return replace(weights, shape=replace(weights.shape, layers=len(layers)), tensors=tensors)


def compose(parent: TunedWeights, child: TunedWeights) -> TunedWeights:
    """Return one file's worth of ``child``, tuned on top of ``parent``, relative to the first base.

    What the child replaces wins, also over the parent's LoRA factors of that matrix; LoRA factors
    of both add up, by standing side by side.
    """
    if child.layers:
        raise ModelError("A model with layers taken out cannot stand on another tuned model.")
    tensors: dict[str, FloatArray] = {
        name: value
        for name, value in parent.tensors.items()
        if not name.startswith("head.") and not _replaced(name, child)
    }
    for name, value in child.tensors.items():
        beside = name in tensors and name.endswith((LORA_A, LORA_B))
        axis = 0 if name.endswith(LORA_A) else 1
        tensors[name] = np.concatenate([tensors[name], value], axis=axis) if beside else value
    return replace(
        child,
        base=parent.base,
        base_sha256=parent.base_sha256,
        tensors=tensors,
        layers=parent.layers,
    )


def _replaced(name: str, child: TunedWeights) -> bool:
    target, dot, kind = name.rpartition(".")
    return bool(dot) and kind in ("lora_a", "lora_b") and f"{target}.w" in child.tensors


def _with_lora(tuned: TunedWeights, target: str, merged: Mapping[str, FloatArray]) -> FloatArray:
    a, b = (tuned.tensors.get(target + part) for part in (LORA_A, LORA_B))
    weight = merged.get(f"{target}.w")
    if (
        weight is None
        or a is None
        or b is None
        or (b.shape[0], a.shape[1]) != weight.shape
        or b.shape[1] != a.shape[0]
    ):
        raise ModelError(
            f"{tuned.name}: the adapter of {target} has shapes {None if a is None else a.shape} "
            f"and {None if b is None else b.shape}, which do not fit a base matrix of "
            f"{None if weight is None else weight.shape}. It was made for another base."
        )
    result: FloatArray = weight + b @ a
    return result


def _check_shape(
    tuned: TunedWeights,
    weights: EncoderWeights,
    name: str,
    value: FloatArray,
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    if name.startswith("head.") or (
        name == PROMPT and value.ndim == 2 and value.shape[1] == weights.shape.hidden
    ):
        return
    want = shapes.get(name)
    if want != value.shape:
        raise ModelError(
            f"{tuned.name}: tensor {name} has shape {value.shape}, the base "
            f"{'has none of that name' if want is None else f'expects {want}'}. It was made for "
            "another base."
        )


def _check_heads(tuned: TunedWeights, hidden: int) -> None:
    for head in tuned.heads:
        wanted: dict[str, tuple[int, ...]] = {f"head.{head.name}.out.w": (len(head.labels), hidden)}
        wanted[f"head.{head.name}.out.b"] = (len(head.labels),)
        if f"head.{head.name}.dense.w" in tuned.tensors:
            wanted[f"head.{head.name}.dense.w"] = (hidden, hidden)
            wanted[f"head.{head.name}.dense.b"] = (hidden,)
        for name, shape in wanted.items():
            found = tuned.tensors.get(name)
            if found is None or found.shape != shape:
                raise ModelError(
                    f"{tuned.name}: {name} is {'missing' if found is None else found.shape}; "
                    f"{shape} is expected for {len(head.labels)} labels."
                )
