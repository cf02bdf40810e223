"""The schema. SQL is the source of truth; the search indexes are derived from it.

Statements are written with SQLAlchemy Core against these classes: no ORM session is used, so a
row is only ever a plain value. Long columns come last, so that SQLite reads the short ones of a
row without following its overflow pages.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Names are given to every constraint, so that later migrations can refer to them.
NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite gives ids that are never reused only to INTEGER PRIMARY KEY AUTOINCREMENT.
BigId = BigInteger().with_variant(Integer, "sqlite")
NEVER_REUSED = {"sqlite_autoincrement": True}


class Base(DeclarativeBase):
    """Base of the tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, bytes: LargeBinary}  # noqa: RUF012


def _cascade(column: str) -> ForeignKey:
    return ForeignKey(column, ondelete="CASCADE")


class CollectionRow(Base):
    """A named set of documents of one tenant.

    ``version`` grows with every write to the collection, in the same transaction and before any
    other statement: the row lock this takes makes item ids grow in commit order. ``uid`` names the
    index folder, so that a collection deleted and made again never meets old files.
    """

    __tablename__ = "collections"
    __table_args__ = (UniqueConstraint("tenant", "name"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[str] = mapped_column(String(32))


class DocumentRow(Base):
    """A loaded source. A replaced document is a new row with a new id.

    ``recipe`` names how its chunks were made (bounds and encoder): with ``sha256``, ``kind`` and
    ``tags`` it decides whether a file is unchanged.
    """

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("collection_id", "source"),
        Index("ix_documents_encoder", "collection_id", "encoder"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    collection_id: Mapped[int] = mapped_column(BigId, _cascade("collections.id"))
    source: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(8))
    kind: Mapped[str] = mapped_column(String(16))
    media_type: Mapped[str] = mapped_column(String(128))
    sha256: Mapped[str] = mapped_column(String(64))
    recipe: Mapped[str] = mapped_column(Text)
    encoder: Mapped[str] = mapped_column(String(128))
    bytes: Mapped[int] = mapped_column(BigInteger)
    characters: Mapped[int] = mapped_column(BigInteger)
    tags: Mapped[list[Any]]
    created_at: Mapped[str] = mapped_column(String(32))
    properties: Mapped[dict[str, Any]]
    headings: Mapped[list[Any]]
    pages: Mapped[list[Any]]
    text: Mapped[str] = mapped_column(Text)


class ChunkRow(Base):
    """A passage and its vectors.

    ``text`` repeats the document's, since a cut out of a long document costs a scan of it at
    every read. ``heading_path`` is a JSON list kept as text: the same few paths come again and
    again, and decoding them one row at a time would be the costliest part of a read.
    """

    __tablename__ = "chunks"
    __table_args__ = (
        Index("ix_chunks_feed", "collection_id", "id"),
        Index("ix_chunks_document", "document_id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    collection_id: Mapped[int] = mapped_column(BigId, _cascade("collections.id"))
    document_id: Mapped[str] = mapped_column(String(32), _cascade("documents.id"))
    ordinal: Mapped[int]
    start_at: Mapped[int]
    end_at: Mapped[int]
    page: Mapped[int | None]
    token_count: Mapped[int]
    tags: Mapped[list[Any]]
    heading_path: Mapped[str] = mapped_column(Text)
    context: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    vector: Mapped[bytes]
    sentences: Mapped[bytes]


class FaqEntryRow(Base):
    """An approved question and answer; the answer stands in the document's text."""

    __tablename__ = "faq_entries"
    __table_args__ = (Index("ix_faq_entries_document", "document_id"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    collection_id: Mapped[int] = mapped_column(BigId, _cascade("collections.id"))
    document_id: Mapped[str] = mapped_column(String(32), _cascade("documents.id"))
    faq_id: Mapped[str] = mapped_column(Text)
    language: Mapped[str] = mapped_column(String(8))
    start_at: Mapped[int]
    end_at: Mapped[int]
    question: Mapped[str] = mapped_column(Text)
    answer: Mapped[str] = mapped_column(Text)


class FaqQuestionRow(Base):
    """One wording under which an entry is found: the question, a paraphrase, or the pair of
    question and answer (found by the wording of the answer)."""

    __tablename__ = "faq_questions"
    __table_args__ = (
        Index("ix_faq_questions_feed", "collection_id", "id"),
        Index("ix_faq_questions_entry", "entry_id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    collection_id: Mapped[int] = mapped_column(BigId, _cascade("collections.id"))
    entry_id: Mapped[int] = mapped_column(BigId, _cascade("faq_entries.id"))
    kind: Mapped[str] = mapped_column(String(16))
    tags: Mapped[list[Any]]
    text: Mapped[str] = mapped_column(Text)
    vector: Mapped[bytes]


class DeletionRow(Base):
    """An item that left an index (``chunks`` or ``faq``); indexes catch up by id."""

    __tablename__ = "deletions"
    __table_args__ = (
        Index("ix_deletions_feed", "collection_id", "index_name", "id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    collection_id: Mapped[int] = mapped_column(BigId, _cascade("collections.id"))
    index_name: Mapped[str] = mapped_column(String(8))
    item_id: Mapped[int] = mapped_column(BigInteger)


class ConversationRow(Base):
    """A conversation; its title is its first question."""

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_recent", "tenant", "updated_at"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    collection: Mapped[str] = mapped_column(String(64))
    title: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))
    updated_at: Mapped[str] = mapped_column(String(32))


class TurnRow(Base):
    """One exchange; ``position`` counts from 0 within the conversation."""

    __tablename__ = "turns"
    __table_args__ = (UniqueConstraint("conversation_id", "position"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    conversation_id: Mapped[str] = mapped_column(String(64), _cascade("conversations.id"))
    position: Mapped[int]
    question: Mapped[str] = mapped_column(Text)
    standalone: Mapped[str] = mapped_column(Text)
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[str] = mapped_column(String(32))


class FeedbackRow(Base):
    """What a user thought of one answer; the last word counts."""

    __tablename__ = "feedback"
    __table_args__ = (NEVER_REUSED,)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    turn_id: Mapped[int] = mapped_column(BigId, _cascade("turns.id"), unique=True)
    rating: Mapped[str] = mapped_column(String(8))
    comment: Mapped[str] = mapped_column(Text)
    created_at: Mapped[str] = mapped_column(String(32))


class KnowledgeGapRow(Base):
    """A question the documents did not answer, with the closest there was."""

    __tablename__ = "knowledge_gaps"
    __table_args__ = (
        Index("ix_knowledge_gaps_recent", "tenant", "collection", "id"),
        NEVER_REUSED,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(String(64))
    collection: Mapped[str] = mapped_column(String(64))
    conversation_id: Mapped[str] = mapped_column(String(64))
    question: Mapped[str] = mapped_column(Text)
    candidates: Mapped[list[Any]]
    created_at: Mapped[str] = mapped_column(String(32))


class IntentRow(Base):
    """An intent of a tenant. One that is replaced is a new row: ids tell whether any changed."""

    __tablename__ = "intents"
    __table_args__ = (UniqueConstraint("tenant", "name"), NEVER_REUSED)

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(16))
    examples: Mapped[list[Any]]
    reply_zh: Mapped[str] = mapped_column(Text)
    reply_en: Mapped[str] = mapped_column(Text)
