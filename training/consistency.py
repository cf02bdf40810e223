"""R-Drop: a row is read twice in a step, and both readings shall say the same.

Dropout makes two models of one; training them to agree is a regulariser that is worth most where
rows are few (Liang et al. 2021, arXiv:2106.14448). A step takes twice the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from assistant.models.heads import HeadSpec


def doubled(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the batch with every row a second time, after all the first ones."""
    return {
        name: torch.cat([value, value]) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def disagreement(logits: Tensor, mask: Tensor, spec: HeadSpec) -> Tensor:
    """Return how far both halves of a doubled batch are apart: the mean of the two divergences
    (Kullback-Leibler), over the texts, of a token head over the tokens that ``mask`` has.

    ``logits`` are (2 * batch, labels), or (2 * batch, tokens, labels) of a token head.
    """
    first, second = logits.float().chunk(2)
    if spec.activation == "sigmoid":
        each = ((first.sigmoid() - second.sigmoid()) * (first - second)).mean(-1)
    else:
        one, other = (nn.functional.log_softmax(half, dim=-1) for half in (first, second))
        each = ((one.exp() - other.exp()) * (one - other)).sum(-1)
    if spec.kind == "token":
        each = each[mask.chunk(2)[0].bool()]
    return each.mean() / 2
