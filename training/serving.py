"""A model in training behind the classes that will serve it, so that both decide alike.

Validation, thresholds and temperatures then come from the very code that answers users; only the
arithmetic differs (PyTorch here, ONNX there), and the export's gate compares that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assistant.errors import InvalidInputError
from assistant.models.build.weights import PROMPT
from assistant.models.headed import HeadedModel
from assistant.models.heads import HeadSpec
from assistant.models.manifest import ModelManifest
from assistant.models.session import Outputs, Tokens
from assistant.models.tokens import Tokenized
from indexes.types import FloatArray
from training import tuning
from training.fitting import predict
from training.job import Job
from training.modeling import TunedModel

_NOWHERE = np.zeros((0, 2), dtype=np.int64)


class TorchBackend:
    """Runs texts through one head of a model in training, in batches of like length."""

    batch = 64

    def __init__(self, model: TunedModel, head: HeadSpec, job: Job) -> None:
        self._model, self._head = model, head
        self._pad, self._train = job.base.weights.vocabulary.pad, job.recipe.train

    def run(self, texts: Sequence[Tokens]) -> list[Outputs]:
        """Return the head's logits: (1, labels) a text, or (tokens, labels) of a token head."""
        rows = predict(
            self._model, [bare(text) for text in texts], self._head.name, self._pad, self._train
        )
        whole = self._head.kind == "sequence"
        return [{self._head.name: row[None] if whole else row} for row in rows]

    def pooled(self, texts: Sequence[Tokens]) -> list[FloatArray]:
        """A model with heads has no vectors to give."""
        raise NotImplementedError(f"{len(texts)} texts: a model with heads gives no vectors")

    def close(self) -> None:
        """Nothing is held."""


def bare(tokens: Tokens) -> Tokenized:
    """Return tokens as a text ready to run whose offsets nobody asks for."""
    return Tokenized(tokens, _NOWHERE, cut=False)


def headed(model: TunedModel, head: HeadSpec, job: Job) -> HeadedModel:
    """Return ``model`` with one of its heads as a served model; close it after use."""
    original = job.base.original
    manifest = ModelManifest(
        name=job.recipe.recipe.name,
        task=job.recipe.registry_task,
        dim=job.base.weights.shape.hidden,
        max_tokens=room(job),
        query_prefix=original.query_prefix,
        passage_prefix=original.passage_prefix,
        licence=original.licence,
        source=original.source,
        source_version=original.version,
        source_sha256=original.sha256,
        precision="fp32",
        files={},
        parity={},
        created="",
        heads=(head,),
    )
    return HeadedModel(manifest, job.base.tokenizer, TorchBackend(model, head, job))


def room(job: Job) -> int:
    """Return the longest text in tokens: as the recipe says, less what a prompt takes."""
    own = job.base.weights.tensors.get(PROMPT)
    prompt = tuning.prompt_tokens(job.recipe.tuning) if own is None else len(own)
    return min(job.recipe.train.max_tokens, job.base.weights.shape.max_positions - prompt)


def refuse_label_methods(job: Job) -> None:
    """Raise InvalidInputError for the ways of tuning that only classifiers have."""
    method = job.recipe.tuning.method
    if method in ("few_shot", "zero_shot"):
        raise InvalidInputError(
            f"tuning.method is {method}, which only classifiers have; for a "
            f"{job.recipe.recipe.task} take full, top_layers, lora, adalora or prompt."
        )
