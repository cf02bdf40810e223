"""What all served models with heads share: the graph, the tokeniser, and one queue for callers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Literal

from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.batching import MicroBatcher
from assistant.models.encoder import fingerprint
from assistant.models.heads import HeadSpec, head_to_json
from assistant.models.manifest import ModelManifest
from assistant.models.session import Backend, Choice, Outputs, Tokens
from assistant.models.tokens import ModelTokenizer

# Calls of a few texts are answered together with those of other callers; longer ones fill the
# cores by themselves.
_LONE_CALL = 4


class HeadedModel:
    """A fine-tuned encoder and its heads. Thread-safe.

    ``fingerprint`` names weights, tokeniser, prefixes and heads with their temperatures and
    thresholds: what one text gives is the same between models of the same fingerprint. ``ref`` is
    ``TASK/NAME@vN``, without the version where it does not come from the registry.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        tokenizer: Tokenizer,
        backend: Backend,
        *,
        threads: int = 1,
        queue_size: int = 256,
        choice: Choice | None = None,
        ref: str = "",
    ) -> None:
        self.manifest = manifest
        self.choice = choice
        self.ref = ref or f"{manifest.task}/{manifest.name}"
        self.fingerprint = _fingerprint(manifest)
        pooling = next((h.pooling for h in manifest.heads if h.kind == "sequence"), "mean")
        self.tokenizer = ModelTokenizer(
            tokenizer,
            manifest.max_tokens,
            manifest.query_prefix,
            manifest.passage_prefix,
            pooling,
        )
        self._backend = backend
        self._batcher: MicroBatcher[Tokens, Outputs] = MicroBatcher(
            backend.run,
            workers=threads if backend.batch == 1 else 1,
            max_batch=max(backend.batch, 8),
            max_waiting=queue_size,
        )

    def run(self, texts: Sequence[Tokens]) -> list[Outputs]:
        """Return every output for each text, by head name.

        A few texts join the queue shared by all callers; raises BusyError when that is full.
        """
        if not texts:
            return []
        if len(texts) <= _LONE_CALL:
            return self._batcher.submit(texts)
        return self._backend.run(texts)

    def head(self, name: str | None, kind: Literal["sequence", "token"], purpose: str) -> HeadSpec:
        """Return the head ``name``, or without one the only head of this kind.

        ``purpose`` says in an error what the model was wanted for. Raises ModelError.
        """
        fitting = [head for head in self.manifest.heads if head.kind == kind]
        chosen = [head for head in fitting if name in (None, head.name)]
        if len(chosen) == 1:
            return chosen[0]
        known = ", ".join(head.name for head in fitting)
        if fitting and name is not None:
            raise self.refusal(purpose, f"it has no head {name!r} for that, but {known}")
        if fitting:
            raise self.refusal(purpose, f"it has several heads ({known}): name one")
        raise self.refusal(purpose, "it is of another kind")

    def refusal(self, purpose: str, reason: str) -> ModelError:
        """Return the error that this model cannot serve ``purpose``."""
        heads = ", ".join(f"{head.name} ({head.kind})" for head in self.manifest.heads)
        return ModelError(
            f"Model {self.ref} cannot {purpose}: {reason}. "
            f"Its heads: {heads or 'none, it is a plain encoder'}."
        )

    def close(self) -> None:
        """Finish what is running and stop the workers. Safe to call twice."""
        self._batcher.close()
        self._backend.close()


class Served:
    """A model that serves one purpose with one of its heads."""

    def __init__(self, model: HeadedModel, head: HeadSpec) -> None:
        self.model = model
        self.head = head

    @property
    def manifest(self) -> ModelManifest:
        return self.model.manifest

    @property
    def fingerprint(self) -> str:
        """Names everything a result depends on, beside the text."""
        return self.model.fingerprint

    @property
    def ref(self) -> str:
        """``TASK/NAME@vN``, without the version where it does not come from the registry."""
        return self.model.ref

    @property
    def choice(self) -> Choice | None:
        return self.model.choice

    def close(self) -> None:
        """Finish what is running and stop the workers. Safe to call twice."""
        self.model.close()


def _fingerprint(manifest: ModelManifest) -> str:
    heads = json.dumps([head_to_json(head) for head in manifest.heads], sort_keys=True)
    return hashlib.sha256(f"{fingerprint(manifest)}\n{heads}".encode()).hexdigest()[:16]
