"""Collections and documents: find, list, describe, delete."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from assistant.errors import NotFoundError
from assistant.storage.engine import Database
from assistant.storage.models import (
    ChunkRow,
    CollectionRow,
    DeletionRow,
    DocumentRow,
    FaqEntryRow,
    FaqQuestionRow,
)
from assistant.storage.names import now, valid_name, valid_scope
from assistant.storage.values import CollectionRef, Fingerprint, StoredDocument
from assistant.types import CollectionInfo, DocumentInfo, Scope
from indexes.types import FaqEntry, Heading, Page, Span

COPY_TENANT = "copies for encoder "
"""Tenants of this prefix hold collections encoded by another encoder than the one in force."""

REF = select(
    CollectionRow.id,
    CollectionRow.uid,
    CollectionRow.tenant,
    CollectionRow.name,
    CollectionRow.version,
)


def _count(column: Any, owner: Any, of: Any) -> ColumnElement[int]:
    return select(func.count(column)).where(owner == of).scalar_subquery()


class Catalog:
    """Reads and deletions of collections and documents. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Collections

    def find(self, scope: Scope) -> CollectionRef | None:
        """The collection of this scope, or None. One short statement."""
        statement = REF.where(
            CollectionRow.tenant == scope.tenant, CollectionRow.name == scope.collection
        )
        with self._db.reading() as connection:
            row = connection.execute(statement).first()
        return CollectionRef(*row) if row else None

    def require(self, scope: Scope) -> CollectionRef:
        """The collection of this scope; NotFoundError names those there are."""
        scope = valid_scope(scope)
        found = self.find(scope)
        if found is None:
            raise NotFoundError(self._unknown(scope))
        return found

    def ensure(self, scope: Scope) -> CollectionRef:
        """The collection of this scope, made if it is new."""
        scope = valid_scope(scope)
        found = self.find(scope)
        if found is not None:
            return found
        values = {
            "uid": uuid.uuid4().hex,
            "tenant": scope.tenant,
            "name": scope.collection,
            "version": 0,
            "created_at": now(),
        }
        with self._db.writing() as connection:
            made = _insert_if_absent(connection, values)
        if not made:  # another process was first
            return self.require(scope)
        found = self.find(scope)
        return found if found is not None else self.require(scope)

    def all_collections(self, *, copies: bool = False) -> list[CollectionRef]:
        """Every collection of every tenant; with ``copies`` those for another encoder, too."""
        with self._db.reading() as connection:
            found = [CollectionRef(*row) for row in connection.execute(REF)]
        return [one for one in found if copies or not one.tenant.startswith(COPY_TENANT)]

    def collections(self, tenant: str) -> list[CollectionInfo]:
        """The tenant's collections by name."""
        tenant = valid_name(tenant, "The tenant")
        return self._infos(CollectionRow.tenant == tenant)

    def stats(self, scope: Scope) -> CollectionInfo:
        """Counts of one collection; NotFoundError if there is none."""
        found = self.require(scope)
        infos = self._infos(CollectionRow.id == literal(found.id))
        if not infos:
            raise NotFoundError(self._unknown(scope))
        return infos[0]

    def delete_collection(self, scope: Scope) -> CollectionRef:
        """Delete the collection with all that is in it, and return what it was."""
        found = self.require(scope)
        with self._db.writing() as connection:
            bump_version(connection, found)
            connection.execute(delete(CollectionRow).where(CollectionRow.id == found.id))
        return found

    def _infos(self, which: ColumnElement[bool]) -> list[CollectionInfo]:
        statement = (
            select(
                CollectionRow.tenant,
                CollectionRow.name,
                _count(DocumentRow.id, DocumentRow.collection_id, CollectionRow.id),
                _count(ChunkRow.id, ChunkRow.collection_id, CollectionRow.id),
                _count(FaqEntryRow.id, FaqEntryRow.collection_id, CollectionRow.id),
                CollectionRow.created_at,
            )
            .where(which)
            .order_by(CollectionRow.name)
        )
        with self._db.reading() as connection:
            return [CollectionInfo(*row) for row in connection.execute(statement)]

    def _unknown(self, scope: Scope) -> str:
        with self._db.reading() as connection:
            names = connection.scalars(
                select(CollectionRow.name)
                .where(CollectionRow.tenant == scope.tenant)
                .order_by(CollectionRow.name)
                .limit(20)
            ).all()
        known = ", ".join(names) if names else "none yet"
        return (
            f"There is no collection {scope.collection!r}. Collections: {known}. "
            "Add documents with `assistant ingest PATH --collection NAME`."
        )

    # Documents

    def documents(self, scope: Scope) -> list[DocumentInfo]:
        """The documents this scope may see, by source."""
        found = self.require(scope)
        statement = (
            select(
                DocumentRow.id,
                DocumentRow.source,
                DocumentRow.title,
                DocumentRow.language,
                DocumentRow.media_type,
                DocumentRow.characters,
                _count(ChunkRow.id, ChunkRow.document_id, DocumentRow.id),
                _count(FaqEntryRow.id, FaqEntryRow.document_id, DocumentRow.id),
                DocumentRow.tags,
                DocumentRow.created_at,
            )
            .where(DocumentRow.collection_id == found.id)
            .order_by(DocumentRow.source)
        )
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        return [
            DocumentInfo(
                document_id=row[0],
                collection=found.name,
                source=row[1],
                title=row[2],
                language=row[3],
                media_type=row[4],
                characters=row[5],
                chunks=row[6],
                faq_entries=row[7],
                tags=tuple(row[8]),
                created_at=row[9],
            )
            for row in rows
            if _visible(scope, row[8])
        ]

    def document(self, scope: Scope, document_id: str) -> StoredDocument:
        """A document with its text; NotFoundError if this scope has none of that id."""
        found = self.require(scope)
        statement = _full_document().where(
            DocumentRow.collection_id == found.id, DocumentRow.id == document_id
        )
        with self._db.reading() as connection:
            row = connection.execute(statement).first()
        if row is None or not _visible(scope, row.tags):
            raise NotFoundError(_no_document(document_id, found.name))
        return _stored(row, found.name)

    def delete_document(self, scope: Scope, document_id: str) -> None:
        """Delete a document; its items leave every answer with the same commit."""
        found = self.require(scope)
        with self._db.writing() as connection:
            bump_version(connection, found)
            tags = connection.scalar(
                select(DocumentRow.tags).where(
                    DocumentRow.collection_id == found.id, DocumentRow.id == document_id
                )
            )
            if tags is None or not _visible(scope, tags):
                raise NotFoundError(_no_document(document_id, found.name))
            remove_document(connection, found.id, document_id)

    def fingerprints(self, collection_id: int) -> dict[str, tuple[str, Fingerprint]]:
        """By source: the id of the collection's document and what it was stored from."""
        statement = select(
            DocumentRow.id,
            DocumentRow.source,
            DocumentRow.sha256,
            DocumentRow.kind,
            DocumentRow.tags,
            DocumentRow.recipe,
        ).where(DocumentRow.collection_id == collection_id)
        with self._db.reading() as connection:
            return {
                row[1]: (row[0], Fingerprint(row[2], row[3], tuple(row[4]), row[5]))
                for row in connection.execute(statement)
            }

    def stale_documents(self, collection: CollectionRef, recipe: str) -> list[str]:
        """Ids of the documents made by another recipe than this, in order of source."""
        statement = (
            select(DocumentRow.id)
            .where(DocumentRow.collection_id == collection.id, DocumentRow.recipe != recipe)
            .order_by(DocumentRow.source)
        )
        with self._db.reading() as connection:
            return list(connection.scalars(statement))

    def faq_entries(self, document_id: str) -> tuple[FaqEntry, ...]:
        """The entries of an FAQ document with their paraphrases, as they were loaded."""
        entries = select(FaqEntryRow).where(FaqEntryRow.document_id == document_id)
        wordings = (
            select(FaqQuestionRow.entry_id, FaqQuestionRow.text)
            .join(FaqEntryRow, FaqEntryRow.id == FaqQuestionRow.entry_id)
            .where(FaqEntryRow.document_id == document_id, FaqQuestionRow.kind == "paraphrase")
            .order_by(FaqQuestionRow.id)
        )
        with self._db.reading() as connection:
            rows = connection.execute(entries.order_by(FaqEntryRow.id)).all()
            paraphrases: dict[int, list[str]] = {}
            for entry_id, text in connection.execute(wordings):
                paraphrases.setdefault(entry_id, []).append(text)
        return tuple(
            FaqEntry(
                row.faq_id,
                row.question,
                row.answer,
                Span(row.start_at, row.end_at),
                tuple(paraphrases.get(row.id, ())),
            )
            for row in rows
        )


