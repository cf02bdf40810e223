"""Storing a document: one transaction, whole or not at all."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, func, insert, select, update

from assistant.errors import NotFoundError
from assistant.storage.catalog import COPY_TENANT, REF, bump_version, remove_document
from assistant.storage.codec import encode_path
from assistant.storage.engine import Database
from assistant.storage.models import (
    ChunkRow,
    CollectionRow,
    DocumentRow,
    FaqEntryRow,
    FaqQuestionRow,
)
from assistant.storage.names import clean_text, now
from assistant.storage.values import (
    CollectionRef,
    Content,
    EncodedChunk,
    EncodedEntry,
    Fingerprint,
    NewDocument,
    PutStatus,
    Stored,
)

_BATCH = 500


class Writer:
    """Puts documents into collections. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, collection: CollectionRef, document: NewDocument, content: Content) -> Stored:
        """Store a document in place of the one of the same source, if any.

        When another process stored the very same meanwhile, nothing is done ("unchanged").
        ``content`` is read within the transaction: it must be ready, not computed on the way.
        """
        with self._db.writing() as connection:
            bump_version(connection, collection)
            old = _existing(connection, collection.id, document.source)
            status: PutStatus = "added"
            if old is not None:
                if _fingerprint(old) == document.fingerprint:
                    return _unchanged(connection, old.id)
                remove_document(connection, collection.id, old.id)
                status = "replaced"
            document_id = uuid.uuid4().hex
            _insert_document(connection, collection.id, document_id, document)
            keys: dict[str, Any] = {
                "collection_id": collection.id,
                "document_id": document_id,
            }
            tags = list(document.fingerprint.tags)
            chunks = _insert_chunks(connection, keys, tags, content.chunks)
            entries = _insert_entries(connection, keys, tags, document.language, content.entries)
        return Stored(status, document_id, chunks, entries)

    def exchange(self, pairs: Sequence[tuple[CollectionRef, CollectionRef]], former: str) -> bool:
        """Have each pair's second collection take the place of the first, all in one step.

        The first becomes a collection of the tenant ``former``, named by the other's uid. Returns
        False, having changed nothing, unless the pairs cover every collection and both of each
        pair hold the same documents (by source, content, kind and tags).
        """
        try:
            with self._db.writing() as connection:
                for live, copy in pairs:
                    bump_version(connection, live)
                    bump_version(connection, copy)
                _check_exchange(connection, pairs)
                for live, copy in pairs:
                    _rename(connection, live, former, copy.uid)
                    _rename(connection, copy, live.tenant, live.name)
        except (_Changed, NotFoundError):
            return False
        return True


def _existing(connection: Connection, collection_id: int, source: str) -> Row[Any] | None:
    statement = select(
        DocumentRow.id,
        DocumentRow.sha256,
        DocumentRow.kind,
        DocumentRow.tags,
        DocumentRow.recipe,
    ).where(DocumentRow.collection_id == collection_id, DocumentRow.source == clean_text(source))
    return connection.execute(statement).first()


def _fingerprint(row: Row[Any]) -> Fingerprint:
    return Fingerprint(row.sha256, row.kind, tuple(row.tags), row.recipe)


def _unchanged(connection: Connection, document_id: str) -> Stored:
    counts = [
        connection.scalar(select(func.count(table.id)).where(table.document_id == document_id))
        for table in (ChunkRow, FaqEntryRow)
    ]
    return Stored("unchanged", document_id, counts[0] or 0, counts[1] or 0)


def _insert_document(
    connection: Connection, collection_id: int, document_id: str, document: NewDocument
) -> None:
    values = {
        "id": document_id,
        "collection_id": collection_id,
        "source": clean_text(document.source),
        "title": clean_text(document.title),
        "language": document.language,
        "kind": document.fingerprint.kind,
        "media_type": document.media_type,
        "sha256": document.fingerprint.sha256,
        "recipe": document.fingerprint.recipe,
        "encoder": document.encoder,
        "bytes": document.size,
        "characters": len(document.text),
        "tags": list(document.fingerprint.tags),
        "created_at": now(),
        "properties": {clean_text(k): clean_text(v) for k, v in document.metadata.items()},
        "headings": [[h.level, clean_text(h.title), h.start] for h in document.headings],
        "pages": [[p.number, p.start, p.end] for p in document.pages],
        "text": clean_text(document.text),
    }
    connection.execute(insert(DocumentRow).values(**values))


