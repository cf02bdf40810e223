"""Read the ``E5S1`` container: a BERT encoder and its unigram vocabulary in 4-bit blocks.

Little-endian. Header, vocabulary, normalisation map, tensor directory, data. A ``Q4_0`` block is
one float16 scale and 16 bytes; byte ``j`` holds weight ``j`` in its low nibble and weight
``j + 16`` in its high one, each as ``(nibble - 8) * scale``.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assistant.errors import ModelError
from assistant.models.build.weights import (
    EncoderShape,
    EncoderWeights,
    Vocabulary,
    expected_shapes,
)
from indexes.types import FloatArray

MAGIC = b"E5S1"
BLOCK = 32
_BLOCK_TYPE = np.dtype([("scale", "<f2"), ("nibbles", "u1", (BLOCK // 2,))])
_F32, _Q4_0 = 0, 1


@dataclass(frozen=True, slots=True)
class _Entry:
    dtype: int
    count: int
    offset: int
    size: int


class _Cursor:
    """Reads forward through a buffer and refuses to run past its end."""

    def __init__(self, data: memoryview, path: Path) -> None:
        self._data, self._path, self.position = data, path, 0

    def unpack(self, layout: str) -> tuple[int | float | bytes, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def integers(self, layout: str) -> list[int]:
        return [int(value) for value in self.unpack(layout)]

    def take(self, size: int) -> memoryview:
        end = self.position + size
        if size < 0 or end > len(self._data):
            raise ModelError(
                f"{self._path.name} ends at byte {len(self._data)} where byte {end} is needed: "
                "the file is cut short. Install its package again."
            )
        part = self._data[self.position : end]
        self.position = end
        return part


def read_e5s1(path: Path) -> EncoderWeights:
    """Return the weights in ``path``, dequantised to float32.

    Raises ModelError when the file is not of this format, is cut short or contradicts itself.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise ModelError(f"{path.name} is empty. Install its package again.") from error
    # Not closed by hand: a view still held by an error's traceback would forbid it.
    data = memoryview(mapped)
    return _parse(_Cursor(data, path), data, path)


def _parse(cursor: _Cursor, data: memoryview, path: Path) -> EncoderWeights:
    shape, rows = _read_header(cursor, path)
    vocabulary = _read_vocabulary(cursor)
    # The normalisation map says what the tokenizer module builds from NFKC; only its length counts.
    cursor.take(cursor.integers("<iI")[1])
    directory = _read_directory(cursor)
    if rows < len(vocabulary.pieces):
        raise ModelError(f"{path.name} has {rows} word rows for {len(vocabulary.pieces)} pieces.")
    tensors: dict[str, FloatArray] = {}
    for name, want in expected_shapes(shape, len(vocabulary.pieces)).items():
        entry = directory.get(name)
        if entry is None:
            raise ModelError(f"{path.name} lacks tensor {name}.")
        flat = _read_tensor(data, entry, name, path)
        needed = int(np.prod(want))
        # The word and type tables may hold more rows than are used: the first ones count.
        if flat.size < needed or (flat.size > needed and name not in ("emb.word", "emb.type")):
            raise ModelError(f"Tensor {name} has {flat.size} values; expected {needed}.")
        tensors[name] = flat[:needed].reshape(want)
    weights = EncoderWeights(shape=shape, vocabulary=vocabulary, tensors=tensors)
    weights.check()
    return weights


def _read_header(cursor: _Cursor, path: Path) -> tuple[EncoderShape, int]:
    magic, version = bytes(cursor.take(4)), cursor.integers("<I")[0]
    if magic != MAGIC or version != 1:
        raise ModelError(
            f"{path.name} starts with {magic!r} version {version}; expected {MAGIC!r} version 1."
        )
    hidden, layers, heads, ff, rows, positions, _types = cursor.integers("<7i")
    epsilon = float(cursor.unpack("<f")[0])
    if (block := cursor.integers("<i")[0]) != BLOCK:
        raise ModelError(f"{path.name} uses blocks of {block} weights; expected {BLOCK}.")
    shape = EncoderShape(
        hidden=hidden, layers=layers, heads=heads, ff=ff, max_positions=positions, epsilon=epsilon
    )
    shape.check()
    return shape, rows


def _read_vocabulary(cursor: _Cursor) -> Vocabulary:
    count, bos, eos, pad, unk = cursor.integers("<5i")
    length = cursor.integers("<Q")[0]
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), dtype="<u4")
    scores = np.frombuffer(cursor.take(4 * count), dtype="<f4")
    blob = bytes(cursor.take(length))
    if np.any(np.diff(offsets.astype(np.int64)) < 0) or offsets[-1] != length:
        raise ModelError("The vocabulary's offsets do not match its text: the file is damaged.")
    if not all(0 <= special < count for special in (bos, eos, pad, unk)):
        raise ModelError(f"A special token lies outside the vocabulary of {count} pieces.")
    try:
        pieces = tuple(blob[offsets[i] : offsets[i + 1]].decode() for i in range(count))
    except UnicodeDecodeError as error:
        raise ModelError("A vocabulary piece is not UTF-8: the file is damaged.") from error
    return Vocabulary(pieces, tuple(float(s) for s in scores), bos, eos, pad, unk)


def _read_directory(cursor: _Cursor) -> dict[str, _Entry]:
    entries = {}
    for _ in range(cursor.integers("<i")[0]):
        name = bytes(cursor.take(cursor.integers("<H")[0])).decode("ascii", "replace")
        entries[name] = _Entry(*cursor.integers("<BIQQ"))
    return entries


def _read_tensor(data: memoryview, entry: _Entry, name: str, path: Path) -> FloatArray:
    if entry.offset + entry.size > len(data):
        raise ModelError(
            f"Tensor {name} ends at byte {entry.offset + entry.size} of {path.name}, which has "
            f"{len(data)}: the file is cut short. Install its package again."
        )
    part = data[entry.offset : entry.offset + entry.size]
    width = {_F32: 4 * entry.count, _Q4_0: entry.count // BLOCK * _BLOCK_TYPE.itemsize}
    if width.get(entry.dtype) != entry.size or (entry.dtype == _Q4_0 and entry.count % BLOCK):
        raise ModelError(
            f"Tensor {name} (type {entry.dtype}) has {entry.size} bytes for {entry.count} values."
        )
    if entry.dtype == _F32:
        return np.frombuffer(part, dtype="<f4").astype(np.float32)
    return dequantise_q4_0(np.frombuffer(part, dtype=_BLOCK_TYPE))


def dequantise_q4_0(blocks: np.ndarray) -> FloatArray:
    """Return the float32 values (32 * n,) of ``n`` Q4_0 blocks."""
    out = np.empty((len(blocks), BLOCK), dtype=np.float32)
    np.subtract(blocks["nibbles"] & 0x0F, 8, out=out[:, : BLOCK // 2], dtype=np.float32)
    np.subtract(blocks["nibbles"] >> 4, 8, out=out[:, BLOCK // 2 :], dtype=np.float32)
    out *= blocks["scale"].astype(np.float32)[:, None]
    return out.reshape(-1)
