"""Distillation: a teacher's layers, fewer of them, taught to answer as the teacher does.

The student starts as evenly chosen layers of the teacher and learns its soft targets (Hinton et al.
2015, arXiv:1503.02531), its hidden states (Sanh et al. 2019, arXiv:1910.01108; here relative to
their size, so that the weight means the same for every base) and, as far as ``distil.alpha`` leaves
room, the labels. Any encoder, classifier or reranker recipe is distilled when it names a teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from assistant.errors import InvalidInputError
from assistant.models.build.tuned import TunedWeights, keep_layers
from assistant.models.build.weights import EncoderWeights
from assistant.models.heads import HeadSpec
from training.base import Base, load_base
from training.contrast import PairModel, Texts, info_nce
from training.job import Job
from training.modeling import Loss, TunedModel, mean
from training.sections import Base as BaseSection
from training.sections import Distil
from training.tuning import prompt_tokens

_TASKS = ("encoder", "classifier", "reranker")


def student_job(job: Job) -> Job:
    """Return the job with the student as its base: layers of the teacher ``distil`` names.

    What training then changes is saved relative to the teacher's original base. Raises
    InvalidInputError for a task that cannot be distilled, a teacher that has no layer to spare or
    one that stands on another base.
    """
    recipe = job.recipe
    if recipe.recipe.task not in _TASKS:
        raise InvalidInputError(
            f"distil.teacher is set, but a {recipe.recipe.task} cannot be distilled; tasks that "
            f"can: {', '.join(_TASKS)}."
        )
    teacher = load_teacher(job)
    if teacher.original.sha256 != job.base.original.sha256:
        raise InvalidInputError(
            f"The teacher {teacher.name} stands on base {teacher.original.name}, but base.model is "
            f"{job.base.name}: set base.model to {teacher.original.name}."
        )
    return replace(job, base=student_base(teacher, recipe.distil.layers))


def load_teacher(job: Job) -> Base:
    """Return the recipe's teacher: a version of the registry, or a base as it is."""
    section = BaseSection(model=job.recipe.distil.teacher, licence=job.recipe.base.licence)
    return load_base(section, job.settings)


def student_base(teacher: Base, layers: int) -> Base:
    """Return evenly chosen layers of the teacher as a base to train from.

    Its ``parent`` holds what differs from the same layers of the original base.
    """
    kept = even_layers(teacher.weights.shape.layers, layers)
    start = keep_layers(teacher.weights, kept)
    known = teacher.parent.layers if teacher.parent is not None else ()
    first = tuple(known[layer] for layer in kept) if known else kept
    parent = TunedWeights(
        name=teacher.parent.name if teacher.parent is not None else teacher.original.name,
        task=teacher.parent.task if teacher.parent is not None else "encoder",
        base=teacher.original.name,
        base_sha256=teacher.original.sha256,
        max_tokens=start.shape.max_positions,
        query_prefix=teacher.original.query_prefix,
        passage_prefix=teacher.original.passage_prefix,
        licence=teacher.original.licence,
        heads=teacher.parent.heads if teacher.parent is not None else (),
        tensors=_differing(start, keep_layers(teacher.original.weights, first)),
        layers=first,
        characters=teacher.characters,
    )
    return Base(teacher.original, start, parent, teacher.reference, teacher.characters)


def even_layers(count: int, wanted: int) -> tuple[int, ...]:
    """Return ``wanted`` of ``count`` layers, evenly spaced, the last one among them."""
    if not wanted < count:
        raise InvalidInputError(
            f"distil.layers is {wanted}; the teacher has {count}, so at most {count - 1} make a "
            "smaller student."
        )
    return tuple(round((i + 1) * count / wanted) - 1 for i in range(wanted))


class Teacher:
    """The frozen teacher, run beside the student. Its ``states`` are those the student imitates."""

    def __init__(self, base: Base, layers: int) -> None:
        heads = base.parent.heads if base.parent is not None else ()
        self.heads = {head.name: head for head in heads}
        self.kept = even_layers(base.weights.shape.layers, layers)
        # No part of the student's module tree: it is neither trained nor saved with it.
        self.model = TunedModel(base.weights, heads, dropout=0.0).eval()
        self.model.requires_grad_(False)

    @torch.no_grad()
    def states(self, texts: Texts) -> tuple[Tensor, ...]:
        """Return the vectors after each kept layer, (batch, tokens, hidden)."""
        ids = texts["input_ids"]
        self.model.to(ids.device)
        found = self.model.layer_states(ids, texts["attention_mask"])
        return tuple(found[layer] for layer in self.kept)

    @torch.no_grad()
    def logits(self, states: Sequence[Tensor], mask: Tensor, head: str) -> Tensor:
        """Return the teacher's logits of a head, from its states."""
        return self.model.logits(states[-1], mask, head).float()

    def check(self, heads: Sequence[HeadSpec]) -> None:
        """Raise InvalidInputError when the teacher cannot judge these heads."""
        for head in heads:
            own = self.heads.get(head.name)
            if own is None or head.labels[: len(own.labels)] != own.labels:
                raise InvalidInputError(
                    f"The teacher has no head {head.name!r} with these labels; its heads: "
                    f"{', '.join(self.heads) or 'none'}. Name it as the teacher's recipe does."
                )


