"""Values of the service. The JSON forms here are the public contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from indexes.types import FloatArray, Language, Span

DEFAULT_TENANT = "default"
DEFAULT_COLLECTION = "default"


class AnswerKind(StrEnum):
    """What the assistant decided to do; in the order the policy considers them."""

    SMALLTALK = "smalltalk"
    HANDOFF = "handoff"
    FAQ = "faq"
    GROUNDED = "grounded"
    CLARIFY = "clarify"
    ABSTAIN = "abstain"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request may see. ``tags`` empty: everything in the collection;
    else only items that carry at least one of them."""

    tenant: str = DEFAULT_TENANT
    collection: str = DEFAULT_COLLECTION
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Turn:
    """One past exchange: the question as asked, as understood, and what was answered."""

    question: str
    standalone: str
    answer: str
    kind: AnswerKind


@dataclass(frozen=True, slots=True)
class Question:
    """A question in its conversation. ``history`` is oldest first."""

    text: str
    scope: Scope = Scope()
    conversation_id: str | None = None
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """Evidence: ``quote == document.text[start:end]``."""

    document_id: str
    title: str
    source: str
    chunk_id: str
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A close question or passage offered instead of an answer; ``score`` in [0, 1]."""

    id: str
    question: str
    score: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The one answer shape, everywhere. ``confidence`` is a calibrated probability in [0, 1]."""

    answer: str
    kind: AnswerKind
    confidence: float
    language: Language
    faq_id: str | None = None
    citations: tuple[Citation, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    conversation_id: str = ""
    model_versions: Mapping[str, str] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the contract's JSON object (plain dicts, lists, strings and numbers)."""
        data = asdict(self)
        data["kind"] = self.kind.value
        data["citations"] = list(data["citations"])
        data["candidates"] = list(data["candidates"])
        return data


@dataclass(frozen=True, slots=True)
class Sentence:
    """A quotable sentence of a chunk. ``vector``: float32 (dim,), unit, of it by itself."""

    span: Span
    text: str
    vector: FloatArray


def sentence_vectors(sentences: Sequence[Sentence]) -> FloatArray:
    """Return the vectors, float32 (n, dim); at once where they are stored together."""
    together: FloatArray | None = getattr(sentences, "vectors", None)
    if together is not None:
        return together
    rows = [sentence.vector for sentence in sentences]
    return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class AnswerSpan:
    """Where a reader sees the answer: half-open code points of the document, and the probability in
    [0, 1] that it is there."""

    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class ChunkHit:
    """A retrieved chunk with what answering needs. Scores as in ``indexes.types.Hit``, but that the
    nearest sentence has its part in ``cosine`` and so in ``score`` (``assistant.evidence``).

    ``sentences`` may decode itself on first use (``assistant.storage.Sentences``). ``relevance``:
    the reranker's probability that it answers, in [0, 1]; None where none has read it. ``answer``:
    where the reader sees the answer in it, likewise.
    """

    chunk_id: int
    document_id: str
    title: str
    source: str
    language: Language
    start: int
    end: int
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    sentences: Sequence[Sentence]
    score: float
    cosine: float
    coverage: float
    relevance: float | None = None
    answer: AnswerSpan | None = None


@dataclass(frozen=True, slots=True)
class FaqHit:
    """A retrieved FAQ entry: ``matched`` is the wording that matched, ``question`` the approved.

    ``answer == document.text[start:end]`` of document ``document_id``.
    """

    faq_id: str
    question: str
    matched: str
    answer: str
    language: Language
    document_id: str
    title: str
    source: str
    start: int
    end: int
    score: float
    cosine: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Evidence for one query, best first. ``terms``: its tokens with their weight (idf);
    ``cosine_floor``: the cosine of unrelated texts, which stands for rivals that are not there."""

    chunks: tuple[ChunkHit, ...]
    faqs: tuple[FaqHit, ...]
    terms: Mapping[str, float] = field(default_factory=dict)
    cosine_floor: float = 0.0


FileStatus = Literal["added", "replaced", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file of an ingest. ``reason`` is set when it failed."""

    source: str
    status: FileStatus
    reason: str | None = None
    document_id: str | None = None
    chunks: int = 0
    faq_entries: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The outcome of an ingest, in the order the files were met."""

    collection: str
    files: tuple[FileResult, ...]
    seconds: float

    @property
    def failed(self) -> tuple[FileResult, ...]:
        return tuple(f for f in self.files if f.status == "failed")


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """Told after each file: ``done`` of ``total`` files, and how the latest one went.

    Also told while a long file is being encoded: then ``latest`` is None, and ``current`` is its
    source with ``chunks_done`` of ``chunks_total``.
    """

    done: int
    total: int
    latest: FileResult | None
    current: str = ""
    chunks_done: int = 0
    chunks_total: int = 0


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection with its counts."""

    tenant: str
    name: str
    documents: int
    chunks: int
    faq_entries: int
    created_at: str


@dataclass(frozen=True, slots=True)
class DocumentInfo:
    """A stored document without its text."""

    document_id: str
    collection: str
    source: str
    title: str
    language: Language
    media_type: str
    characters: int
    chunks: int
    faq_entries: int
    tags: tuple[str, ...]
    created_at: str


class IntentAction(StrEnum):
    """What is done with a question of an intent."""

    ANSWER = "answer"
    """Answer as usual: the intent only keeps such questions from being taken for another one."""
    HANDOFF = "handoff"
    DECLINE = "decline"


@dataclass(frozen=True, slots=True)
class Intent:
    """A kind of question a tenant has named by examples.

    Empty replies stand for the assistant's own words.
    """

    name: str
    examples: tuple[str, ...]
    action: IntentAction = IntentAction.ANSWER
    reply_zh: str = ""
    reply_en: str = ""


@dataclass(frozen=True, slots=True)
class IntentMatch:
    """The intent nearest to a question, and the probability that the question has it."""

    intent: Intent
    probability: float

    def to_json(self) -> dict[str, Any]:
        """Return the match as plain values."""
        return {
            "intent": self.intent.name,
            "probability": round(self.probability, 4),
            "action": self.intent.action.value,
        }
