"""The intents of tenants, ready to match: examples encoded, beside the tenant's usual questions."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from assistant.dialogue.intents import Centre, IntentCalibrator, Matcher
from assistant.models.encoder import Encoder
from assistant.models.unlike import general_questions
from assistant.storage import Storage
from indexes.language import detect_language
from indexes.types import FloatArray

_USUAL = 300
_ENOUGH = 20
"""A smaller FAQ says too little of what a tenant's customers usually ask."""


class TenantIntents:
    """Matchers for one encoder, made when first asked for and again after a change. Thread-safe."""

    def __init__(self, storage: Storage, encoder: Encoder) -> None:
        self._storage = storage
        self._encoder = encoder
        self._calibrator = IntentCalibrator.load()
        self._lock = threading.Lock()
        self._made: dict[str, tuple[tuple[int, ...], Matcher]] = {}
        self._vectors: dict[str, FloatArray] = {}

    def matcher(self, tenant: str) -> Matcher | None:
        """Return what tells the tenant's intents apart, None where it has none."""
        state = self._storage.intents.state(tenant)
        if not state[0]:
            return None
        made = self._made.get(tenant)
        if made is None or made[0] != state:
            with self._lock:
                made = self._made[tenant] = (state, self._make(tenant))
        return made[1]

    def _make(self, tenant: str) -> Matcher:
        intents = self._storage.intents.of(tenant)
        centre = self._centre()
        usual, languages = self._storage.intents.usual_questions(
            tenant, self._encoder.fingerprint, self._encoder.dim, _USUAL
        )
        others = [centre(usual, languages)]
        if len(usual) < _ENOUGH:
            others.append(self._centred(general_questions(), centre))
        examples = [self._centred(intent.examples, centre) for intent in intents]
        return Matcher(intents, examples, np.concatenate(others), self._calibrator, centre)

    def _centre(self) -> Centre:
        general = general_questions()
        self._encode(general)
        return Centre(self._stacked(general), [detect_language(text) for text in general])

    def _centred(self, texts: Sequence[str], centre: Centre) -> FloatArray:
        self._encode(texts)
        return centre(self._stacked(texts), [detect_language(text) for text in texts])

    def _stacked(self, texts: Sequence[str]) -> FloatArray:
        return np.stack([self._vectors[text] for text in texts])

    def _encode(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = self._encoder.encode_queries(new)
            self._vectors.update(zip(new, vectors, strict=True))
