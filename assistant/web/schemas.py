"""Request and response bodies of the HTTP API."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from assistant.types import DEFAULT_COLLECTION, AnswerKind
from indexes.types import Language

MAX_TAGS = 32
MAX_COMMENT_CHARS = 4000


def clean(text: str) -> str:
    """Return ``text`` if it can be stored; ValueError for NUL and half of a surrogate pair."""
    if "\0" in text:
        raise ValueError("contains a NUL character; remove it")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("contains half of a surrogate pair; send valid Unicode") from None
    return text


CleanText = Annotated[str, AfterValidator(clean)]
Name = Annotated[CleanText, Field(min_length=1, max_length=64)]
Identifier = Annotated[CleanText, Field(min_length=1, max_length=128)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChatRequest(_Request):
    """One question, alone or in a conversation."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "How do I report a lost card?", "collection": DEFAULT_COLLECTION},
                {"question": "那手续费呢？", "conversation_id": "0b51f4c8", "stream": True},
            ]
        },
    )

    question: CleanText = Field(description="The question, in Chinese or English.")
    collection: Name = Field(default=DEFAULT_COLLECTION, description="Where to look.")
    conversation_id: Identifier | None = Field(
        default=None, description="Continue this conversation; none: begin a new one."
    )
    tags: list[Name] = Field(
        default_factory=list,
        max_length=MAX_TAGS,
        description="Only items that carry at least one of these; empty: everything.",
    )
    stream: bool = Field(
        default=False,
        description="Answer as server-sent events; so does `Accept: text/event-stream`.",
    )


class Citation(BaseModel):
    """Evidence: `quote` is the document's text from `start` to `end` (code points)."""

    document_id: str
    title: str
    source: str
    chunk_id: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    quote: str


class Candidate(BaseModel):
    """A close question or passage, offered instead of an answer."""

    id: str
    question: str
    score: float = Field(ge=0, le=1)


class AnswerBody(BaseModel):
    """The answer, the same everywhere."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "Call 400-000-0000 at once; we block the card while you speak.",
                    "kind": "faq",
                    "confidence": 0.97,
                    "language": "en",
                    "faq_id": "card-lost",
                    "citations": [
                        {
                            "document_id": "d41d8c",
                            "title": "FAQ",
                            "source": "faq_en.csv",
                            "chunk_id": "12",
                            "start": 120,
                            "end": 177,
                            "quote": "Call 400-000-0000 at once; we block the card "
                            "while you speak.",
                        }
                    ],
                    "candidates": [],
                    "conversation_id": "0b51f4c8",
                    "model_versions": {"encoder": "help-zh-en"},
                    "timings_ms": {"total": 18.2},
                }
            ]
        }
    )

    answer: str
    kind: AnswerKind
    confidence: float = Field(ge=0, le=1, description="Calibrated probability of being right.")
    language: Language
    faq_id: str | None
    citations: list[Citation]
    candidates: list[Candidate]
    conversation_id: str
    model_versions: dict[str, str]
    timings_ms: dict[str, float]


class CollectionCreate(_Request):
    """A new, empty collection."""

    name: Name = Field(examples=["cards"])


class CollectionBody(BaseModel):
    """A collection and what it holds."""

    name: str
    documents: int
    chunks: int
    faq_entries: int
    created_at: str


class CollectionList(BaseModel):
    """Every collection of the tenant."""

    collections: list[CollectionBody]


class DocumentBody(BaseModel):
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
    tags: list[str]
    created_at: str


class DocumentList(BaseModel):
    """The documents of a collection."""

    documents: list[DocumentBody]


class HeadingBody(BaseModel):
    """A heading; level 1 is the outermost."""

    level: int
    title: str
    start: int


class PageBody(BaseModel):
    """A page; numbers count from 1."""

    number: int
    start: int
    end: int


class DocumentText(BaseModel):
    """A document as text with its structure. Offsets are code points, half open."""

    document_id: str
    title: str
    source: str
    language: Language
    text: str
    headings: list[HeadingBody]
    pages: list[PageBody]


class PassageBody(BaseModel):
    """A quote in its surroundings: `text[quote_start:quote_end]` is the quote."""

    document_id: str
    title: str
    source: str
    heading_path: list[str]
    page: int | None
    start: int = Field(description="Where `text` begins in the document.")
    text: str
    quote_start: int
    quote_end: int


class FileBody(BaseModel):
    """What became of one uploaded file."""

    source: str
    status: Literal["added", "replaced", "unchanged", "failed"]
    reason: str | None
    document_id: str | None
    chunks: int
    faq_entries: int
    warnings: list[str]


class UploadBody(BaseModel):
    """The outcome of an upload, file by file."""

    collection: str
    files: list[FileBody]
    failed: int
    seconds: float


class ConversationBody(BaseModel):
    """A conversation in a list."""

    conversation_id: str
    title: str
    collection: str
    updated_at: str


class ConversationList(BaseModel):
    """Conversations, latest first."""

    conversations: list[ConversationBody]


class TurnBody(BaseModel):
    """One exchange of a conversation."""

    question: str
    answer: dict[str, Any] = Field(description="The answer as given then.")
    created_at: str
    rating: Literal["up", "down"] | None
    comment: str


class ConversationTurns(BaseModel):
    """A conversation in full, oldest first."""

    conversation_id: str
    turns: list[TurnBody]


class FeedbackRequest(_Request):
    """A judgement of one answer."""

    conversation_id: Identifier
    turn_index: int = Field(ge=0, le=100_000, description="Counts from 0 in the conversation.")
    rating: Literal["up", "down"]
    comment: CleanText = Field(default="", max_length=MAX_COMMENT_CHARS)


class HealthBody(BaseModel):
    """`status` is `ok` when questions can be answered."""

    status: Literal["ok", "unavailable"]
    version: str
    checks: dict[str, str]


class ErrorDetail(BaseModel):
    """What went wrong: the value, the limit and the remedy."""

    type: str
    message: str


class ErrorBody(BaseModel):
    """Every failure has this shape."""

    error: ErrorDetail
