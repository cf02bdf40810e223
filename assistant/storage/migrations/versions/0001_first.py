"""Collections, documents, chunks, FAQ, deletions; conversations, feedback, knowledge gaps."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the first schema."""
    _collections_and_documents()
    _chunks()
    _faq()
    _deletions()
    _conversations()
    _knowledge_gaps()


def _id() -> sa.Column[int]:
    return sa.Column("id", BIG_ID, autoincrement=True, nullable=False)


def _required(name: str, kind: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _cascade(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [target], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )


def _collections_and_documents() -> None:
    op.create_table(
        "collections",
        _id(),
        _required("uid", sa.String(32)),
        _required("tenant", sa.String(64)),
        _required("name", sa.String(64)),
        _required("version", sa.BigInteger()),
        _required("created_at", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("tenant", "name", name="uq_collections_tenant"),
        sa.UniqueConstraint("uid", name="uq_collections_uid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "documents",
        _required("id", sa.String(32)),
        _required("collection_id", BIG_ID),
        _required("source", sa.Text()),
        _required("title", sa.Text()),
        _required("language", sa.String(8)),
        _required("kind", sa.String(16)),
        _required("media_type", sa.String(128)),
        _required("sha256", sa.String(64)),
        _required("recipe", sa.Text()),
        _required("encoder", sa.String(128)),
        _required("bytes", sa.BigInteger()),
        _required("characters", sa.BigInteger()),
        _required("tags", sa.JSON()),
        _required("created_at", sa.String(32)),
        _required("properties", sa.JSON()),
        _required("headings", sa.JSON()),
        _required("pages", sa.JSON()),
        _required("text", sa.Text()),
        _cascade("documents", "collection_id", "collections.id"),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
        sa.UniqueConstraint("collection_id", "source", name="uq_documents_collection_id"),
    )
    op.create_index("ix_documents_encoder", "documents", ["collection_id", "encoder"])


def _chunks() -> None:
    op.create_table(
        "chunks",
        _id(),
        _required("collection_id", BIG_ID),
        _required("document_id", sa.String(32)),
        _required("ordinal", sa.Integer()),
        _required("start_at", sa.Integer()),
        _required("end_at", sa.Integer()),
        sa.Column("page", sa.Integer(), nullable=True),
        _required("token_count", sa.Integer()),
        _required("tags", sa.JSON()),
        _required("heading_path", sa.Text()),
        _required("context", sa.Text()),
        _required("text", sa.Text()),
        _required("vector", sa.LargeBinary()),
        _required("sentences", sa.LargeBinary()),
        _cascade("chunks", "collection_id", "collections.id"),
        _cascade("chunks", "document_id", "documents.id"),
        sa.PrimaryKeyConstraint("id", name="pk_chunks"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_chunks_document", "chunks", ["document_id"])
    op.create_index("ix_chunks_feed", "chunks", ["collection_id", "id"])


def _faq() -> None:
    op.create_table(
        "faq_entries",
        _id(),
        _required("collection_id", BIG_ID),
        _required("document_id", sa.String(32)),
        _required("faq_id", sa.Text()),
        _required("language", sa.String(8)),
        _required("start_at", sa.Integer()),
        _required("end_at", sa.Integer()),
        _required("question", sa.Text()),
        _required("answer", sa.Text()),
        _cascade("faq_entries", "collection_id", "collections.id"),
        _cascade("faq_entries", "document_id", "documents.id"),
        sa.PrimaryKeyConstraint("id", name="pk_faq_entries"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faq_entries_document", "faq_entries", ["document_id"])
    op.create_table(
        "faq_questions",
        _id(),
        _required("collection_id", BIG_ID),
        _required("entry_id", BIG_ID),
        _required("kind", sa.String(16)),
        _required("tags", sa.JSON()),
        _required("text", sa.Text()),
        _required("vector", sa.LargeBinary()),
        _cascade("faq_questions", "collection_id", "collections.id"),
        _cascade("faq_questions", "entry_id", "faq_entries.id"),
        sa.PrimaryKeyConstraint("id", name="pk_faq_questions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faq_questions_entry", "faq_questions", ["entry_id"])
    op.create_index("ix_faq_questions_feed", "faq_questions", ["collection_id", "id"])


def _deletions() -> None:
    op.create_table(
        "deletions",
        _id(),
        _required("collection_id", BIG_ID),
        _required("index_name", sa.String(8)),
        _required("item_id", sa.BigInteger()),
        _cascade("deletions", "collection_id", "collections.id"),
        sa.PrimaryKeyConstraint("id", name="pk_deletions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deletions_feed", "deletions", ["collection_id", "index_name", "id"])


def _conversations() -> None:
    op.create_table(
        "conversations",
        _required("id", sa.String(64)),
        _required("tenant", sa.String(64)),
        _required("collection", sa.String(64)),
        _required("title", sa.Text()),
        _required("created_at", sa.String(32)),
        _required("updated_at", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
    )
    op.create_index("ix_conversations_recent", "conversations", ["tenant", "updated_at"])
    op.create_table(
        "turns",
        _id(),
        _required("conversation_id", sa.String(64)),
        _required("position", sa.Integer()),
        _required("question", sa.Text()),
        _required("standalone", sa.Text()),
        _required("answer", sa.JSON()),
        _required("created_at", sa.String(32)),
        _cascade("turns", "conversation_id", "conversations.id"),
        sa.PrimaryKeyConstraint("id", name="pk_turns"),
        sa.UniqueConstraint("conversation_id", "position", name="uq_turns_conversation_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "feedback",
        _id(),
        _required("turn_id", BIG_ID),
        _required("rating", sa.String(8)),
        _required("comment", sa.Text()),
        _required("created_at", sa.String(32)),
        _cascade("feedback", "turn_id", "turns.id"),
        sa.PrimaryKeyConstraint("id", name="pk_feedback"),
        sa.UniqueConstraint("turn_id", name="uq_feedback_turn_id"),
        sqlite_autoincrement=True,
    )


def _knowledge_gaps() -> None:
    op.create_table(
        "knowledge_gaps",
        _id(),
        _required("tenant", sa.String(64)),
        _required("collection", sa.String(64)),
        _required("conversation_id", sa.String(64)),
        _required("question", sa.Text()),
        _required("candidates", sa.JSON()),
        _required("created_at", sa.String(32)),
        sa.PrimaryKeyConstraint("id", name="pk_knowledge_gaps"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_knowledge_gaps_recent", "knowledge_gaps", ["tenant", "collection", "id"])
