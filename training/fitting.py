"""What every task with heads on an encoder shares: build the model, fit it, take out the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from assistant.models.build.tuned import TunedWeights, compose
from assistant.models.heads import HeadSpec
from assistant.models.tokens import Tokenized
from indexes.types import FloatArray
from training import tuning
from training.job import Job, Trained
from training.loop import Example, Fitted, fit, total_steps, uses_bf16
from training.modeling import Loss, TunedModel, mean, outputs, padded
from training.sections import Train

_AT_ONCE = 64


def make_model(
    job: Job, heads: Sequence[HeadSpec], losses: Mapping[str, Loss], *, dense: bool = False
) -> TunedModel:
    """Return the job's base with heads, seeded; nothing is frozen yet.

    It learns from a teacher where the recipe names one.
    """
    if job.recipe.distil.teacher:
        # It builds on what this module shares.
        from training.distilling import head_student

        return head_student(job, heads, losses, dense=dense)
    torch.manual_seed(job.recipe.recipe.seed)
    return TunedModel(
        job.base.weights,
        heads,
        losses=losses,
        dense=dense,
        dropout=job.recipe.train.dropout,
        prompt_tokens=tuning.prompt_tokens(job.recipe.tuning),
        consistency=job.recipe.train.consistency,
    )


def example(item: Tokenized, **values: Any) -> Example:
    """Return a training row of one tokenised text."""
    return {"input_ids": item.tokens.ids, "item": item, **values}


def collate(pad: int) -> Callable[[list[Example]], dict[str, Any]]:
    """Return what makes a batch of rows: padded ids, and their other values as tensors."""

    def batch(rows: list[Example]) -> dict[str, Any]:
        ids, mask = padded([row["item"] for row in rows], pad)
        found: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        for name in rows[0]:
            if name not in ("input_ids", "item"):
                values = [row[name] for row in rows]
                found[name] = values[0] if isinstance(values[0], str) else torch.tensor(values)
        return found

    return batch


def train_heads(
    job: Job,
    model: TunedModel,
    examples: Sequence[Example],
    *,
    validate: Callable[[TunedModel], Mapping[str, float]] | None,
    metric: str,
    finish: Callable[[TunedModel], Sequence[HeadSpec]],
    sample: Sequence[str | tuple[str, str]],
    batches: Callable[[list[Example]], dict[str, Any]] | None = None,
    sampler: Callable[[], Sampler[int]] | None = None,
) -> Trained:
    """Fit ``model`` as the recipe says and return what came out.

    ``finish`` gets the fitted model and returns its heads with temperature and threshold set.
    """
    recipe = job.recipe
    pad = job.base.weights.vocabulary.pad
    steps = total_steps(recipe.train, len(examples))
    tuning.prepare(model, recipe.tuning, steps)
    fitted = fit(
        model,
        examples,
        batches or collate(pad),
        recipe,
        job.folder,
        reporter=job.reporter,
        validate=validate,  # type: ignore[arg-type]
        metric=metric,
        sampler=sampler,
        callbacks=tuning.callbacks(model, recipe.tuning),
    )
    tensors = tuning.tensors(model, job.base.weights)
    tuning.merge(model)
    model.eval()
    heads = tuple(finish(model))
    return trained(job, model, tensors, heads, fitted=fitted, sample=sample)


def trained(
    job: Job,
    model: TunedModel,
    tensors: Mapping[str, Any],
    heads: Sequence[HeadSpec],
    *,
    fitted: Fitted,
    sample: Sequence[str | tuple[str, str]],
) -> Trained:
    """Return the result of a run: tuned weights, and the model to check the export against."""
    pad = job.base.weights.vocabulary.pad
    return Trained(
        tuned=tuned_weights(job, tensors, heads),
        trainable=fitted.trainable,
        seconds=fitted.seconds,
        examples_per_second=fitted.examples_per_second,
        reference=lambda items: outputs(model, items, pad),
        sample=sample,
        history=fitted.history,
    )


def tuned_weights(job: Job, tensors: Mapping[str, Any], heads: Sequence[HeadSpec]) -> TunedWeights:
    """Return the tensors as tuned weights relative to the original base."""
    recipe, base = job.recipe, job.base
    own = TunedWeights(
        name=recipe.recipe.name,
        task=recipe.registry_task,
        base=base.original.name,
        base_sha256=base.original.sha256,
        max_tokens=min(recipe.train.max_tokens, base.weights.shape.max_positions),
        query_prefix=base.original.query_prefix,
        passage_prefix=base.original.passage_prefix,
        licence=base.original.licence,
        heads=tuple(heads),
        tensors=dict(tensors),
        characters=base.characters,
    )
    return compose(base.parent, own) if base.parent is not None else own


def predict(
    model: TunedModel, items: Sequence[Tokenized], head: str, pad: int, train: Train
) -> list[Any]:
    """Return a head's logits for each text, (labels,) or (tokens, labels), in order.

    Runs in batches of like length, in the precision of training; the model stays as it was.
    """
    return _by_length(model, items, pad, train, lambda h, mask: model.logits(h, mask, head))


def embed(
    model: TunedModel, items: Sequence[Tokenized], pooling: str, pad: int, train: Train
) -> FloatArray:
    """Return the encoder's vector of each text, float32 (texts, hidden), run as ``predict`` does.

    ``pooling`` as in ``HeadSpec``: the mean of the tokens, or the first.
    """
    found = _by_length(
        model, items, pad, train, lambda h, mask: h[:, 0] if pooling == "first" else mean(h, mask)
    )
    return np.stack(found) if found else np.zeros((0, model.encoder.config.hidden_size), np.float32)


def token_states(
    model: TunedModel, items: Sequence[Tokenized], pad: int, train: Train
) -> list[FloatArray]:
    """Return the encoder's vectors of each text's tokens, float32 (tokens, hidden)."""
    return _by_length(model, items, pad, train, lambda h, mask: h)


def _by_length(
    model: TunedModel,
    items: Sequence[Tokenized],
    pad: int,
    train: Train,
    read: Callable[[Tensor, Tensor], Tensor],
) -> list[Any]:
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    order = sorted(range(len(items)), key=lambda i: -len(items[i].tokens.ids))
    found: dict[int, Any] = {}
    bf16 = uses_bf16(train)
    for start in range(0, len(order), _AT_ONCE):
        places = order[start : start + _AT_ONCE]
        ids, mask = (t.to(device) for t in padded([items[i] for i in places], pad))
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            values = read(model.hidden_states(ids, mask), mask)
        rows = values.float().cpu().numpy()
        tokens = values.ndim == 3
        for row, place in enumerate(places):
            length = len(items[place].tokens.ids)
            found[place] = rows[row, :length] if tokens else rows[row]
    model.train(was_training)
    return [found[i] for i in range(len(items))]
