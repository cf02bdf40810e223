"""The model that training changes: BERT, perhaps a prompt before it, heads on top.

It computes what the ONNX graph computes (``assistant.models.build.graph``); the parity gate of the
export compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from assistant.models.build.weights import PROMPT, EncoderWeights
from assistant.models.heads import HeadSpec
from assistant.models.session import Outputs
from assistant.models.tokens import Tokenized
from training.bert import torch_model
from training.consistency import disagreement, doubled

Loss: TypeAlias = Callable[[Tensor, Mapping[str, Any]], Tensor]
"""Logits and the batch they belong to -> a scalar."""


class HeadModule(nn.Module):
    """The layers of one head: dropout, perhaps a dense layer with tanh, the output layer."""

    def __init__(self, spec: HeadSpec, hidden: int, *, dense: bool, dropout: float) -> None:
        super().__init__()
        self.spec = spec
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(hidden, hidden) if dense else None
        self.out = nn.Linear(hidden, len(spec.labels))
        for layer in (self.dense, self.out):
            if layer is not None:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (..., labels) of vectors (..., hidden)."""
        if self.spec.normalise:
            x = nn.functional.normalize(x, dim=-1, eps=1e-6)
        x = self.dropout(x)
        if self.dense is not None:
            x = self.dropout(torch.tanh(self.dense(x)))
        result: Tensor = self.out(x)
        return result


class TunedModel(nn.Module):
    """An encoder with heads. ``losses`` says by head name how its logits are judged."""

    accepts_loss_kwargs = False
    """Tells the Trainer that losses are means over a batch, to be averaged when accumulated."""

    def __init__(
        self,
        weights: EncoderWeights,
        heads: Sequence[HeadSpec],
        *,
        losses: Mapping[str, Loss] | None = None,
        dense: bool = True,
        dropout: float = 0.1,
        prompt_tokens: int = 0,
        consistency: float = 0.0,
    ) -> None:
        """Start from ``weights``; heads of the same name and labels among them are taken over.

        ``consistency`` weighs the agreement of two readings of a row (``training.consistency``).
        """
        super().__init__()
        self.consistency = consistency
        self.encoder: Any = torch_model(weights, dropout=dropout)
        self.losses = dict(losses or {})
        self.heads = nn.ModuleDict(
            {
                head.name: HeadModule(
                    head, weights.shape.hidden, dense=_dense(weights, head, dense), dropout=dropout
                )
                for head in heads
            }
        )
        self.prompt: nn.Parameter | None = None
        if PROMPT in weights.tensors or prompt_tokens:
            self.prompt = nn.Parameter(_first_prompt(weights, prompt_tokens))
        for head in heads:
            self._take_over(head, weights)

    @property
    def specs(self) -> tuple[HeadSpec, ...]:
        return tuple(module.spec for module in self.heads.values())  # type: ignore[misc]

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last layer's vectors (batch, tokens, hidden), without the prompt's."""
        found: Tensor = self._run(input_ids, attention_mask).last_hidden_state
        return found if self.prompt is None else found[:, len(self.prompt) :]

    def layer_states(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        """Return every layer's vectors, first layer first, each (batch, tokens, hidden)."""
        found = self._run(input_ids, attention_mask, output_hidden_states=True).hidden_states[1:]
        skipped = 0 if self.prompt is None else len(self.prompt)
        return tuple(states[:, skipped:] for states in found)

    def _run(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """Run the encoder, the prompt's vectors before the words."""
        if self.prompt is None:
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask, **options)
        batch, count = len(input_ids), len(self.prompt)
        words = self.encoder.embeddings.word_embeddings(input_ids)
        prompt = self.prompt[None].expand(batch, -1, -1).to(words.dtype)
        mask = torch.cat([attention_mask.new_ones(batch, count), attention_mask], dim=1)
        vectors = torch.cat([prompt, words], dim=1)
        return self.encoder(inputs_embeds=vectors, attention_mask=mask, **options)

    def logits(self, hidden: Tensor, attention_mask: Tensor, head: str) -> Tensor:
        """Return a head's logits: (batch, labels), or (batch, tokens, labels) of a token head."""
        module: Any = self.heads[head]
        if module.spec.kind == "token":
            return module(hidden)  # type: ignore[no-any-return]
        pooled = mean(hidden, attention_mask) if module.spec.pooling == "mean" else hidden[:, 0]
        return module(pooled)  # type: ignore[no-any-return]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, head: str = "", **batch: Any
    ) -> dict[str, Tensor]:
        """Return ``loss`` and ``logits`` of one head; without a name, of the only one."""
        name = head or next(iter(self.heads))
        whole = {**batch, "input_ids": input_ids, "attention_mask": attention_mask}
        twice = self.training and self.consistency > 0
        if twice:
            whole = doubled(whole)
        mask = whole["attention_mask"]
        hidden = self.hidden_states(whole["input_ids"], mask)
        logits = self.logits(hidden, mask, name)
        loss = self.losses[name](logits.float(), {**whole, "hidden": hidden})
        if twice:
            spec: Any = self.heads[name].spec
            loss = loss + self.consistency * disagreement(logits, mask, spec)
        return {"loss": loss, "logits": logits[: len(input_ids)]}

    def _take_over(self, head: HeadSpec, weights: EncoderWeights) -> None:
        """Copy an earlier head of this name; its labels are the first of the new ones."""
        module: Any = self.heads[head.name]
        for part in ("dense", "out"):
            layer = getattr(module, part)
            old = weights.tensors.get(f"head.{head.name}.{part}.w")
            if layer is not None and old is not None and len(old) <= len(layer.weight):
                bias = weights.tensors[f"head.{head.name}.{part}.b"]
                layer.weight.data[: len(old)] = torch.from_numpy(old.copy())
                layer.bias.data[: len(old)] = torch.from_numpy(bias.copy())


