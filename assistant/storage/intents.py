"""Intents that tenants name by examples."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select

from assistant.errors import InvalidInputError, NotFoundError
from assistant.storage.codec import decode_vectors
from assistant.storage.engine import Database
from assistant.storage.models import (
    CollectionRow,
    DocumentRow,
    FaqEntryRow,
    FaqQuestionRow,
    IntentRow,
)
from assistant.storage.names import clean_text, valid_name
from assistant.types import Intent, IntentAction
from indexes.types import FloatArray, Language

MIN_EXAMPLES = 3
MAX_EXAMPLES = 200
MAX_INTENTS = 500
MAX_CHARS = 500
MAX_REPLY_CHARS = 2000


class Intents:
    """The intents of all tenants. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def put(self, tenant: str, intents: Sequence[Intent]) -> list[Intent]:
        """Store intents, each in place of the tenant's one of that name; return them as kept.

        Raises InvalidInputError for a bad name, too few, too many or too long examples, or more
        intents than a tenant may have; nothing is stored then.
        """
        tenant = valid_name(tenant, "The tenant")
        kept = [_checked(intent) for intent in intents]
        names = [intent.name for intent in kept]
        with self._db.writing() as connection:
            mine = IntentRow.tenant == tenant
            connection.execute(delete(IntentRow).where(mine, IntentRow.name.in_(names)))
            others = connection.scalar(select(func.count()).where(mine)) or 0
            if others + len(kept) > MAX_INTENTS:
                raise InvalidInputError(
                    f"The tenant would have {others + len(kept)} intents; at most {MAX_INTENTS} "
                    "are possible. Delete some, or join intents that lead to the same action."
                )
            if kept:
                connection.execute(insert(IntentRow), [_values(tenant, one) for one in kept])
        return kept

    def delete(self, tenant: str, name: str) -> None:
        """Delete an intent. Raises NotFoundError when there is none of the name."""
        with self._db.writing() as connection:
            gone = connection.execute(
                delete(IntentRow).where(IntentRow.tenant == tenant, IntentRow.name == name)
            )
            if not gone.rowcount:
                raise NotFoundError(f"There is no intent {name[:80]!r}.")

    def of(self, tenant: str) -> list[Intent]:
        """The tenant's intents by name."""
        statement = (
            select(
                IntentRow.name,
                IntentRow.examples,
                IntentRow.action,
                IntentRow.reply_zh,
                IntentRow.reply_en,
            )
            .where(IntentRow.tenant == tenant)
            .order_by(IntentRow.name)
        )
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        return [Intent(r[0], tuple(r[1]), IntentAction(r[2]), r[3], r[4]) for r in rows]

    def state(self, tenant: str) -> tuple[int, int, int]:
        """A value that changes with the tenant's intents and documents; its first number counts
        the intents."""
        intents = select(func.count(), func.coalesce(func.max(IntentRow.id), 0)).where(
            IntentRow.tenant == tenant
        )
        documents = select(func.coalesce(func.sum(CollectionRow.version), 0)).where(
            CollectionRow.tenant == tenant
        )
        with self._db.reading() as connection:
            count, last = connection.execute(intents).one()
            return count, last, int(connection.scalar(documents) or 0) if count else 0

    def usual_questions(
        self, tenant: str, encoder: str, dim: int, limit: int
    ) -> tuple[FloatArray, list[Language]]:
        """Vectors (n <= limit, dim) that ``encoder`` made of the tenant's latest FAQ questions,
        what its customers ask of other things, and their languages."""
        statement = (
            select(FaqQuestionRow.vector, FaqEntryRow.language)
            .join(FaqEntryRow, FaqEntryRow.id == FaqQuestionRow.entry_id)
            .join(DocumentRow, DocumentRow.id == FaqEntryRow.document_id)
            .join(CollectionRow, CollectionRow.id == FaqQuestionRow.collection_id)
            .where(
                CollectionRow.tenant == tenant,
                DocumentRow.encoder == encoder,
                FaqQuestionRow.kind == "question",
            )
            .order_by(FaqQuestionRow.id.desc())
            .limit(limit)
        )
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        languages: list[Language] = ["zh" if row[1] == "zh" else "en" for row in rows]
        return decode_vectors([row[0] for row in rows], dim), languages


def _checked(intent: Intent) -> Intent:
    name = valid_name(intent.name, "The intent")
    examples = tuple(dict.fromkeys(e for e in map(_clean, intent.examples) if e))
    if not MIN_EXAMPLES <= len(examples) <= MAX_EXAMPLES:
        raise InvalidInputError(
            f"The intent {name!r} has {len(examples)} different examples; give {MIN_EXAMPLES} to "
            f"{MAX_EXAMPLES}, five or more for a good match."
        )
    longest = max(examples, key=len)
    if len(longest) > MAX_CHARS:
        raise InvalidInputError(
            f"An example of the intent {name!r} has {len(longest)} characters; at most {MAX_CHARS} "
            f"are possible: {longest[:40]!r}... Give a question as a customer would put it."
        )
    replies = _clean(intent.reply_zh), _clean(intent.reply_en)
    if max(map(len, replies)) > MAX_REPLY_CHARS:
        raise InvalidInputError(
            f"A reply of the intent {name!r} has {max(map(len, replies))} characters; at most "
            f"{MAX_REPLY_CHARS} are possible. Shorten it, or put the text into a document."
        )
    return Intent(name, examples, intent.action, *replies)


def _clean(text: str) -> str:
    return clean_text(" ".join(text.split()))


def _values(tenant: str, intent: Intent) -> dict[str, object]:
    return {
        "tenant": tenant,
        "name": intent.name,
        "action": intent.action.value,
        "examples": list(intent.examples),
        "reply_zh": intent.reply_zh,
        "reply_en": intent.reply_en,
    }
