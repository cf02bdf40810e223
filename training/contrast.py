"""Contrastive training of an encoder: the model, its loss with in-batch negatives, its batches.

The loss is InfoNCE over the batch (van den Oord et al. 2018, arXiv:1807.03748; "multiple negatives
ranking" of Henderson et al. 2017, arXiv:1705.00652), with what is no negative masked. Batches that
do not fit into memory at once go through sentence-transformers' gradient cache (Gao et al. 2021,
arXiv:2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers.base.losses.gradcache import CachedLossMixin
from torch import Tensor, nn

from assistant.models.build.weights import EncoderWeights
from assistant.models.encoder import unit
from assistant.models.tokens import Tokenized
from indexes.types import FloatArray
from training.fitting import embed
from training.job import Job
from training.loop import Example
from training.modeling import TunedModel, mean, padded
from training.sections import Contrast, Train
from training.tuning import prompt_tokens

Texts = Mapping[str, Tensor]
"""A padded batch: ``input_ids`` and ``attention_mask``, int64 (texts, longest)."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A training example: tokenised texts, and the families that tell what is no negative."""

    query: Tokenized
    positive: Tokenized
    family: int
    negatives: tuple[Tokenized, ...] = ()
    negative_families: tuple[int, ...] = ()

    def example(self) -> Example:
        """Return it as a row of the training loop, grouped by the length of its longer text."""
        longer = max(self.query, self.positive, key=lambda item: len(item.tokens.ids))
        return {"input_ids": longer.tokens.ids, "pair": self}


class PairModel(TunedModel):
    """An encoder whose ``forward`` is the contrastive loss of a batch of pairs."""

    def __init__(
        self,
        weights: EncoderWeights,
        contrast: Contrast,
        *,
        dropout: float = 0.1,
        prompt_tokens: int = 0,
    ) -> None:
        super().__init__(weights, (), dropout=dropout, prompt_tokens=prompt_tokens)
        self.contrast = contrast

    @property
    def miner(self) -> TunedModel:
        """The model that hard negatives are looked for with."""
        return self

    def embed(self, texts: Texts) -> Tensor:
        """Return unit vectors float32 (texts, hidden)."""
        mask = texts["attention_mask"]
        hidden = self.hidden_states(texts["input_ids"], mask)
        return nn.functional.normalize(mean(hidden.float(), mask), dim=-1)

    def forward(  # type: ignore[override]
        self, queries: Texts, candidates: Texts, families: Tensor, candidate_families: Tensor
    ) -> dict[str, Tensor]:
        """Return the ``loss`` of a batch; candidate ``i`` is the positive of query ``i``."""
        judge = _Judge(self, self.contrast)
        loss = judge((queries, candidates), (families, candidate_families))
        return {"loss": loss}


def pair_model(job: Job) -> PairModel:
    """Return the job's base as it is before contrastive training, seeded."""
    torch.manual_seed(job.recipe.recipe.seed)
    return PairModel(
        job.base.weights,
        job.recipe.contrast,
        dropout=job.recipe.train.dropout,
        prompt_tokens=prompt_tokens(job.recipe.tuning),
    )


class _Judge(CachedLossMixin, nn.Module):  # type: ignore[misc]
    """InfoNCE, in one piece or through the gradient cache."""

    def __init__(self, model: PairModel, contrast: Contrast) -> None:
        super().__init__()
        self.contrast = contrast
        self.mini_batch_size = contrast.chunk
        autocast = _autocast_as_now(next(model.parameters()).device.type)

        def embedded(texts: Texts) -> dict[str, Tensor]:
            # The cache encodes again while gradients flow back, outside the Trainer's autocast.
            with autocast():
                return {"sentence_embedding": model.embed(texts)}

        # A function, not the module: the loss must not own the model that calls it.
        self.model = embedded

    def forward(self, texts: tuple[Texts, Texts], families: tuple[Tensor, Tensor]) -> Tensor:
        if len(texts[0]["input_ids"]) > self.contrast.chunk:
            features = [dict(part) for part in texts]
            # The cache hands its labels on as they are; here they are the families.
            cached: Tensor = self.forward_cached(features, families)  # type: ignore[arg-type]
            return cached
        vectors = [self.model(part)["sentence_embedding"] for part in texts]
        return info_nce(vectors[0], vectors[1], families, self.contrast)

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False
    ) -> Tensor:
        queries, candidates = (torch.cat(parts) for parts in reps)
        loss = info_nce(queries, candidates, labels, self.contrast)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            return loss.detach()
        return loss


def info_nce(
    queries: Tensor, candidates: Tensor, families: tuple[Tensor, Tensor], contrast: Contrast
) -> Tensor:
    """Return the mean loss of unit ``queries`` (n, dim) against ``candidates`` (n + k, dim).

    Candidate ``i`` is the positive of query ``i``, all others are negatives, but for those of the
    query's own family (``families``: of queries (n,), of candidates (n + k,)). ``symmetric`` adds
    the other direction: each positive finds its query.
    """
    count = len(queries)
    own = torch.eye(count, len(candidates), dtype=torch.bool, device=queries.device)
    same = (families[0][:, None] == families[1][None]) & ~own
    scores = (queries @ candidates.T / contrast.temperature).masked_fill(same, -torch.inf)
    targets = torch.arange(count, device=queries.device)
    loss = nn.functional.cross_entropy(scores, targets)
    if contrast.symmetric:
        loss = (loss + nn.functional.cross_entropy(scores[:, :count].T, targets)) / 2
    return loss


def collate(pad: int) -> Callable[[list[Example]], dict[str, Any]]:
    """Return what makes a batch of pairs; negatives stand behind all positives."""

    def batch(rows: list[Example]) -> dict[str, Any]:
        pairs: list[Pair] = [row["pair"] for row in rows]
        candidates = [pair.positive for pair in pairs]
        families = [pair.family for pair in pairs]
        candidate_families = list(families)
        for pair in pairs:
            candidates += pair.negatives
            candidate_families += pair.negative_families
        return {
            "queries": texts_batch([pair.query for pair in pairs], pad),
            "candidates": texts_batch(candidates, pad),
            "families": torch.tensor(families),
            "candidate_families": torch.tensor(candidate_families),
        }

    return batch


def texts_batch(items: Sequence[Tokenized], pad: int) -> dict[str, Tensor]:
    """Return the items padded to the longest."""
    ids, mask = padded(items, pad)
    return {"input_ids": ids, "attention_mask": mask}


def encode(model: TunedModel, items: Sequence[Tokenized], pad: int, train: Train) -> FloatArray:
    """Return unit vectors float32 (items, hidden), in the precision of training."""
    return unit(embed(model, items, "mean", pad, train))


def _autocast_as_now(device: str) -> Callable[[], AbstractContextManager[Any]]:
    enabled = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device)
    return lambda: torch.autocast(device, dtype, enabled=enabled)