def mean(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """Return the mean of each row's vectors that are not padding, (batch, hidden)."""
    mask = attention_mask[..., None].to(hidden.dtype)
    return (hidden * mask).sum(1) / mask.sum(1)


def padded(items: Sequence[Tokenized], pad: int) -> tuple[Tensor, Tensor]:
    """Return ids and mask, int64 (batch, longest)."""
    longest = max(len(item.tokens.ids) for item in items)
    ids = np.full((len(items), longest), pad, dtype=np.int64)
    mask = np.zeros((len(items), longest), dtype=np.int64)
    for row, item in enumerate(items):
        ids[row, : len(item.tokens.ids)] = item.tokens.ids
        mask[row, : len(item.tokens.ids)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


@torch.inference_mode()
def outputs(model: TunedModel, items: Sequence[Tokenized], pad: int) -> list[Outputs]:
    """Run one padded batch in fp32 and return what the ONNX graph gives for each text."""
    was_training = model.training
    model.eval()
    ids, mask = padded(items, pad)
    device = next(model.parameters()).device
    ids, mask = ids.to(device), mask.to(device)
    hidden = model.hidden_states(ids, mask)
    first = any(spec.kind == "sequence" and spec.pooling == "first" for spec in model.specs)
    found: dict[str, Tensor] = {"pooled": hidden[:, :1] if first else mean(hidden, mask)[:, None]}
    for spec in model.specs:
        logits = model.logits(hidden, mask, spec.name)
        found[spec.name] = logits if spec.kind == "token" else logits[:, None]
    model.train(was_training)
    arrays = {name: value.float().cpu().numpy() for name, value in found.items()}
    tokens = {spec.name for spec in model.specs if spec.kind == "token"}
    return [
        {
            name: values[row, : len(item.tokens.ids)] if name in tokens else values[row]
            for name, values in arrays.items()
        }
        for row, item in enumerate(items)
    ]


def _dense(weights: EncoderWeights, head: HeadSpec, wanted: bool) -> bool:
    """A head taken over keeps its shape."""
    known = f"head.{head.name}.out.w" in weights.tensors
    return f"head.{head.name}.dense.w" in weights.tensors if known else wanted


def _first_prompt(weights: EncoderWeights, count: int) -> Tensor:
    """Return the parent's prompt, or word vectors drawn at random (Lester et al. 2021, §3.2)."""
    if PROMPT in weights.tensors:
        return torch.from_numpy(weights.tensors[PROMPT].copy())
    table = weights.tensors["emb.word"]
    places = torch.randint(len(table), (count,)).numpy()
    return torch.from_numpy(table[places].copy())
