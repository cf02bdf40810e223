"""Linear heads by logistic regression: where training starts, or all there is to a few-shot head.

A head drawn at random drags the encoder about before it knows anything. Linear probing first, then
fine-tuning (LP-FT, Kumar et al. 2022, arXiv:2202.10054) starts from what the encoder can tell
already.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from assistant.models.heads import HeadSpec
from indexes.types import FloatArray
from training.fitting import embed, token_states
from training.job import Job
from training.loop import Example
from training.modeling import TunedModel
from training.sections import Head

_STRENGTH = 7.0
_ROWS = 8_000
_TOKENS = 20_000
_UNSEEN = -4.0
"""Added to the least bias, for labels that none of the rows looked at has."""


def start_head(
    job: Job, model: TunedModel, head: HeadSpec, section: Head, examples: Sequence[Example]
) -> bool:
    """Start a head from a logistic regression on what the encoder says of ``examples``.

    They carry ``item`` and ``labels`` as the classifier and the tagger make them. Of a head taken
    over from a parent only the new labels are started, beside the old ones as they are. Nothing is
    done, and False returned, for a head that learns from a teacher, that has a dense layer, that
    the recipe wants drawn at random, or in which nothing is new.
    """
    known = job.base.weights.tensors.get(f"head.{head.name}.out.w")
    old = 0 if known is None else len(known)
    module: Any = model.heads[head.name]
    unwanted = section.start == "random" or module.dense is not None or job.recipe.distil.teacher
    if unwanted or old == len(head.labels):
        return False
    job.reporter.stage(f"starting head {head.name} from a logistic regression")
    seed = job.recipe.recipe.seed
    random = np.random.default_rng(seed)
    chosen = [examples[i] for i in random.permutation(len(examples))[:_ROWS]]
    vectors, truth = _seen(job, model, head, chosen)
    scale = float(np.sqrt(np.mean(np.square(vectors).sum(axis=1)))) or 1.0
    if old and truth.ndim == 1:
        kept = module.out.weight.detach().numpy()[:old], module.out.bias.detach().numpy()[:old]
        weights, bias = beside(vectors, truth, kept, len(head.labels) - old, _STRENGTH / scale**2)
        set_head(model, head, weights, bias)
        return True
    found = _regression(vectors / scale, truth, len(head.labels), seed)
    if found is None:
        return False
    weights, bias = found[0] / scale, found[1]
    if old:
        weights[:old], bias[:old] = module.out.weight.detach()[:old], module.out.bias.detach()[:old]
    set_head(model, head, weights, bias)
    return True


def beside(
    vectors: FloatArray,
    truth: NDArray[Any],
    kept: tuple[FloatArray, FloatArray],
    new: int,
    strength: float,
) -> tuple[FloatArray, FloatArray]:
    """Return weights (labels, hidden) and bias (labels,) of a head with ``new`` labels after those
    of ``kept``, which stay as they are: a logistic regression of the new rows alone.

    ``truth``, int (n,), are places among all labels; ``strength`` is scikit-learn's C.
    """
    x, labels = torch.from_numpy(vectors), torch.from_numpy(truth)
    old = x @ torch.from_numpy(kept[0]).T + torch.from_numpy(kept[1])
    weights = torch.zeros(new, x.shape[1], requires_grad=True)
    bias = torch.full((new,), float(kept[1].mean()), requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        logits = torch.cat([old, x @ weights.T + bias], dim=1)
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        loss = losses + weights.square().sum() / (2 * strength)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = weights.detach().numpy(), bias.detach().numpy()
    return np.concatenate([kept[0], found[0]]), np.concatenate([kept[1], found[1]])


def _seen(
    job: Job, model: TunedModel, head: HeadSpec, examples: Sequence[Example]
) -> tuple[FloatArray, NDArray[Any]]:
    """Return the vectors (n, hidden) that the head will read, and what they should be called."""
    pad = job.base.weights.vocabulary.pad
    if head.kind == "sequence":
        items = [row["item"] for row in examples]
        vectors = embed(model, items, head.pooling, pad, job.recipe.train)
        return _as_read(vectors, head), np.array([row["labels"] for row in examples])
    counts = np.cumsum([len(row["labels"]) for row in examples])
    chosen = examples[: int(np.searchsorted(counts, _TOKENS)) + 1]
    states = token_states(model, [row["item"] for row in chosen], pad, job.recipe.train)
    vectors, labels = np.concatenate(states), np.concatenate([row["labels"] for row in chosen])
    return _as_read(vectors[labels >= 0], head), labels[labels >= 0]


def _as_read(vectors: FloatArray, head: HeadSpec) -> FloatArray:
    if not head.normalise:
        return vectors
    result: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-6)
    return result


def _regression(
    vectors: FloatArray, truth: NDArray[Any], labels: int, seed: int
) -> tuple[FloatArray, FloatArray] | None:
    """Return weights and bias; labels without a row are made unlikely. None: nothing to tell."""
    if truth.ndim == 2:
        split = (truth.any(axis=0)) & ~(truth.all(axis=0))
        seen, wanted = np.flatnonzero(split), truth[:, split]
    else:
        seen, wanted = np.unique(truth, return_inverse=True)
    if len(seen) < (1 if truth.ndim == 2 else 2):
        return None
    own, own_bias = logistic(vectors, wanted, _STRENGTH, seed)
    weights = np.zeros((labels, vectors.shape[1]), np.float32)
    bias = np.full(labels, float(own_bias.min()) + _UNSEEN, np.float32)
    weights[seen], bias[seen] = own, own_bias
    return weights, bias


def logistic(
    vectors: FloatArray, truth: NDArray[Any], strength: float, seed: int
) -> tuple[FloatArray, FloatArray]:
    """Return weights (labels, hidden) and bias (labels,) of a logistic regression.

    ``truth``: int (rows,) with every label present, then softmax over the labels; or 0 and 1
    (rows, labels), then each on its own. ``strength`` is scikit-learn's C.
    """
    from sklearn.linear_model import LogisticRegression

    def fitted(labels: NDArray[Any]) -> Any:
        model = LogisticRegression(C=strength, max_iter=300, random_state=seed)
        with warnings.catch_warnings():
            # Not quite converged is good enough: the strength is chosen on validation rows.
            warnings.simplefilter("ignore")
            return model.fit(vectors, labels)

    if truth.ndim == 2:
        models = [fitted(column) for column in truth.T]
        weights = np.concatenate([model.coef_ for model in models])
        bias = np.concatenate([model.intercept_ for model in models])
    else:
        model = fitted(truth)
        weights, bias = model.coef_, model.intercept_
        if len(weights) == 1:
            # Two labels: scikit-learn keeps the logit of the second alone.
            weights = np.concatenate([np.zeros_like(weights), weights])
            bias = np.concatenate([np.zeros_like(bias), bias])
    return weights.astype(np.float32), bias.astype(np.float32)


def set_head(model: TunedModel, head: HeadSpec, weights: FloatArray, bias: FloatArray) -> None:
    """Write a linear head, (labels, hidden) and (labels,), into the model."""
    out: Any = model.heads[head.name].out
    with torch.no_grad():
        out.weight.copy_(torch.from_numpy(weights))
        out.bias.copy_(torch.from_numpy(bias))
