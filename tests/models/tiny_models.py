"""A tiny encoder in every source format, and a plain numpy BERT to check graphs against."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy as np

from assistant.models.build.weights import (
    EncoderShape,
    EncoderWeights,
    Vocabulary,
    expected_shapes,
)

SHAPE = EncoderShape(hidden=32, layers=2, heads=4, ff=64, max_positions=40, epsilon=1e-12)
WORDS = [
    "▁card",
    "▁bank",
    "▁lost",
    "▁fee",
    "银行",
    "卡",
    "▁",
    "丢",
    "了",
    "?",
    "？",
    "～",
    "▁Москва",
]
PIECES = ("<s>", "<pad>", "</s>", "<unk>", *WORDS, *"abcdefghijklmnopqrstuvwxyz:", "М", "<mask>")


def vocabulary() -> Vocabulary:
    scores = [0.0] * 4 + [-float(i + 1) / 4 for i in range(len(PIECES) - 5)] + [0.0]
    return Vocabulary(tuple(PIECES), tuple(scores), bos=0, eos=2, pad=1, unk=3)


def weights(seed: int = 0, shape: EncoderShape = SHAPE) -> EncoderWeights:
    """Random weights of a sensible size; layer norms near 1 and 0."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, dims in expected_shapes(shape, len(PIECES)).items():
        value = random.normal(size=dims) * (0.1 if name.startswith("emb") else 0.2)
        if name.endswith("ln.w"):
            value = 1 + value
        tensors[name] = value.astype(np.float32)
    return EncoderWeights(shape, vocabulary(), tensors)


def q4_0(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """Quantise by the format's definition, block by block; return bytes and what they stand for."""
    data, back = b"", []
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        nibbles = [min(15, max(0, round(float(v) / float(scale)) + 8)) for v in block]
        data += scale.tobytes() + bytes(nibbles[j] | nibbles[j + 16] << 4 for j in range(16))
        back += [(n - 8) * float(scale) for n in nibbles]
    return data, np.array(back, dtype=np.float32).reshape(values.shape)


def e5s1(source: EncoderWeights) -> tuple[bytes, dict[str, np.ndarray]]:
    """Write the E5S1 container; return it and the tensors it must read back as."""
    shape, words = source.shape, source.vocabulary
    sizes = [shape.hidden, shape.layers, shape.heads, shape.ff, len(PIECES) + 3]
    out = b"E5S1" + struct.pack("<I7ifi", 1, *sizes, shape.max_positions, 2, shape.epsilon, 32)
    blobs = [piece.encode() for piece in words.pieces]
    offsets = np.cumsum([0, *map(len, blobs)]).astype("<u4").tobytes()
    out += struct.pack(
        "<5iQ", len(PIECES), words.bos, words.eos, words.pad, words.unk, sum(map(len, blobs))
    )
    out += offsets + np.array(words.scores, "<f4").tobytes() + b"".join(blobs)
    out += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 9, 1, 32)
    parts, expected = {}, {}
    for name, value in source.tensors.items():
        stored = value
        if name == "emb.word":
            stored = np.concatenate([value, np.ones((3, shape.hidden), np.float32)])
        if name == "emb.type":
            stored = np.concatenate([value, value + 1])
        if (name.endswith(".w") and name[0] == "l" and "ln" not in name) or name == "emb.word":
            data, back = q4_0(stored)
            parts[name], expected[name] = (1, stored.size, data), back[: len(value)]
        else:
            parts[name], expected[name] = (0, stored.size, stored.astype("<f4").tobytes()), value
    directory = sum(2 + len(name) + 21 for name in parts) + 4
    position = len(out) + directory
    out += struct.pack("<i", len(parts))
    for name, (kind, count, data) in parts.items():
        out += struct.pack("<H", len(name)) + name.encode()
        out += struct.pack("<BIQQ", kind, count, position, len(data))
        position += len(data)
    return out + b"".join(data for _, _, data in parts.values()), expected


TRANSFORMERS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def transformers_tensors(source: EncoderWeights, prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors under the names transformers gives them."""
    named = {}
    for name, value in source.tensors.items():
        if name.startswith("l"):
            layer, part, kind = name.split(".")
            suffix = "weight" if kind == "w" else "bias"
            named[f"{prefix}encoder.layer.{layer[1:]}.{TRANSFORMERS[part]}.{suffix}"] = value
    tensors = source.tensors
    emb = f"{prefix}embeddings."
    named[emb + "word_embeddings.weight"] = tensors["emb.word"]
    named[emb + "position_embeddings.weight"] = tensors["emb.pos"]
    named[emb + "token_type_embeddings.weight"] = tensors["emb.type"][None]
    named[emb + "LayerNorm.weight"] = tensors["emb.ln.w"]
    named[emb + "LayerNorm.bias"] = tensors["emb.ln.b"]
    return named


def safetensors(tensors: dict[str, np.ndarray]) -> bytes:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, value in tensors.items():
        kind = {"float32": "F32", "float16": "F16", "int64": "I64"}[value.dtype.name]
        end = len(data) + value.nbytes
        header[name] = {"dtype": kind, "shape": value.shape, "data_offsets": [len(data), end]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def hugging_face_folder(folder: Path, source: EncoderWeights, **config: object) -> Path:
    """Write a folder as ``save_pretrained`` leaves it (BERT layout, XLM-R tokeniser)."""
    folder.mkdir(parents=True, exist_ok=True)
    shape, words = source.shape, source.vocabulary
    settings = {
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.ff,
        "max_position_embeddings": shape.max_positions,
        "layer_norm_eps": shape.epsilon,
        "pad_token_id": words.pad,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    vocab = [list(pair) for pair in zip(words.pieces, words.scores, strict=True)]
    model = {"type": "Unigram", "unk_id": words.unk, "vocab": vocab}
    (folder / "tokenizer.json").write_text(json.dumps({"model": model}))
    (folder / "model.safetensors").write_bytes(safetensors(transformers_tensors(source)))
    return folder


def numpy_encoder(source: EncoderWeights, ids: np.ndarray) -> np.ndarray:
    """BERT as published (post-norm, erf GELU) on one unpadded text: (tokens, hidden)."""
    t, shape = source.tensors, source.shape
    x = t["emb.word"][ids] + t["emb.pos"][: len(ids)] + t["emb.type"]
    x = _norm(x, t["emb.ln.w"], t["emb.ln.b"], shape.epsilon)
    for n in range(shape.layers):
        p = f"l{n}."
        q, k, v = (x @ t[f"{p}{m}.w"].T + t[f"{p}{m}.b"] for m in "qkv")
        heads = []
        for h in range(shape.heads):
            part = slice(h * shape.head_size, (h + 1) * shape.head_size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(shape.head_size)
            scores = np.exp(scores - scores.max(1, keepdims=True))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
        out = np.concatenate(heads, axis=1) @ t[p + "ao.w"].T + t[p + "ao.b"]
        x = _norm(x + out, t[p + "aln.w"], t[p + "aln.b"], shape.epsilon)
        inner = x @ t[p + "fi.w"].T + t[p + "fi.b"]
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        out = inner @ t[p + "fo.w"].T + t[p + "fo.b"]
        x = _norm(x + out, t[p + "oln.w"], t[p + "oln.b"], shape.epsilon)
    return x


def _norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + epsilon) * gain + bias
