"""How logits of classification heads are judged.

A batch may carry ``teacher``: logits of an earlier or larger model for the same rows, over the
first labels. Staying near them is how a student learns (Hinton et al. 2015, arXiv:1503.02531) and
how an update does not forget (Li & Hoiem 2016, arXiv:1606.09282).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Teaching:
    """Weight of the teacher's answers in [0, 1] beside the labels, and their temperature."""

    weight: float = 0.0
    temperature: float = 2.0


@dataclass(frozen=True)
class SingleLabel:
    """Cross entropy over labels that exclude each other. Batches carry ``labels`` int64 (batch,).

    ``weights`` (labels,) count a label's rows more or less.
    """

    weights: Tensor | None = None
    smoothing: float = 0.0
    teaching: Teaching = Teaching()

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        weights = None if self.weights is None else self.weights.to(logits.device)
        own = nn.functional.cross_entropy(
            logits, batch["labels"], weight=weights, label_smoothing=self.smoothing
        )
        return taught(own, logits, batch, self.teaching)


@dataclass(frozen=True)
class MultiLabel:
    """Binary cross entropy for each label. Batches carry ``labels`` float (batch, labels)."""

    weights: Tensor | None = None
    teaching: Teaching = Teaching()

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        weights = None if self.weights is None else self.weights.to(logits.device)
        own = nn.functional.binary_cross_entropy_with_logits(
            logits, batch["labels"].to(logits.dtype), pos_weight=weights
        )
        teacher = batch.get("teacher")
        if teacher is None or not self.teaching.weight:
            return own
        soft = nn.functional.binary_cross_entropy_with_logits(
            logits[:, : teacher.shape[-1]], teacher.to(logits.dtype).sigmoid()
        )
        return (1 - self.teaching.weight) * own + self.teaching.weight * soft


def taught(own: Tensor, logits: Tensor, batch: Mapping[str, Any], teaching: Teaching) -> Tensor:
    """Return the loss ``own`` mixed with the distance to the teacher's distribution."""
    teacher = batch.get("teacher")
    if teacher is None or not teaching.weight:
        return own
    heat = teaching.temperature
    soft = nn.functional.kl_div(
        nn.functional.log_softmax(logits[..., : teacher.shape[-1]] / heat, dim=-1),
        nn.functional.log_softmax(teacher.to(logits.dtype) / heat, dim=-1),
        log_target=True,
        reduction="batchmean",
    )
    return (1 - teaching.weight) * own + teaching.weight * heat**2 * soft


def balanced(counts: Sequence[int]) -> Tensor:
    """Return weights that give every label the same say, mean 1 over the rows (King & Zeng 2001).

    A label without rows gets weight 0.
    """
    found = torch.tensor(counts, dtype=torch.float32)
    total, present = found.sum(), (found > 0).sum()
    return torch.where(found > 0, total / (present * found.clamp(min=1)), torch.zeros(()))
