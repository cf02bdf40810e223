"""How logits of token heads are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from training.tagging import IGNORED


@dataclass(frozen=True)
class TokenLabels:
    """Cross entropy over the tokens that have a label.

    Batches carry ``labels`` int64 (batch, tokens), ``IGNORED`` where there is none; ``weights``
    (labels,) count a label's tokens more or less.
    """

    weights: Tensor | None = None
    smoothing: float = 0.0

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        labels = batch["labels"]
        own = labels != IGNORED
        if not own.any():
            # Nothing to learn from; keep the graph, so that the step is a step of nothing.
            return logits.sum() * 0
        weights = None if self.weights is None else self.weights.to(logits.device)
        return nn.functional.cross_entropy(
            logits[own], labels[own], weight=weights, label_smoothing=self.smoothing
        )


class SpanEnds:
    """Cross entropy of the answer's first and last token, each over the tokens of its window.

    Batches carry ``starts`` and ``ends`` int64 (batch,), 0 for "not in this window", and ``lead``
    and ``count`` int64 (batch,): where the passage stands. Only its tokens and token 0 compete, as
    when it is served. Source: Devlin et al. 2019 (arXiv:1810.04805), section 4.3.
    """

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        places = torch.arange(logits.shape[1], device=logits.device)[None]
        lead, count = batch["lead"][:, None], batch["count"][:, None]
        allowed = ((places >= lead) & (places < lead + count)) | (places == 0)
        masked = logits.masked_fill(~allowed[..., None], -1e4)
        losses = [
            nn.functional.cross_entropy(masked[..., side], batch[name])
            for side, name in enumerate(("starts", "ends"))
        ]
        return (losses[0] + losses[1]) / 2
