"""Dropout at the speed of the processor.

PyTorch draws dropout masks on a CPU one element after the other: with attention's masks that is
two fifths of a training step. Here masks come from random bytes, eight at a draw, and attention is
computed in the plain way, whose backward pass is faster on a CPU than the fused one's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

ATTENTION = "training_on_cpu"
_LEVELS = 256


def dropped(x: Tensor, p: float) -> Tensor:
    """Return ``x`` with a share ``p`` of its elements zero and the rest scaled to keep the mean.

    On a CPU ``p`` is rounded to 1/256; masks are seeded from torch's generator, so that a seed or a
    saved state of it gives the same masks again.
    """
    if p <= 0:
        return x
    levels = round(p * _LEVELS)
    if x.device.type != "cpu" or not 0 < levels < _LEVELS:
        return nn.functional.dropout(x, p, training=True)
    result: Tensor = _Dropped.apply(x, levels)  # type: ignore[no-untyped-call]
    return result


class Dropout(nn.Module):
    """``nn.Dropout`` by way of ``dropped``."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, in training with a share of it dropped."""
        return dropped(x, self.p) if self.training else x


def quicken(model: nn.Module) -> None:
    """Replace the dropout of a model that trains on a CPU, in place; what it computes in evaluation
    mode stays the same."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
        config: Any = getattr(module, "config", None)
        if getattr(config, "model_type", "") == "bert":
            config._attn_implementation = ATTENTION


class _Dropped(torch.autograd.Function):
    """x (any shape) times a mask of 0 and 1 / (1 - p)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, levels: int) -> Tensor:  # type: ignore[override]
        mask = _mask(x, levels)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return gradient * mask, None


def _mask(x: Tensor, levels: int) -> Tensor:
    count = x.numel()
    seed = int(torch.randint(2**62, (1,)).item())
    drawn = np.random.SFC64(seed).random_raw((count + 7) // 8).view(np.uint8)[:count]
    # Every byte is a whole number that bfloat16 holds exactly.
    mask = torch.from_numpy(drawn).view(x.shape).to(x.dtype)
    return mask.ge_(levels).mul_(_LEVELS / (_LEVELS - levels))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Return (batch, tokens, heads, width) of queries (batch, heads, tokens, width) and the like.

    The mask is added to the scores, (batch, 1, tokens, tokens) or one that broadcasts to it.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.matmul(query * scale, key.transpose(2, 3))
    if attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    # autocast would widen the weights to float32, to narrow them again for the product.
    weights = torch.softmax(scores, -1, dtype=scores.dtype)
    if module.training and dropout:
        weights = dropped(weights, dropout)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, eager_mask)
