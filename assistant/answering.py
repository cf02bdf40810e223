"""Put together what answers questions: policy, models that read evidence, and the dialogue."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from assistant.dialogue.confidence import ALL_PARTS, Calibration
from assistant.dialogue.engine import Dialogue, Spelling
from assistant.dialogue.policy import Policy
from assistant.dialogue.rules import Rules
from assistant.dialogue.weighing import Weighing
from assistant.evidence_models import ServedEvidenceModels
from assistant.intents import TenantIntents
from assistant.knowledge import Knowledge
from assistant.models.encoder import Encoder
from assistant.models.trained import TrainedModels
from assistant.settings import Settings
from assistant.storage import Storage
from assistant.types import Scope
from indexes.analysis import Analyzer
from indexes.language import simplified
from indexes.spelling import mended


class Answering:
    """Makes dialogues, which share everything but the encoder and what it has indexed."""

    def __init__(
        self,
        settings: Settings,
        storage: Storage,
        analyzer: Analyzer,
        tokenise: Callable[[str], frozenset[str]],
        trained: TrainedModels,
    ) -> None:
        """Open the reranker and the reader where the settings ask for them."""
        self._settings = settings
        self._storage = storage
        self._rules = Rules.load(simplified)
        self._calibrations = {parts: Calibration.load(parts) for parts in ALL_PARTS}
        self._policy = Policy(
            self._calibrations,
            tokenise,
            error_rate=settings.error_rate,
            clarify_error_rate=settings.clarify_error_rate,
        )
        self.weighing = (
            Weighing(ServedEvidenceModels(trained, settings), self._policy, settings.rerank)
            if settings.rerank
            else None
        )

    def dialogue(self, encoder: Encoder, knowledge: Knowledge) -> Dialogue:
        """Return the one path from a question to an answer, over what this encoder has indexed."""
        return Dialogue(
            encoder,
            knowledge,
            self._policy,
            self._rules,
            weighing=self.weighing,
            spelling=_spelling(encoder, knowledge) if self._settings.spelling else None,
            intents=TenantIntents(self._storage, encoder),
            intent_threshold=self._settings.intent_threshold,
            question_limit=self._settings.max_question_chars,
            handoff_contact=self._settings.handoff_contact,
            model_versions={
                "encoder": f"{encoder.name}@{encoder.fingerprint[:12]}",
                "calibration": self._calibrations["retrieval"].version,
            },
        )


def _spelling(encoder: Encoder, knowledge: Knowledge) -> Spelling:
    def spelt(scope: Scope, text: str) -> str:
        return mended(text, encoder.are_words, partial(knowledge.frequencies, scope))

    return spelt
