"""Classifiers without training: each label is told by descriptions, the nearest one wins.

The base encoder turns descriptions into unit vectors; those are the weights of a linear head
(Yin et al. 2019, arXiv:1909.00161 compare such ways). Several descriptions and templates a label
are averaged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from assistant.errors import InvalidInputError
from assistant.models.heads import HeadSpec
from assistant.models.prototypes import Prototypes, prototypes
from training import tuning
from training.fitting import embed, make_model, predict, trained
from training.job import Job, Trained
from training.linear import set_head
from training.loop import Fitted
from training.modeling import TunedModel
from training.tasks import classifier

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SAMPLE = 64


def train(job: Job, head: HeadSpec) -> Trained:
    """Return a head made of label descriptions; validation rows, if any, set its temperature.

    Raises InvalidInputError for a description of a label that the data does not have, or a
    template without ``{}``.
    """
    head = replace(head, normalise=True)
    texts = phrases(job, head)
    valid = classifier.labelled(job.data.valid)
    started = time.perf_counter()
    model = make_model(job, [head], {}, dense=False)
    tuning.prepare(model, job.recipe.tuning, 0)
    described = _described(job, model, head, texts)
    set_head(model, head, described.weights, np.zeros(len(head.labels), np.float32))
    seconds = time.perf_counter() - started
    pad = job.base.weights.vocabulary.pad
    items = classifier.tokenized(job, valid, head)
    logits = predict(model, items, head.name, pad, job.recipe.train)
    section = classifier.head_section(job)
    own = classifier.calibrated(head, np.stack(logits), valid, section) if valid else head
    return trained(
        job,
        model,
        tuning.tensors(model, job.base.weights),
        [own],
        fitted=Fitted(0, seconds, 0, 0, 0, None),
        sample=[row.text for row in (valid or classifier.labelled(job.data.train))[:_SAMPLE]],
    )


def phrases(job: Job, head: HeadSpec) -> dict[str, list[str]]:
    """Return the texts that stand for each label: every description in every template."""
    section = job.recipe.tuning
    bad = [template for template in section.templates if "{}" not in template]
    if bad or not section.templates:
        raise InvalidInputError(
            f"tuning.templates holds {bad[:1]}; each needs {{}} where the label goes."
        )
    unknown = sorted(set(section.descriptions) - set(head.labels))
    if unknown:
        raise InvalidInputError(
            f"tuning.descriptions tells of {unknown[0]!r}, which is no label of the data; labels: "
            f"{', '.join(head.labels[:20])}."
        )
    return {
        label: [
            template.replace("{}", text)
            for text in section.descriptions.get(label) or (readable(label),)
            for template in section.templates
        ]
        for label in head.labels
    }


def readable(label: str) -> str:
    """Return a label's words: ``cardNot_working?`` as ``card not working?``."""
    words = _CAMEL.sub(" ", label).replace("_", " ").replace("-", " ")
    return " ".join(words.split()).lower() or label


def _described(
    job: Job, model: TunedModel, head: HeadSpec, texts: Mapping[str, Sequence[str]]
) -> Prototypes:
    tokenizer = job.base.model_tokenizer(job.recipe.train.max_tokens, head.pooling)
    pad = job.base.weights.vocabulary.pad
    return prototypes(
        {
            label: embed(model, tokenizer.texts(own), head.pooling, pad, job.recipe.train)
            for label, own in texts.items()
        }
    )
