"""Knowledge gaps: questions that were not answered, for whoever keeps the documents."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from assistant.errors import NotFoundError
from assistant.storage.engine import Database
from assistant.storage.models import KnowledgeGapRow
from assistant.storage.names import clean_text, now, valid_name, valid_scope
from assistant.storage.values import KnowledgeGap
from assistant.types import Candidate, Scope


class KnowledgeGaps:
    """The log of unanswered questions. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        scope: Scope,
        question: str,
        candidates: Sequence[Candidate] = (),
        conversation_id: str = "",
    ) -> None:
        """Note a question with the closest candidates there were, best first."""
        self.add_many([(scope, question, candidates, conversation_id)])

    def add_many(self, gaps: Sequence[tuple[Scope, str, Sequence[Candidate], str]]) -> None:
        """Note several at once, (scope, question, candidates, conversation id), in one commit."""
        moment = now()
        rows = [
            {
                "tenant": valid_scope(scope).tenant,
                "collection": valid_scope(scope).collection,
                "conversation_id": clean_text(conversation_id)[:64],
                "question": clean_text(question),
                "candidates": [[c.id, clean_text(c.question), c.score] for c in candidates],
                "created_at": moment,
            }
            for scope, question, candidates, conversation_id in gaps
        ]
        if rows:
            with self._db.writing() as connection:
                connection.execute(insert(KnowledgeGapRow), rows)

    def recent(
        self, tenant: str, collection: str | None = None, limit: int = 1000
    ) -> list[KnowledgeGap]:
        """The tenant's gaps, latest first, of one collection or of all."""
        statement = (
            select(
                KnowledgeGapRow.id,
                KnowledgeGapRow.tenant,
                KnowledgeGapRow.collection,
                KnowledgeGapRow.conversation_id,
                KnowledgeGapRow.question,
                KnowledgeGapRow.candidates,
                KnowledgeGapRow.created_at,
            )
            .where(KnowledgeGapRow.tenant == valid_name(tenant, "The tenant"))
            .order_by(KnowledgeGapRow.id.desc())
            .limit(limit)
        )
        if collection is not None:
            statement = statement.where(KnowledgeGapRow.collection == collection)
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        return [
            KnowledgeGap(
                gap_id=row[0],
                scope=Scope(row[1], row[2]),
                conversation_id=row[3],
                question=row[4],
                candidates=tuple(Candidate(*values) for values in row[5]),
                created_at=row[6],
            )
            for row in rows
        ]

    def delete(self, tenant: str, gap_id: int) -> None:
        """Take a gap off the list, once it is mended. NotFoundError if there is none such."""
        with self._db.writing() as connection:
            gone = connection.execute(
                delete(KnowledgeGapRow).where(
                    KnowledgeGapRow.id == gap_id, KnowledgeGapRow.tenant == tenant
                )
            )
            if not gone.rowcount:
                raise NotFoundError(f"There is no knowledge gap {gap_id}.")
