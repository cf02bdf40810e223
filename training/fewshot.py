"""Classifiers from a few rows a label: contrastive tuning, then a linear head on unit vectors.

After SetFit (Tunstall et al. 2022, arXiv:2209.11055). Its pairs of equal and unequal labels are
all pairs of a batch here (supervised contrastive loss, Khosla et al. 2020, arXiv:2004.11362): a
batch of 64 texts holds 2016 pairs for 64 passes through the encoder, where pairs drawn one by one
would cost 4032. The head is a logistic regression, which becomes a head like any other
(``HeadSpec.normalise``).
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import SequentialSampler

from assistant.errors import InvalidInputError
from assistant.models.heads import HeadSpec
from assistant.models.prototypes import prototypes, unit
from indexes.types import FloatArray
from training import tuning
from training.data.rows import LabelledText
from training.fitting import collate, embed, example, make_model, predict, trained
from training.job import Job, Trained
from training.linear import logistic, set_head
from training.loop import Example, Fitted, fit
from training.modeling import TunedModel, mean
from training.recipe import Recipe, with_changes
from training.tasks import classifier
from training.zeroshot import phrases

_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Of logistic regression on unit vectors, whose cosines lie close together: weak regularisation."""
_STRENGTH = 30.0
_SAVED = 4
_SAMPLE = 64


@dataclass(frozen=True)
class AllPairs:
    """Supervised contrastive loss over all pairs of a batch (equation 2, arXiv:2004.11362).

    Batches carry ``labels``: int (batch,), or 0 and 1 (batch, labels); texts that share a label
    attract each other. Logits are not looked at.
    """

    temperature: float
    pooling: str

    def __call__(self, logits: Tensor, batch: Mapping[str, Any]) -> Tensor:
        # Cosines lie close together: in bfloat16 the temperature would blow up their rounding.
        with torch.autocast(logits.device.type, enabled=False):
            return self._loss(batch)

    def _loss(self, batch: Mapping[str, Any]) -> Tensor:
        hidden, mask = batch["hidden"].float(), batch["attention_mask"]
        pooled = hidden[:, 0] if self.pooling == "first" else mean(hidden, mask)
        vectors = nn.functional.normalize(pooled, dim=-1)
        alone = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
        scores = (vectors @ vectors.T / self.temperature).masked_fill(alone, -torch.inf)
        shares = scores.log_softmax(dim=1).masked_fill(alone, 0)
        friends = _share_label(batch["labels"]) & ~alone
        counts = friends.sum(dim=1)
        own = -(shares * friends).sum(dim=1)[counts > 0] / counts[counts > 0]
        # Without a single pair of one label there is nothing to learn, but a gradient is expected.
        return own.mean() if len(own) else shares.sum() * 0


def train(job: Job, head: HeadSpec) -> Trained:
    """Train as ``tuning.few_shot_head`` says. Raises InvalidInputError for a label without rows."""
    started = time.perf_counter()
    head = replace(head, normalise=True)
    rows, valid = classifier.labelled(job.data.train), classifier.labelled(job.data.valid)
    _check(head, rows)
    rows = [*rows, *_described(job, head)]
    section = job.recipe.contrast
    loss = AllPairs(section.temperature, head.pooling)
    model = make_model(job, [head], {head.name: loss}, dense=False)
    items, valid_items = (classifier.tokenized(job, own, head) for own in (rows, valid))
    targets = classifier.targets(head, rows)
    fitted = Fitted(0, 0.0, 0, 0, 0, None)
    if job.recipe.tuning.few_shot_head == "logistic":
        examples = [example(i, labels=t) for i, t in zip(items, targets, strict=True)]
        fitted = _contrast(job, model, examples, rows)
    pad = job.base.weights.vocabulary.pad
    vectors, others = (
        unit(embed(model, own, head.pooling, pad, job.recipe.train)) for own in (items, valid_items)
    )
    weights, bias = _linear(job, head, vectors, rows, (others, valid))
    set_head(model, head, weights, bias)
    logits = predict(model, valid_items, head.name, pad, job.recipe.train)
    own = classifier.calibrated(head, _stacked(logits, head), valid, classifier.head_section(job))
    if valid:
        reached = _score(job, head, _stacked(logits, head), valid)
        job.reporter.log({"step": fitted.steps, f"eval_{_metric(job)}": reached})
    result = trained(
        job,
        model,
        tuning.tensors(model, job.base.weights),
        [own],
        fitted=replace(fitted, trainable=fitted.trainable or weights.size + bias.size),
        sample=[row.text for row in (valid or rows)[:_SAMPLE]],
    )
    # The head's share counts too: the loop knows of the encoder alone.
    return replace(result, seconds=time.perf_counter() - started)


def _described(job: Job, head: HeadSpec) -> list[LabelledText]:
    """Return the texts that tell of each label as rows, where the recipe asks for them."""
    if not job.recipe.tuning.describe:
        return []
    return [
        LabelledText(text, (label,))
        for label, texts in phrases(job, head).items()
        for text in texts
    ]


