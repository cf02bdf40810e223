"""What the search indexes read: the feed of items and deletions, and the rows behind hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, func, literal, select

from assistant.storage.codec import Sentences, decode_path, decode_vectors
from assistant.storage.engine import Database
from assistant.storage.models import (
    ChunkRow,
    CollectionRow,
    DeletionRow,
    DocumentRow,
    FaqEntryRow,
    FaqQuestionRow,
)
from assistant.storage.values import IndexName
from indexes.types import IndexItem, Language

_FEED_ROWS = 1000
# Keeps a statement well under the million bytes SQLite takes.
_IDS = 10_000


class ChunkFields(NamedTuple):
    """A chunk as a hit needs it: the fields of ``ChunkHit`` before the scores, in its order."""

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
    sentences: Sentences


class FaqFields(NamedTuple):
    """A wording of an FAQ entry: ``entry`` tells which, the rest are ``FaqHit``'s fields."""

    entry: int
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


@dataclass(frozen=True, slots=True)
class StaleDocuments:
    """How many documents of a collection were encoded by another encoder."""

    stale: int
    total: int


class Feed:
    """One state of one collection, as far as its indexes go."""

    def __init__(self, connection: Connection, collection_id: int) -> None:
        self._connection = connection
        self._collection = collection_id

    def version(self) -> int | None:
        """The collection's version in this state; None when it is gone."""
        return self._connection.scalar(
            select(CollectionRow.version).where(CollectionRow.id == self._collection)
        )

    def stale(self, encoder: str) -> StaleDocuments:
        """Count the documents that another encoder than this made."""
        count = select(func.count(DocumentRow.id)).where(
            DocumentRow.collection_id == self._collection
        )
        fresh = self._connection.scalar(count.where(DocumentRow.encoder == encoder)) or 0
        total = self._connection.scalar(count) or 0
        return StaleDocuments(total - fresh, total)

    def items(self, index: IndexName, after: int, dim: int) -> Iterator[IndexItem]:
        """Items of this index with an id above ``after``, by id, read as they are needed."""
        statement = _CHUNK_FEED if index == "chunks" else _FAQ_FEED
        table = ChunkRow if index == "chunks" else FaqQuestionRow
        statement = statement.where(
            table.collection_id == self._collection, table.id > after
        ).order_by(table.id)
        streaming = self._connection.execution_options(yield_per=_FEED_ROWS)
        for rows in streaming.execute(statement).partitions():
            vectors = decode_vectors([row.vector for row in rows], dim)
            for row, vector in zip(rows, vectors, strict=True):
                yield IndexItem(row.id, _indexed_text(row), vector, frozenset(row.tags))

    def deletions(self, index: IndexName, after: int) -> tuple[list[int], int]:
        """Items deleted since deletion ``after``, and the id of the last deletion."""
        rows = self._connection.execute(
            select(DeletionRow.item_id, DeletionRow.id)
            .where(
                DeletionRow.collection_id == self._collection,
                DeletionRow.index_name == index,
                DeletionRow.id > after,
            )
            .order_by(DeletionRow.id)
        ).all()
        return [row[0] for row in rows], (rows[-1][1] if rows else after)

    def high_water(self, index: IndexName) -> tuple[int, int]:
        """The highest item id and deletion id this collection ever had in this index."""
        table = ChunkRow if index == "chunks" else FaqQuestionRow
        present = select(func.max(table.id)).where(table.collection_id == self._collection)
        deleted = select(func.max(DeletionRow.item_id), func.max(DeletionRow.id)).where(
            DeletionRow.collection_id == self._collection, DeletionRow.index_name == index
        )
        highest = self._connection.scalar(present) or 0
        item, deletion = self._connection.execute(deleted).one()
        return max(highest, item or 0), deletion or 0


class Passages:
    """Access to items for the indexes. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    @contextmanager
    def feed(self, collection_id: int) -> Iterator[Feed]:
        """Read one collection in one state, whatever is written meanwhile."""
        with self._db.reading() as connection:
            yield Feed(connection, collection_id)

    def flush(self) -> None:
        """See ``Database.flush``: call it before writing an index generation."""
        self._db.flush()

    def chunks(self, ids: Sequence[int]) -> list[ChunkFields]:
        """The chunks of these ids that exist, in no particular order."""
        return [
            ChunkFields(
                a,
                b,
                c,
                d,
                e,
                start,
                end,
                text,
                decode_path(path),
                page,
                Sentences(blob, text, start),
            )
            for a, b, c, d, e, start, end, text, path, page, blob in self._rows(
                _CHUNK_ROWS, ChunkRow.id, ids
            )
        ]

    def wordings(self, ids: Sequence[int]) -> list[tuple[int, FaqFields]]:
        """The FAQ wordings of these ids that exist, with their ids, in no particular order."""
        return [
            (row[0], FaqFields(*row[1:12])) for row in self._rows(_FAQ_ROWS, FaqQuestionRow.id, ids)
        ]

    def _rows(self, statement: Any, column: Any, ids: Sequence[int]) -> list[Any]:
        rows: list[Any] = []
        ordered = sorted(ids)
        # Numbers are written into the statement: binding thousands of them costs more than that.
        which = column.in_(bindparam("ids", expanding=True, literal_execute=True))
        with self._db.reading() as connection:
            for first in range(0, len(ordered), _IDS):
                part = ordered[first : first + _IDS]
                rows.extend(connection.execute(statement.where(which), {"ids": part}).all())
        return rows


def _indexed_text(row: Any) -> str:
    return f"{row.context}\n{row.text}" if row.context else str(row.text)


_CHUNK_FEED = select(ChunkRow.id, ChunkRow.context, ChunkRow.text, ChunkRow.vector, ChunkRow.tags)
_FAQ_FEED = select(
    FaqQuestionRow.id,
    literal("").label("context"),
    FaqQuestionRow.text,
    FaqQuestionRow.vector,
    FaqQuestionRow.tags,
)
_CHUNK_ROWS = select(
    ChunkRow.id,
    ChunkRow.document_id,
    DocumentRow.title,
    DocumentRow.source,
    DocumentRow.language,
    ChunkRow.start_at,
    ChunkRow.end_at,
    ChunkRow.text,
    ChunkRow.heading_path,
    ChunkRow.page,
    ChunkRow.sentences,
).join(DocumentRow, DocumentRow.id == ChunkRow.document_id)
_FAQ_ROWS = (
    select(
        FaqQuestionRow.id,
        FaqEntryRow.id,
        FaqEntryRow.faq_id,
        FaqEntryRow.question,
        # A pair matches by its answer too: the wording to show is the approved question.
        case(
            (FaqQuestionRow.kind == "pair", FaqEntryRow.question), else_=FaqQuestionRow.text
        ).label("matched"),
        FaqEntryRow.answer,
        FaqEntryRow.language,
        FaqEntryRow.document_id,
        DocumentRow.title,
        DocumentRow.source,
        FaqEntryRow.start_at,
        FaqEntryRow.end_at,
    )
    .join(FaqEntryRow, FaqEntryRow.id == FaqQuestionRow.entry_id)
    .join(DocumentRow, DocumentRow.id == FaqEntryRow.document_id)
)
