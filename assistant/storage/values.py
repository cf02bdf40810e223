"""What goes into the database and comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from assistant.types import Candidate, Scope
from indexes.types import Chunk, FaqEntry, Heading, Language, Page

DocumentKind = Literal["document", "faq"]
QuestionKind = Literal["question", "paraphrase", "pair"]
IndexName = Literal["chunks", "faq"]
Rating = Literal["up", "down"]
PutStatus = Literal["added", "replaced", "unchanged"]


@dataclass(frozen=True, slots=True)
class CollectionRef:
    """A collection as the database knows it; ``uid`` is never used again after a deletion."""

    id: int
    uid: str
    tenant: str
    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Decides whether a source is unchanged: its bytes, what it is read as, and how encoded."""

    sha256: str
    kind: DocumentKind
    tags: tuple[str, ...]
    recipe: str


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to store. ``text`` offsets are those of its chunks and FAQ answers."""

    source: str
    title: str
    text: str
    language: Language
    media_type: str
    size: int
    encoder: str
    fingerprint: Fingerprint
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EncodedChunk:
    """A chunk with its stored vector (``codec.encode_vector``) and sentences."""

    chunk: Chunk
    vector: bytes
    sentences: bytes


@dataclass(frozen=True, slots=True)
class EncodedEntry:
    """An FAQ entry with every wording it is found by: (kind, text, stored vector)."""

    entry: FaqEntry
    wordings: Sequence[tuple[QuestionKind, str, bytes]]


@dataclass(frozen=True, slots=True)
class Content:
    """The searchable parts of a document; iterables, so that a long one need not be in memory."""

    chunks: Iterable[EncodedChunk] = ()
    entries: Iterable[EncodedEntry] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What ``put`` did, and the document's id."""

    status: PutStatus
    document_id: str
    chunks: int
    faq_entries: int


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document with its text and structure, as the evidence panel shows it.

    ``size``: bytes of the file it came from.
    """

    document_id: str
    collection: str
    source: str
    title: str
    language: Language
    kind: DocumentKind
    media_type: str
    size: int
    text: str
    headings: tuple[Heading, ...]
    pages: tuple[Page, ...]
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    created_at: str


@dataclass(frozen=True, slots=True)
class ConversationInfo:
    """A conversation in a list; ``title`` is its first question."""

    conversation_id: str
    title: str
    collection: str
    updated_at: str


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """One exchange as kept. ``answer`` is ``Answer.to_json()``; ``rating`` the feedback, if any."""

    index: int
    question: str
    standalone: str
    answer: Mapping[str, Any]
    created_at: str
    rating: Rating | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A rated answer, with what was asked and said."""

    conversation_id: str
    turn_index: int
    rating: Rating
    comment: str
    question: str
    standalone: str
    answer: Mapping[str, Any]
    collection: str
    created_at: str


@dataclass(frozen=True, slots=True)
class KnowledgeGap:
    """A question the documents did not answer, and the closest candidates there were."""

    gap_id: int
    scope: Scope
    conversation_id: str
    question: str
    candidates: tuple[Candidate, ...]
    created_at: str