def in_pairs(rows: Sequence[LabelledText], passes: int, seed: int) -> list[int]:
    """Return places of rows, ``passes`` times each, such that neighbours 2i and 2i + 1 share a
    label where they can: every batch of even size then holds pairs of equal labels."""
    chance = random.Random(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        for label in row.labels:
            members[label].append(place)
    found: list[int] = []
    for _ in range(passes):
        found += chain.from_iterable(_one_pass(rows, members, chance))
    return found


def _one_pass(
    rows: Sequence[LabelledText], members: Mapping[str, list[int]], chance: random.Random
) -> list[tuple[int, int]]:
    left = {label: chance.sample(places, len(places)) for label, places in members.items()}
    used: set[int] = set()
    pairs = []
    for place in chance.sample(range(len(rows)), len(rows)):
        if place in used:
            continue
        used.add(place)
        labels = rows[place].labels
        other = _unused([left[label] for label in labels], used)
        if other is None:
            friends = [i for label in labels for i in members[label] if i != place]
            # A text beside itself is a pair as well: dropout makes two of it (Gao et al. 2021,
            # arXiv:2104.08821).
            other = chance.choice(friends) if friends else place
        used.add(other)
        pairs.append((place, other))
    chance.shuffle(pairs)
    return pairs


def _unused(queues: Sequence[list[int]], used: Collection[int]) -> int | None:
    """Take the next place from the queues that was not used in this pass; None at their end."""
    for queue in queues:
        while queue:
            place = queue.pop()
            if place not in used:
                return place
    return None


def _contrast(
    job: Job, model: TunedModel, examples: Sequence[Example], rows: Sequence[LabelledText]
) -> Fitted:
    """Tune the encoder. The order of all passes is drawn beforehand, so a run can be resumed."""
    recipe = _for_loop(job.recipe)
    tuning.prepare(model, recipe.tuning, 0)
    order = in_pairs(rows, max(1, round(job.recipe.train.epochs)), job.recipe.recipe.seed)
    drawn = [examples[place] for place in order]
    return fit(
        model,
        drawn,
        collate(job.base.weights.vocabulary.pad),
        recipe,
        job.folder,
        reporter=job.reporter,
        sampler=lambda: SequentialSampler(drawn),
    )


def _for_loop(recipe: Recipe) -> Recipe:
    """The loop sees one epoch over all passes, saved a few times on the way."""
    batch = max(2, recipe.train.batch_size + recipe.train.batch_size % 2)
    evaluations = recipe.train.evaluations or _SAVED
    return with_changes(
        recipe,
        {"train.epochs": 1, "train.batch_size": batch, "train.evaluations": evaluations},
    )


def _linear(
    job: Job,
    head: HeadSpec,
    vectors: FloatArray,
    rows: Sequence[LabelledText],
    valid: tuple[FloatArray, Sequence[LabelledText]],
) -> tuple[FloatArray, FloatArray]:
    """Return weights (labels, hidden) and bias (labels,) of the head on unit vectors."""
    if job.recipe.tuning.few_shot_head == "prototypes":
        own = {
            label: vectors[[i for i, row in enumerate(rows) if label in row.labels]]
            for label in head.labels
        }
        return prototypes(own).weights, np.zeros(len(head.labels), np.float32)
    truth = np.array(classifier.targets(head, rows))
    best: tuple[float, FloatArray, FloatArray] | None = None
    for strength in _STRENGTHS if valid[1] else (_STRENGTH,):
        weights, bias = logistic(vectors, truth, strength, job.recipe.recipe.seed)
        score = _score(job, head, valid[0] @ weights.T + bias, valid[1])
        if best is None or score > best[0]:
            best = score, weights, bias
    assert best is not None
    return best[1], best[2]


def _score(job: Job, head: HeadSpec, logits: FloatArray, rows: Sequence[LabelledText]) -> float:
    if not rows:
        return 0.0
    return classifier.scores(head, logits, rows)[_metric(job)]


def _metric(job: Job) -> str:
    return job.recipe.gate.metric or classifier.default_metric(job.recipe)


def _stacked(logits: Sequence[Any], head: HeadSpec) -> FloatArray:
    return np.stack(logits) if len(logits) else np.zeros((0, len(head.labels)), np.float32)


def _share_label(labels: Tensor) -> Tensor:
    if labels.ndim == 1:
        return labels[:, None] == labels[None]
    return labels @ labels.T > 0


def _check(head: HeadSpec, rows: Sequence[LabelledText]) -> None:
    counts = Counter(label for row in rows for label in row.labels)
    absent = [label for label in head.labels if not counts[label]]
    if absent:
        raise InvalidInputError(
            f"few_shot needs rows of every label; {len(absent)} of the parent's labels have none "
            f"({', '.join(absent[:5])}). Add some, by hand or as continual.replay_data."
        )
    full = [label for label in head.labels if counts[label] == len(rows)]
    if head.activation == "sigmoid" and full:
        raise InvalidInputError(
            f"Every training row has the label {full[0]!r}; few_shot needs rows without it too."
        )
