"""The intents of tenants, ready to match: examples encoded, beside the tenant's usual questions."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from assistant.dialogue.intents import Centre, IntentCalibrator, Matcher
from assistant.models.encoder import Encoder
from assistant.models.unlike import general_questions
from assistant.storage import Storage
from indexes.language import detect_language
from indexes.types import FloatArray, Language

_USUAL = 300
_ENOUGH = 20
"""A smaller FAQ says too little of what a tenant's customers usually ask."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A tenant's matcher, the state of the database it was made of, and its examples' vectors."""

    state: tuple[int, ...]
    matcher: Matcher
    vectors: Mapping[str, FloatArray]


class TenantIntents:
    """Matchers for one encoder, made when first asked for and again after a change. Thread-safe."""

    def __init__(self, storage: Storage, encoder: Encoder) -> None:
        self._storage = storage
        self._encoder = encoder
        self._calibrator = IntentCalibrator.load()
        self._lock = threading.Lock()
        self._made: dict[str, _Made] = {}

    def matcher(self, tenant: str) -> Matcher | None:
        """Return what tells the tenant's intents apart, None where it has none."""
        state = self._storage.intents.state(tenant)
        if not state[0]:
            return None
        made = self._made.get(tenant)
        if made is None or made.state != state:
            with self._lock:
                made = self._made[tenant] = self._make(tenant, state)
        return made.matcher

    def _make(self, tenant: str, state: tuple[int, ...]) -> _Made:
        intents = self._storage.intents.of(tenant)
        usual, languages = self._storage.intents.usual_questions(
            tenant, self._encoder.fingerprint, self._encoder.dim, _USUAL
        )
        others = [self._centre(usual, languages)]
        if len(usual) < _ENOUGH:
            others.append(self._centre(self._general, self._languages))
        vectors = self._encoded(tenant, [text for one in intents for text in one.examples])
        examples = [
            self._centre(
                np.stack([vectors[text] for text in one.examples]),
                [detect_language(text) for text in one.examples],
            )
            for one in intents
        ]
        usual = np.concatenate(others)
        matcher = Matcher(intents, examples, usual, self._calibrator, self._centre)
        return _Made(state, matcher, vectors)

    def _encoded(self, tenant: str, texts: Sequence[str]) -> dict[str, FloatArray]:
        """Return the vectors of texts; those the tenant had before are not made again."""
        before = self._made[tenant].vectors if tenant in self._made else {}
        new = [text for text in dict.fromkeys(texts) if text not in before]
        made = dict(zip(new, self._encoder.encode_queries(new), strict=True))
        return {text: before[text] if text in before else made[text] for text in texts}

    @cached_property
    def _general(self) -> FloatArray:
        return self._encoder.encode_queries(general_questions())

    @cached_property
    def _languages(self) -> list[Language]:
        return [detect_language(text) for text in general_questions()]

    @cached_property
    def _centre(self) -> Centre:
        return Centre(self._general, self._languages)
