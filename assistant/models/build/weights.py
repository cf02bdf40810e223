"""What every weights source yields: the tensors and vocabulary of one BERT-style encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assistant.errors import ModelError
from indexes.types import FloatArray

LAYER_MATRICES = ("q", "k", "v", "ao", "fi", "fo")
PROMPT = "prompt"
"""Name of the vectors (tokens, hidden) that prompt tuning puts before the words."""


@dataclass(frozen=True, slots=True)
class EncoderShape:
    """Dimensions of a post-norm BERT encoder. ``ff`` is the width of the feed-forward layer."""

    hidden: int
    layers: int
    heads: int
    ff: int
    max_positions: int
    epsilon: float

    @property
    def head_size(self) -> int:
        return self.hidden // self.heads

    def check(self) -> None:
        """Raise ModelError when the dimensions cannot belong to a real encoder."""
        limits = {
            "hidden": (self.hidden, 8192),
            "layers": (self.layers, 128),
            "heads": (self.heads, 128),
            "ff": (self.ff, 65536),
            "max_positions": (self.max_positions, 65536),
        }
        for name, (value, limit) in limits.items():
            if not 1 <= value <= limit:
                raise ModelError(f"Encoder {name} is {value}; it must lie in 1..{limit}.")
        if self.hidden % self.heads:
            raise ModelError(
                f"Hidden size {self.hidden} is not a multiple of the {self.heads} attention heads."
            )


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A SentencePiece unigram vocabulary: ``pieces[i]`` has log probability ``scores[i]``."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """Weights by canonical name, float32, matrices as (out, in).

    Names: ``emb.word`` (vocabulary, hidden), ``emb.pos`` (max_positions, hidden), ``emb.type``
    (hidden,) for the only token type used, ``emb.ln.w/b``; per layer ``l{i}.{q,k,v,ao,fi,fo}.w/b``
    and the layer norms after attention and feed-forward, ``l{i}.{aln,oln}.w/b``. A fine-tuned model
    may add ``prompt`` and, for each head, ``head.NAME.out.w`` (labels, hidden), ``head.NAME.out.b``
    and, with a layer between, ``head.NAME.dense.w/b`` (hidden, hidden).
    """

    shape: EncoderShape
    vocabulary: Vocabulary
    tensors: Mapping[str, FloatArray]

    def check(self) -> None:
        """Raise ModelError when a tensor is missing, misshapen or not finite."""
        self.shape.check()
        for name, want in expected_shapes(self.shape, len(self.vocabulary.pieces)).items():
            tensor = self.tensors.get(name)
            if tensor is None:
                raise ModelError(f"The weights lack tensor {name}.")
            if tensor.shape != want:
                raise ModelError(f"Tensor {name} has shape {tensor.shape}; expected {want}.")


def expected_shapes(shape: EncoderShape, vocabulary: int) -> dict[str, tuple[int, ...]]:
    """Return the shape every canonical tensor must have."""
    hidden, ff = shape.hidden, shape.ff
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (shape.max_positions, hidden),
        "emb.type": (hidden,),
        "emb.ln.w": (hidden,),
        "emb.ln.b": (hidden,),
    }
    for layer in range(shape.layers):
        for name in ("q", "k", "v", "ao"):
            shapes[f"l{layer}.{name}.w"] = (hidden, hidden)
        shapes[f"l{layer}.fi.w"] = (ff, hidden)
        shapes[f"l{layer}.fo.w"] = (hidden, ff)
        for name in LAYER_MATRICES:
            shapes[f"l{layer}.{name}.b"] = (ff if name == "fi" else hidden,)
        for name in ("aln", "oln"):
            shapes[f"l{layer}.{name}.w"] = (hidden,)
            shapes[f"l{layer}.{name}.b"] = (hidden,)
    return shapes
