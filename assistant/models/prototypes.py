"""Classify by the nearest prototype: one unit vector a label, nothing trained.

The prototypes of a label are examples of it (Snell et al. 2017, arXiv:1703.05175) or descriptions
of it (zero-shot). As the score is a dot product of unit vectors, they also are the weights of a
linear head (``HeadSpec.normalise``), so a new label can be served from a handful of examples at
once, and as a model of its own later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from assistant.errors import InvalidInputError
from indexes.types import FloatArray

SCALE = 50.0
"""Logits are ``SCALE`` times the cosine: cosines of sentence encoders differ by hundredths."""
_NOTHING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Prototypes:
    """Unit vectors, float32 (labels, hidden), by label."""

    labels: tuple[str, ...]
    vectors: FloatArray

    def logits(self, vectors: FloatArray) -> FloatArray:
        """Return float32 (rows, labels) for vectors (rows, hidden) of any length."""
        found: FloatArray = unit(vectors) @ self.weights.T
        return found

    def nearest(self, vectors: FloatArray) -> list[str]:
        """Return the label of the nearest prototype of each vector."""
        return [self.labels[place] for place in self.logits(vectors).argmax(axis=1)]

    @property
    def weights(self) -> FloatArray:
        """The weights of the linear head these are, float32 (labels, hidden); its bias is 0."""
        result: FloatArray = (self.vectors * np.float32(SCALE)).astype(np.float32)
        return result


def prototypes(examples: Mapping[str, FloatArray]) -> Prototypes:
    """Return the mean direction of each label's vectors, float (examples, hidden).

    Raises InvalidInputError for no labels, a label without examples, or vectors of several widths.
    """
    if not examples:
        raise InvalidInputError("There are no labels to make prototypes of; give at least one.")
    means = []
    for label, vectors in examples.items():
        if vectors.ndim != 2 or not len(vectors):
            raise InvalidInputError(f"Label {label!r} has no examples; give at least one vector.")
        means.append(unit(vectors).mean(axis=0))
    widths = {len(mean) for mean in means}
    if len(widths) > 1:
        raise InvalidInputError(
            f"The vectors have {len(widths)} widths ({sorted(widths)}); take one encoder for all."
        )
    return Prototypes(tuple(examples), unit(np.stack(means)))


def unit(vectors: FloatArray) -> FloatArray:
    """Return the rows at length 1, float32; a row of nothing stays nothing."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    result: FloatArray = (vectors / np.maximum(lengths, _NOTHING)).astype(np.float32)
    return result