def bump_version(connection: Connection, collection: CollectionRef) -> None:
    """Take the collection's row lock and count the write. First statement of every write to it."""
    changed = connection.execute(
        update(CollectionRow)
        .where(CollectionRow.id == collection.id)
        .values(version=CollectionRow.version + 1)
    )
    if changed.rowcount != 1:
        raise NotFoundError(
            f"The collection {collection.name!r} was deleted meanwhile; nothing was written."
        )


def remove_document(connection: Connection, collection_id: int, document_id: str) -> None:
    """Delete a document within a write, and note each of its items for the indexes."""
    chunks = select(literal(collection_id), literal("chunks"), ChunkRow.id).where(
        ChunkRow.document_id == document_id
    )
    questions = (
        select(literal(collection_id), literal("faq"), FaqQuestionRow.id)
        .join(FaqEntryRow, FaqEntryRow.id == FaqQuestionRow.entry_id)
        .where(FaqEntryRow.document_id == document_id)
    )
    columns = ["collection_id", "index_name", "item_id"]
    connection.execute(insert(DeletionRow).from_select(columns, chunks))
    connection.execute(insert(DeletionRow).from_select(columns, questions))
    connection.execute(delete(DocumentRow).where(DocumentRow.id == document_id))


def _insert_if_absent(connection: Connection, values: dict[str, Any]) -> bool:
    taken = exists().where(
        CollectionRow.tenant == values["tenant"], CollectionRow.name == values["name"]
    )
    if connection.scalar(select(taken)):
        return False
    try:
        with connection.begin_nested():
            connection.execute(insert(CollectionRow).values(**values))
    except IntegrityError:
        return False
    return True