class HeadStudent(TunedModel):
    """A classifier or reranker that learns from a teacher as well as from labels."""

    def __init__(
        self,
        weights: EncoderWeights,
        heads: Sequence[HeadSpec],
        teacher: Teacher,
        distil: Distil,
        **options: Any,
    ) -> None:
        super().__init__(weights, heads, **options)
        teacher.check(heads)
        self._taught_by = (teacher, distil)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, head: str = "", **batch: Any
    ) -> dict[str, Tensor]:
        """Return ``loss`` and ``logits``."""
        teacher, distil = self._taught_by
        name = head or next(iter(self.heads))
        texts = {"input_ids": input_ids, "attention_mask": attention_mask}
        states, theirs = self.layer_states(**texts), teacher.states(texts)
        logits = self.logits(states[-1], attention_mask, name)
        whole = {**batch, "attention_mask": attention_mask, "hidden": states[-1]}
        wanted = teacher.logits(theirs, attention_mask, name)
        loss = (1 - distil.alpha) * self.losses[name](logits.float(), whole)
        known = logits.float()[..., : wanted.shape[-1]]
        if teacher.heads[name].activation == "sigmoid":
            soft = nn.functional.mse_loss(known, wanted)
        else:
            soft = soft_targets(known, wanted, distil.temperature)
        loss = loss + distil.alpha * soft
        loss = loss + distil.hidden * state_distance(states, theirs, attention_mask)
        return {"loss": loss, "logits": logits}


class PairStudent(PairModel):
    """An encoder that learns where its teacher puts texts; pairs tell it only which texts."""

    def __init__(
        self, weights: EncoderWeights, teacher: Teacher, distil: Distil, *args: Any, **options: Any
    ) -> None:
        super().__init__(weights, *args, **options)
        self._taught_by = (teacher, distil)

    @property
    def miner(self) -> TunedModel:
        """The teacher: layers taken out of it find nothing before they are trained."""
        return self._taught_by[0].model

    def forward(  # type: ignore[override]
        self, queries: Texts, candidates: Texts, families: Tensor, candidate_families: Tensor
    ) -> dict[str, Tensor]:
        """Return the ``loss`` of a batch."""
        teacher, distil = self._taught_by
        vectors, wanted, distance = [], [], []
        for texts in (queries, candidates):
            mask = texts["attention_mask"]
            states = self.layer_states(texts["input_ids"], mask)
            theirs = teacher.states(texts)
            vectors.append(_pooled(states[-1], mask))
            wanted.append(_pooled(theirs[-1], mask))
            distance.append(state_distance(states, theirs, mask))
        own = info_nce(vectors[0], vectors[1], (families, candidate_families), self.contrast)
        given, right = torch.cat(vectors), torch.cat(wanted)
        near = 1 - (given * right).sum(-1).mean()
        heat = self.contrast.temperature
        like = soft_targets(_others(given) / heat, _others(right) / heat, distil.temperature)
        soft = distil.alpha * (near + like) + distil.hidden * torch.stack(distance).mean()
        return {"loss": (1 - distil.alpha) * own + soft}


def head_student(
    job: Job, heads: Sequence[HeadSpec], losses: Mapping[str, Loss], *, dense: bool
) -> HeadStudent:
    """Return the student of a classifier or reranker recipe, seeded; nothing is frozen yet."""
    recipe = job.recipe
    torch.manual_seed(recipe.recipe.seed)
    return HeadStudent(
        job.base.weights,
        heads,
        Teacher(load_teacher(job), recipe.distil.layers),
        recipe.distil,
        losses=losses,
        dense=dense,
        dropout=recipe.train.dropout,
        prompt_tokens=prompt_tokens(recipe.tuning),
    )


def pair_student(job: Job) -> PairStudent:
    """Return the student of an encoder recipe, seeded."""
    recipe = job.recipe
    torch.manual_seed(recipe.recipe.seed)
    return PairStudent(
        job.base.weights,
        Teacher(load_teacher(job), recipe.distil.layers),
        recipe.distil,
        recipe.contrast,
        dropout=recipe.train.dropout,
        prompt_tokens=prompt_tokens(recipe.tuning),
    )


def soft_targets(logits: Tensor, wanted: Tensor, temperature: float) -> Tensor:
    """Return how far logits (batch, labels) are from the teacher's: T² times the KL divergence."""
    return temperature**2 * nn.functional.kl_div(
        nn.functional.log_softmax(logits / temperature, dim=-1),
        nn.functional.log_softmax(wanted / temperature, dim=-1),
        log_target=True,
        reduction="batchmean",
    )


def state_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return the squared distance of hidden states over the teacher's squared size, a mean."""
    keep = mask[..., None].float()
    total = ours[0].new_zeros((), dtype=torch.float32)
    for a, b in zip(ours, theirs, strict=True):
        wanted = b.float() * keep
        total = total + ((a.float() * keep - wanted) ** 2).sum() / (wanted**2).sum()
    return total / len(ours)


def _pooled(states: Tensor, mask: Tensor) -> Tensor:
    return nn.functional.normalize(mean(states.float(), mask), dim=-1)


def _others(vectors: Tensor) -> Tensor:
    """Return every text's cosines with all others, (n, n - 1)."""
    count = len(vectors)
    scores = vectors @ vectors.T
    off = ~torch.eye(count, dtype=torch.bool, device=scores.device)
    return scores[off].reshape(count, count - 1)


def _differing(start: EncoderWeights, original: EncoderWeights) -> dict[str, np.ndarray]:
    """Return the tensors of the student that are not the original base's."""
    return {
        name: value
        for name, value in start.tensors.items()
        if name not in original.tensors or not np.array_equal(value, original.tensors[name])
    }
