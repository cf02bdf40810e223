"""Classify texts: intent, sentiment, topic, risk; one label or several, with probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assistant.models.headed import HeadedModel, Served
from assistant.models.heads import HeadSpec
from assistant.models.plain import plain_text
from assistant.models.session import Outputs
from assistant.models.tokens import probabilities
from indexes.types import FloatArray

_PURPOSE = "classify texts"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a text is taken for.

    ``probability`` in [0, 1] belongs to ``label``. Where the best label stays below the head's
    threshold, ``label`` is the head's ``reject_label`` (empty for a multi-label head without one)
    and ``probability`` that the best label is wrong, 1 - its own. ``probabilities`` has all labels
    in the head's order; they sum to 1 unless the head is multi-label. ``labels`` are those that
    hold, most probable first: of a multi-label head all that reach the threshold, perhaps none;
    of any other head just ``label``.
    """

    label: str
    probability: float
    probabilities: Mapping[str, float]
    labels: tuple[str, ...]


class Classifier(Served):
    """Classifies texts with one head of a model, or with all of its sequence heads at once.

    Thread-safe. A text longer than the model's ``max_tokens`` is judged by its beginning, as in
    training.
    """

    def __init__(self, model: HeadedModel, head: str | None = None) -> None:
        """Take the head of this name, or the only one. Raises ModelError when there is none."""
        super().__init__(model, model.head(head, "sequence", _PURPOSE))

    def classify(self, texts: Sequence[str]) -> list[Prediction]:
        """Return a prediction for each text. A few texts may raise BusyError (see HeadedModel)."""
        return predictions(self.head, self._outputs(texts))

    def classify_heads(self, texts: Sequence[str]) -> dict[str, list[Prediction]]:
        """Return for every sequence head a prediction for each text, from one pass."""
        outputs = self._outputs(texts)
        heads = [head for head in self.manifest.heads if head.kind == "sequence"]
        return {head.name: predictions(head, outputs) for head in heads}

    def _outputs(self, texts: Sequence[str]) -> list[Outputs]:
        plain = [plain_text(text) for text in texts]
        return self.model.run([item.tokens for item in self.model.tokenizer.texts(plain)])


def predictions(head: HeadSpec, outputs: Sequence[Outputs]) -> list[Prediction]:
    """Return what a sequence head says of each text."""
    if not outputs:
        return []
    rows = probabilities(head, np.stack([values[head.name][0] for values in outputs]))
    return [_prediction(head, row) for row in rows]


def _prediction(head: HeadSpec, row: FloatArray) -> Prediction:
    shares = row.tolist()
    best = int(row.argmax())
    all_labels = dict(zip(head.labels, shares, strict=True))
    if head.activation == "sigmoid":
        order = np.argsort(-row, kind="stable").tolist()
        labels = tuple(head.labels[i] for i in order if shares[i] >= head.threshold)
        if labels:
            return Prediction(labels[0], shares[best], all_labels, labels)
        return Prediction(head.reject_label, 1 - shares[best], all_labels, ())
    if head.reject_label and shares[best] < head.threshold:
        rejected = head.reject_label
        return Prediction(rejected, 1 - shares[best], all_labels, (rejected,))
    return Prediction(head.labels[best], shares[best], all_labels, (head.labels[best],))