def _visible(scope: Scope, tags: Sequence[str]) -> bool:
    return not scope.tags or not scope.tags.isdisjoint(tags)


def _no_document(document_id: str, collection: str) -> str:
    return (
        f"There is no document {document_id[:64]!r} in collection {collection!r}; it may have been "
        "replaced or deleted. `assistant documents list` shows those there are."
    )


def _full_document() -> Select[Any]:
    return select(
        DocumentRow.id,
        DocumentRow.source,
        DocumentRow.title,
        DocumentRow.language,
        DocumentRow.kind,
        DocumentRow.media_type,
        DocumentRow.bytes,
        DocumentRow.text,
        DocumentRow.headings,
        DocumentRow.pages,
        DocumentRow.properties,
        DocumentRow.tags,
        DocumentRow.created_at,
    )


def _stored(row: Row[Any], collection: str) -> StoredDocument:
    return StoredDocument(
        document_id=row.id,
        collection=collection,
        source=row.source,
        title=row.title,
        language=row.language,
        kind=row.kind,
        media_type=row.media_type,
        size=row.bytes,
        text=row.text,
        headings=tuple(_headings(row.headings)),
        pages=tuple(Page(*values) for values in row.pages),
        metadata=row.properties,
        tags=tuple(row.tags),
        created_at=row.created_at,
    )


def _headings(stored: Sequence[Sequence[Any]]) -> Iterator[Heading]:
    return (Heading(level, title, start) for level, title, start in stored)