def _insert_chunks(
    connection: Connection,
    keys: dict[str, Any],
    tags: list[str],
    chunks: Iterable[EncodedChunk],
) -> int:
    count = 0
    for batch in batched(chunks, _BATCH):
        rows = [
            {**keys, "tags": tags, "ordinal": ordinal, **_chunk_values(encoded)}
            for ordinal, encoded in enumerate(batch, start=count)
        ]
        connection.execute(insert(ChunkRow), rows)
        count += len(rows)
    return count


def _chunk_values(encoded: EncodedChunk) -> dict[str, Any]:
    chunk = encoded.chunk
    return {
        "start_at": chunk.start,
        "end_at": chunk.end,
        "page": chunk.page,
        "token_count": chunk.token_count,
        "heading_path": encode_path(chunk.heading_path),
        "context": clean_text(chunk.context),
        "text": clean_text(chunk.text),
        "vector": encoded.vector,
        "sentences": encoded.sentences,
    }


def _insert_entries(
    connection: Connection,
    keys: dict[str, Any],
    tags: list[str],
    language: str,
    entries: Iterable[EncodedEntry],
) -> int:
    statement = insert(FaqEntryRow).returning(FaqEntryRow.id, sort_by_parameter_order=True)
    count = 0
    for batch in batched(entries, _BATCH):
        rows = [{**keys, "language": language, **_entry_values(encoded)} for encoded in batch]
        ids = connection.scalars(statement, rows).all()
        wordings = [
            {
                "collection_id": keys["collection_id"],
                "entry_id": entry_id,
                "kind": kind,
                "tags": tags,
                "text": clean_text(text),
                "vector": vector,
            }
            for entry_id, encoded in zip(ids, batch, strict=True)
            for kind, text, vector in encoded.wordings
        ]
        connection.execute(insert(FaqQuestionRow), wordings)
        count += len(rows)
    return count


def _entry_values(encoded: EncodedEntry) -> dict[str, Any]:
    entry = encoded.entry
    return {
        "faq_id": clean_text(entry.faq_id),
        "start_at": entry.answer_span.start,
        "end_at": entry.answer_span.end,
        "question": clean_text(entry.question),
        "answer": clean_text(entry.answer),
    }


T = TypeVar("T")


def batched(items: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    """Yield the items in lists of at most ``size``."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class _Changed(Exception):
    """The collections to exchange are not, or no longer, alike."""


def _check_exchange(
    connection: Connection, pairs: Sequence[tuple[CollectionRef, CollectionRef]]
) -> None:
    rows = [CollectionRef(*row) for row in connection.execute(REF)]
    all_live = {row.id for row in rows if not row.tenant.startswith(COPY_TENANT)}
    if all_live != {live.id for live, _ in pairs}:
        raise _Changed
    for live, copy in pairs:
        if _contents(connection, live.id) != _contents(connection, copy.id):
            raise _Changed


def _contents(connection: Connection, collection_id: int) -> dict[str, tuple[str, str, list[Any]]]:
    statement = select(
        DocumentRow.source, DocumentRow.sha256, DocumentRow.kind, DocumentRow.tags
    ).where(DocumentRow.collection_id == collection_id)
    return {row[0]: (row[1], row[2], row[3]) for row in connection.execute(statement)}


def _rename(connection: Connection, collection: CollectionRef, tenant: str, name: str) -> None:
    connection.execute(
        update(CollectionRow)
        .where(CollectionRow.id == collection.id)
        .values(tenant=tenant, name=name)
    )
