"""The composition root: the one place that wires storage, models, indexes and dialogue together."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from assistant.errors import BusyError
from assistant.gate import Gate
from assistant.models.memory import trim
from assistant.settings import Settings
from assistant.storage import ConversationInfo, Storage, StoredDocument, StoredTurn
from assistant.types import (
    Answer,
    AnswerKind,
    CollectionInfo,
    DocumentInfo,
    FileResult,
    IngestProgress,
    IngestReport,
    IntentMatch,
    Question,
    Scope,
)

if TYPE_CHECKING:
    from assistant.answering import Answering
    from assistant.dialogue.engine import Dialogue, Outcome
    from assistant.following import EncoderFollower
    from assistant.ingest import Ingestor
    from assistant.knowledge import Knowledge
    from assistant.models.encoder import Encoder
    from assistant.models.trained import TrainedModels
    from assistant.switching import EncoderSwitch
    from indexes.analysis import Analyzer

Part = TypeVar("Part")

_PIECES = re.compile(r"[^。！？.!?\n]*[。！？.!?\n]+\s*|[^。！？.!?\n]+$")
_GAPS = frozenset({AnswerKind.ABSTAIN})


class Runtime:
    """Everything the page, the API and the command line do. Thread-safe.

    Models load on first use, so that commands that need none start at once.
    """

    def __init__(self, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.storage = storage
        self._making = threading.RLock()
        self._parts: dict[str, Any] = {}
        self._answers = Gate()
        self._ingests = Gate(patient=True)
        self._closed = False

    @classmethod
    def open(cls, settings: Settings) -> Runtime:
        """Open the data folder, creating it on first use. Raises ``StorageError``."""
        return cls(settings, Storage.open(settings))

    def close(self) -> None:
        """Finish background work and close the database. Harmless when repeated."""
        follower = self._parts.get("follower")
        if follower is not None:
            follower.close()
        with self._making:
            if self._closed:
                return
            self._closed = True
            for part in ("knowledge", "encoder", "trained"):
                if part in self._parts:
                    self._parts[part].close()
            self.storage.close()

    # --- parts, made on first use ------------------------------------------------------------

    @property
    def encoder(self) -> Encoder:
        """The served encoder. Raises ``ModelError`` when it is not built."""
        from assistant.models.loading import load_encoder

        return self._part("encoder", lambda: load_encoder(self.settings))

    @property
    def analyzer(self) -> Analyzer:
        """Text to index terms, as the lexical index does it."""
        from indexes.analysis import Analyzer

        return self._part("analyzer", Analyzer)

    @property
    def knowledge(self) -> Knowledge:
        """The searchable collections."""
        return self._part("knowledge", self._make_knowledge)

    @property
    def ingestor(self) -> Ingestor:
        """Files into collections."""
        from assistant.ingest import Ingestor

        return self._part(
            "ingestor",
            lambda: Ingestor(self.storage, self.encoder, self.knowledge, self.settings),
        )

    @property
    def dialogue(self) -> Dialogue:
        """The one path from a question to an answer."""
        return self._part("dialogue", lambda: self.answering.dialogue(self.encoder, self.knowledge))

    @property
    def trained(self) -> TrainedModels:
        """The fine-tuned models: classifiers and taggers, always the version promoted."""
        from assistant.models.trained import TrainedModels

        return self._part("trained", lambda: TrainedModels(self.settings))

    @property
    def answering(self) -> Answering:
        """What dialogues are made of."""
        from assistant.answering import Answering

        return self._part(
            "answering",
            lambda: Answering(
                self.settings, self.storage, self.analyzer, self.tokenise, self.trained
            ),
        )

    def _part(self, name: str, make: Callable[[], Part]) -> Part:
        """Return the part of this name, made once.

        One lock for all parts: making one asks for others, and with a lock each (as
        ``functools.cached_property`` has on Python 3.11) two threads can wait for each other.
        """
        part: Part | None = self._parts.get(name)
        if part is None:
            with self._making:
                part = self._parts.get(name)
                if part is None:
                    self._refuse_if_closed()
                    part = self._parts[name] = make()
        return part

    def _make_knowledge(self) -> Knowledge:
        from assistant.knowledge import Knowledge
        from indexes.dense import limit_threads

        limit_threads(self.settings.threads)
        encoder = self.encoder
        return Knowledge(
            self.storage,
            self.settings,
            encoder.space,
        )

    def tokenise(self, text: str) -> frozenset[str]:
        """Return the distinct index terms of ``text``."""
        return frozenset(self.analyzer.tokens(text))

    def warm_up(self) -> None:
        """Load every part and answer once, so that the first customer does not wait."""
        with self._answers.passing():
            self.dialogue.answer_many([Question("warm up")])
            if self.answering.weighing:
                self.answering.weighing.warm_up(Scope().tenant)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise BusyError("The service is shutting down; try again in a moment.")

    # --- models ------------------------------------------------------------------------------

    def apply_encoder(
        self, progress: Callable[[IngestProgress], None] | None = None
    ) -> list[IngestReport]:
        """Put the promoted encoder in force once all documents are encoded with it.

        Returns a report for each collection in which there was work; interrupted, it goes on
        where it stopped. Raises ``BusyError`` while a service runs on the same data, which does
        it itself, ``ModelError`` when the promoted one is damaged; the old one then stays in force.
        """
        from assistant.models.encoders import pending_encoder, services_running
        from assistant.switching import EncoderSwitch

        if pending_encoder(self.settings) is None:
            return []
        if services_running(self.settings):
            raise BusyError(
                "A service runs on this data: it encodes the documents in the background and "
                "changes over to the promoted encoder when that is done."
            )
        switch = EncoderSwitch(self.storage, self.settings)
        try:
            reports = switch.run(progress)
        except BaseException:
            switch.abandon()
            raise
        self._take(switch)
        return reports

    def encode_stale(
        self, progress: Callable[[IngestProgress], None] | None = None
    ) -> list[IngestReport]:
        """Encode in place the documents that another encoder than the one in force has made.

        There are some after the setting was changed. Reports are as of ``apply_encoder``.
        """
        reports = []
        for collection in self.storage.catalog.all_collections():
            with self.storage.passages.feed(collection.id) as feed:
                stale = feed.stale(self.encoder.fingerprint).stale
            if stale:
                scope = Scope(collection.tenant, collection.name)
                reports.append(self.ingestor.reindex(scope, progress))
        return reports

    def follow_encoder(self) -> None:
        """From now on notice a promoted encoder, and change over to it in the background."""
        from assistant.following import EncoderFollower

        self._part("follower", lambda: EncoderFollower(self))

    @property
    def encoder_change(self) -> str:
        """How far the change to another encoder is, or what is wrong with it; "" for none."""
        follower: EncoderFollower | None = self._parts.get("follower")
        return follower.status if follower else ""

    def take_over(self, switch: EncoderSwitch, give_up: Callable[[], bool]) -> bool:
        """Serve with another encoder and its vectors from one moment to the next.

        Waits for uploads under way, takes in what they changed, then for answers under way, for as
        long as the change takes: no request fails. Returns False when ``give_up`` said so first.
        """
        while not give_up():
            with self._ingests.closed(give_up) as alone:
                if not alone:
                    return False
                switch.prepare()
                dialogue = self.answering.dialogue(switch.encoder, switch.knowledge)
                with self._answers.closed(give_up) as quiet:
                    if quiet and switch.complete():
                        self._take(switch, dialogue)
                        return True
        return False

    def _take(self, switch: EncoderSwitch, dialogue: Dialogue | None = None) -> None:
        new = {
            "encoder": switch.encoder,
            "knowledge": switch.knowledge,
            "ingestor": switch.ingestor,
            "dialogue": dialogue,
        }
        with self._making:
            old = {name: self._parts.pop(name, None) for name in new}
            self._parts.update({name: part for name, part in new.items() if part is not None})
        for name in ("knowledge", "encoder"):
            if old[name] is not None:
                old[name].close()
        del old
        trim()

    # --- answering ---------------------------------------------------------------------------

    def answer(self, question: Question) -> Answer:
        """Answer one question and keep the turn; a new conversation gets an id.

        Raises ``InvalidInputError`` for an unusable question.
        """
        if question.conversation_id and not question.history:
            history = self.storage.conversations.history(
                question.scope.tenant, question.conversation_id
            )
            question = replace(question, history=history)
        conversation = question.conversation_id or uuid.uuid4().hex
        question = replace(question, conversation_id=conversation)
        with self._answers.passing():
            (outcome,) = self.dialogue.answer_many([question])
        answer = outcome.answer
        self.storage.conversations.append(
            question.scope, conversation, question.text, outcome.standalone, answer
        )
        self._note_gaps([(question, outcome)])
        return answer

    def answer_many(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer in order, without keeping conversations; unanswered ones are noted as gaps."""
        with self._answers.passing():
            outcomes = self.dialogue.answer_many(questions)
        self._note_gaps(list(zip(questions, outcomes, strict=True)))
        return [o.answer for o in outcomes]

    def match_intents(self, tenant: str, texts: Sequence[str]) -> list[IntentMatch]:
        """Return the tenant's intent nearest to each text; nothing where it has none.

        Raises ``InvalidInputError`` for an unusable text.
        """
        with self._answers.passing():
            return self.dialogue.match_intents(tenant, texts)

    def stream(self, question: Question) -> Iterator[str | Answer]:
        """Yield the answer's text sentence by sentence, then the complete ``Answer``."""
        answer = self.answer(question)
        yield from _PIECES.findall(answer.answer)
        yield answer

    def _note_gaps(self, answered: Sequence[tuple[Question, Outcome]]) -> None:
        self.storage.gaps.add_many(
            [
                (q.scope, o.standalone, o.answer.candidates, q.conversation_id or "")
                for q, o in answered
                if o.answer.kind in _GAPS and not o.declined
            ]
        )

    # --- documents ---------------------------------------------------------------------------

    def ingest(
        self,
        paths: Sequence[Path],
        scope: Scope,
        *,
        faq: bool = False,
        progress: Callable[[IngestProgress], None] | None = None,
    ) -> IngestReport:
        """Load files and folders; broken files are reported and the rest goes in."""
        with self._ingests.passing():
            return self.ingestor.ingest(paths, scope, faq=faq, progress=progress)

    def ingest_bytes(
        self, data: bytes, filename: str, scope: Scope, *, faq: bool = False
    ) -> FileResult:
        """Load one file given as bytes."""
        with self._ingests.passing():
            return self.ingestor.ingest_bytes(data, filename, scope, faq=faq)

    def collections(self, tenant: str) -> list[CollectionInfo]:
        """Return a tenant's collections by name."""
        return self.storage.catalog.collections(tenant)

    def collection_stats(self, scope: Scope) -> CollectionInfo:
        """Return one collection's counts. Raises ``NotFoundError``."""
        return self.storage.catalog.stats(scope)

    def create_collection(self, scope: Scope) -> CollectionInfo:
        """Make an empty collection, or return the one there is."""
        self.storage.catalog.ensure(scope)
        return self.storage.catalog.stats(scope)

    def delete_collection(self, scope: Scope) -> None:
        """Delete a collection with its documents. Raises ``NotFoundError``."""
        gone = self.storage.catalog.delete_collection(scope)
        if "knowledge" in self._parts:
            self.knowledge.forget(gone)

    def documents(self, scope: Scope) -> list[DocumentInfo]:
        """Return a collection's documents. Raises ``NotFoundError``."""
        return self.storage.catalog.documents(scope)

    def document(self, scope: Scope, document_id: str) -> StoredDocument:
        """Return one document with text and structure. Raises ``NotFoundError``."""
        return self.storage.catalog.document(scope, document_id)

    def delete_document(self, scope: Scope, document_id: str) -> None:
        """Delete a document; it is gone from the next answer. Raises ``NotFoundError``."""
        self.storage.catalog.delete_document(scope, document_id)

    # --- conversations -----------------------------------------------------------------------

    def conversations(self, tenant: str, limit: int = 50) -> list[ConversationInfo]:
        """Return a tenant's latest conversations, newest first."""
        return self.storage.conversations.recent(tenant, limit)

    def conversation(self, tenant: str, conversation_id: str) -> list[StoredTurn]:
        """Return a conversation's turns, oldest first. Raises ``NotFoundError``."""
        return self.storage.conversations.turns(tenant, conversation_id)

    def add_feedback(
        self,
        tenant: str,
        conversation_id: str,
        turn_index: int,
        rating: Literal["up", "down"],
        comment: str = "",
    ) -> None:
        """Keep a rating of one answer. Raises ``NotFoundError``."""
        self.storage.conversations.add_feedback(
            tenant, conversation_id, turn_index, rating, comment
        )
