"""What a fine-tuned model puts on top of its encoder: one or several heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from assistant.errors import ModelError

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Inputs and outputs of the graph that every model has.
_RESERVED = ("input_ids", "pool", "lengths", "pooled", "prompt")
MAX_LABELS = 10_000


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One head: how its logits are made and what they mean.

    A ``sequence`` head gives one row of logits a text, float32 (labels,), from its pooled vector; a
    ``token`` head one row a token, float32 (tokens, labels). ``softmax``: the labels exclude each
    other; ``sigmoid``: each stands for itself (multi-label, or the one logit of a pair model).

    ``normalise`` scales the pooled vector to unit length first, which makes prototypes, label
    descriptions and logistic regression on sentence vectors linear heads like any other.
    ``temperature`` divides the logits (Guo et al. 2017, arXiv:1706.04599). ``threshold`` in [0, 1]:
    for ``sigmoid`` a label holds from this probability on; for ``softmax`` a best probability below
    it becomes ``reject_label``, unless that is empty.
    """

    name: str
    kind: Literal["sequence", "token"]
    labels: tuple[str, ...]
    activation: Literal["softmax", "sigmoid"] = "softmax"
    pooling: Literal["mean", "first"] = "mean"
    normalise: bool = False
    temperature: float = 1.0
    threshold: float = 0.5
    reject_label: str = ""

    def check(self) -> None:
        """Raise ModelError when the values cannot belong to a working head."""
        if not _NAME.fullmatch(self.name):
            raise ModelError(
                f"Head name {self.name!r} is refused: 1 to 40 of a-z, 0-9 and _, a letter first."
            )
        if self.name in _RESERVED:
            raise ModelError(
                f"Head name {self.name!r} is refused: the graph has an input or output of that "
                f"name; any but {', '.join(_RESERVED)} will do."
            )
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ModelError(
                    f"Head {self.name}: {name} is {getattr(self, name)!r}; one of "
                    f"{', '.join(allowed)} is expected."
                )
        if not 1 <= len(self.labels) <= MAX_LABELS or len(set(self.labels)) != len(self.labels):
            raise ModelError(
                f"Head {self.name} has {len(self.labels)} labels ({len(set(self.labels))} "
                f"distinct); 1 to {MAX_LABELS} distinct ones are allowed."
            )
        if not (self.temperature > 0 and 0 <= self.threshold <= 1):
            raise ModelError(
                f"Head {self.name}: temperature {self.temperature} must be above 0 and threshold "
                f"{self.threshold} within 0..1."
            )


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": ("sequence", "token"),
    "activation": ("softmax", "sigmoid"),
    "pooling": ("mean", "first"),
}


def head_from_json(data: Any) -> HeadSpec:
    """Return the head that ``dataclasses.asdict`` and JSON made ``data`` of; ModelError if none."""
    known = {f.name for f in fields(HeadSpec)}
    try:
        values = {key: value for key, value in dict(data).items() if key in known}
        head = HeadSpec(**{**values, "labels": tuple(str(label) for label in values["labels"])})
        head.check()
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"A head is described wrongly ({error}).") from error
    return head


def head_to_json(head: HeadSpec) -> dict[str, Any]:
    """Return ``head`` as JSON values."""
    return asdict(head)
