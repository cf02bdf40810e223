"""Read a BERT-style encoder from a folder of safetensors, config.json and tokenizer.json.

The safetensors layout (8-byte header length, JSON header, raw tensors) is parsed here with numpy,
which keeps torch and its pickles out of the build.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import ModelError
from assistant.models.build.weights import EncoderShape, EncoderWeights, Vocabulary
from indexes.types import FloatArray

_MAX_HEADER = 100_000_000
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype("i1"),
}
_LAYER_NAMES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
_EMBEDDING_NAMES = {
    "embeddings.word_embeddings.weight": "emb.word",
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}


def read_folder(folder: Path) -> EncoderWeights:
    """Return the encoder in ``folder``; ModelError when it is not one this product can run."""
    config = _read_json(folder / "config.json")
    shape, first_position = _shape(config)
    vocabulary = _vocabulary(_read_json(folder / "tokenizer.json"))
    raw = read_safetensors(folder / "model.safetensors")
    tensors = {_canonical(name): value for name, value in raw.items()}
    tensors.pop("", None)
    for name, start, stop in (
        ("emb.word", 0, len(vocabulary.pieces)),
        ("emb.pos", first_position, first_position + shape.max_positions),
    ):
        if name in tensors:
            tensors[name] = tensors[name][start:stop]
    if "emb.type" in tensors:
        tensors["emb.type"] = tensors["emb.type"][0]
    weights = EncoderWeights(shape=shape, vocabulary=vocabulary, tensors=tensors)
    weights.check()
    return weights


def read_safetensors(path: Path) -> dict[str, FloatArray]:
    """Return every float and 8-bit tensor of a safetensors file as float32.

    Raises ModelError when it is damaged.
    """
    with _opened(path) as data:
        header, start = _header(path.name, data)
        return {
            name: _tensor(data, start, name, entry)
            for name, entry in header.items()
            if name != "__metadata__" and entry.get("dtype") in _TYPES
        }


def read_metadata(path: Path) -> dict[str, str]:
    """Return the texts kept beside the tensors; ModelError when the file is damaged."""
    with _opened(path) as data:
        header, _ = _header(path.name, data)
        return {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    size = path.stat().st_size
    if size < 8:
        raise ModelError(f"{path.name} has {size} bytes: too short for safetensors.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _header(name: str, data: mmap.mmap) -> tuple[dict[str, Any], int]:
    """Return the header and where the tensors start."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_MAX_HEADER, len(data) - 8):
        raise ModelError(f"{name} states a header of {length} bytes in a file of {len(data)}.")
    try:
        header: Any = json.loads(data[8 : 8 + length])
    except ValueError as error:
        raise ModelError(f"{name} has a damaged header: {error}") from error
    if not isinstance(header, dict):
        raise ModelError(f"{name} has a damaged header: {type(header).__name__}, not an object.")
    return header, 8 + length


def _tensor(data: mmap.mmap, base: int, name: str, entry: Mapping[str, Any]) -> FloatArray:
    kind = _TYPES[entry["dtype"]]
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not 0 <= start <= end <= len(data) - base:
        raise ModelError(
            f"Tensor {name} ends at byte {base + end} of a file of {len(data)}: it is cut short."
        )
    if end - start != int(np.prod(shape, dtype=np.int64)) * kind.itemsize:
        raise ModelError(f"Tensor {name} has {end - start} bytes for shape {shape}.")
    flat: FloatArray = np.frombuffer(data[base + start : base + end], kind).astype(np.float32)
    return flat.reshape(shape)


def _canonical(name: str) -> str:
    """Translate a transformers name; "" when the encoder does not use the tensor."""
    for prefix in ("bert.", "roberta."):
        name = name.removeprefix(prefix)
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    if not name.startswith("encoder.layer."):
        return ""
    layer, _, rest = name.removeprefix("encoder.layer.").partition(".")
    module, _, kind = rest.rpartition(".")
    short = _LAYER_NAMES.get(module)
    return f"l{layer}.{short}.{kind[0]}" if short and kind in ("weight", "bias") else ""


def _shape(config: Mapping[str, Any]) -> tuple[EncoderShape, int]:
    kind = config.get("model_type")
    if kind not in ("bert", "xlm-roberta") or config.get("hidden_act") != "gelu":
        raise ModelError(
            f"Architecture {kind!r} with activation {config.get('hidden_act')!r} is not supported; "
            "supported: bert and xlm-roberta with gelu."
        )
    # RoBERTa numbers positions from the padding id + 1, so the first rows are never used.
    first = int(config.get("pad_token_id") or 0) + 1 if kind == "xlm-roberta" else 0
    try:
        shape = EncoderShape(
            hidden=int(config["hidden_size"]),
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            ff=int(config["intermediate_size"]),
            max_positions=int(config["max_position_embeddings"]) - first,
            epsilon=float(config["layer_norm_eps"]),
        )
    except KeyError as error:
        raise ModelError(f"config.json lacks {error}.") from error
    shape.check()
    return shape, first


def _vocabulary(tokenizer: Mapping[str, Any]) -> Vocabulary:
    model = tokenizer.get("model") or {}
    if model.get("type") != "Unigram":
        raise ModelError(
            f"tokenizer.json holds a {model.get('type')} model; only Unigram (SentencePiece) works."
        )
    pieces = tuple(str(piece) for piece, _ in model["vocab"])
    scores = tuple(float(score) for _, score in model["vocab"])
    places = {piece: i for i, piece in enumerate(pieces)}
    try:
        special = [places[name] for name in ("<s>", "</s>", "<pad>")]
    except KeyError as error:
        raise ModelError(f"tokenizer.json lacks the special token {error}.") from error
    return Vocabulary(pieces, scores, special[0], special[1], special[2], int(model["unk_id"]))


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds {type(data).__name__}; expected an object.")
    return data
