"""Conversations and the feedback on their answers."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import Connection, delete, func, insert, select, update

from assistant.errors import InvalidInputError, NotFoundError
from assistant.storage.engine import Database
from assistant.storage.models import ConversationRow, FeedbackRow, TurnRow
from assistant.storage.names import clean_text, now, valid_name, valid_scope
from assistant.storage.values import ConversationInfo, Feedback, Rating, StoredTurn
from assistant.types import Answer, AnswerKind, Scope, Turn

MAX_ID = 64
MAX_TITLE = 120
MAX_COMMENT = 4000


class Conversations:
    """Turns in order, by conversation; a tenant sees only its own. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def append(
        self, scope: Scope, conversation_id: str, question: str, standalone: str, answer: Answer
    ) -> int:
        """Add a turn and return its index, from 0. The first one begins the conversation.

        NotFoundError when the id belongs to another tenant.
        """
        scope = valid_scope(scope)
        conversation_id = _valid_id(conversation_id)
        with self._db.writing() as connection:
            self._begin_or_touch(connection, scope, conversation_id, clean_text(question))
            last = connection.scalar(
                select(func.max(TurnRow.position)).where(TurnRow.conversation_id == conversation_id)
            )
            position = 0 if last is None else last + 1
            connection.execute(
                insert(TurnRow).values(
                    conversation_id=conversation_id,
                    position=position,
                    question=clean_text(question),
                    standalone=clean_text(standalone),
                    answer=_clean_json(answer.to_json()),
                    created_at=now(),
                )
            )
        return position

    def _begin_or_touch(
        self, connection: Connection, scope: Scope, conversation_id: str, question: str
    ) -> None:
        # The update also takes the conversation's row lock, so that positions do not collide.
        touched = connection.execute(
            update(ConversationRow)
            .where(ConversationRow.id == conversation_id, ConversationRow.tenant == scope.tenant)
            .values(updated_at=now(), collection=scope.collection)
        )
        if touched.rowcount:
            return
        if connection.scalar(
            select(ConversationRow.id).where(ConversationRow.id == conversation_id)
        ):
            raise NotFoundError(_unknown(conversation_id))
        moment = now()
        connection.execute(
            insert(ConversationRow).values(
                id=conversation_id,
                tenant=scope.tenant,
                collection=scope.collection,
                title=_title(question),
                created_at=moment,
                updated_at=moment,
            )
        )

    def turns(self, tenant: str, conversation_id: str) -> list[StoredTurn]:
        """Every turn, oldest first, with its feedback. NotFoundError if there is none such."""
        statement = (
            select(
                TurnRow.position,
                TurnRow.question,
                TurnRow.standalone,
                TurnRow.answer,
                TurnRow.created_at,
                FeedbackRow.rating,
                func.coalesce(FeedbackRow.comment, ""),
            )
            .join(ConversationRow, ConversationRow.id == TurnRow.conversation_id)
            .outerjoin(FeedbackRow, FeedbackRow.turn_id == TurnRow.id)
            .where(ConversationRow.tenant == tenant, ConversationRow.id == conversation_id)
            .order_by(TurnRow.position)
        )
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        if not rows:
            raise NotFoundError(_unknown(conversation_id))
        return [StoredTurn(*row) for row in rows]

    def history(self, tenant: str, conversation_id: str, limit: int = 8) -> tuple[Turn, ...]:
        """The last turns, oldest first, as dialogue needs them; empty for a new conversation."""
        statement = (
            select(TurnRow.question, TurnRow.standalone, TurnRow.answer)
            .join(ConversationRow, ConversationRow.id == TurnRow.conversation_id)
            .where(ConversationRow.tenant == tenant, ConversationRow.id == conversation_id)
            .order_by(TurnRow.position.desc())
            .limit(limit)
        )
        with self._db.reading() as connection:
            rows = connection.execute(statement).all()
        return tuple(
            Turn(question, standalone, answer["answer"], AnswerKind(answer["kind"]))
            for question, standalone, answer in reversed(rows)
        )

    def recent(self, tenant: str, limit: int = 50) -> list[ConversationInfo]:
        """The tenant's conversations, latest first."""
        # Two may have been touched in the same millisecond: then the later turn tells.
        last_turn = (
            select(func.max(TurnRow.id))
            .where(TurnRow.conversation_id == ConversationRow.id)
            .scalar_subquery()
        )
        statement = (
            select(
                ConversationRow.id,
                ConversationRow.title,
                ConversationRow.collection,
                ConversationRow.updated_at,
            )
            .where(ConversationRow.tenant == valid_name(tenant, "The tenant"))
            .order_by(ConversationRow.updated_at.desc(), last_turn.desc())
            .limit(limit)
        )
        with self._db.reading() as connection:
            return [ConversationInfo(*row) for row in connection.execute(statement)]

    def delete(self, tenant: str, conversation_id: str) -> None:
        """Delete a conversation with its turns and feedback. NotFoundError if there is none."""
        with self._db.writing() as connection:
            gone = connection.execute(
                delete(ConversationRow).where(
                    ConversationRow.id == conversation_id, ConversationRow.tenant == tenant
                )
            )
            if not gone.rowcount:
                raise NotFoundError(_unknown(conversation_id))

    def add_feedback(
        self, tenant: str, conversation_id: str, turn_index: int, rating: Rating, comment: str = ""
    ) -> None:
        """Rate one answer; a later rating of the same answer takes the place of an earlier."""
        if rating not in ("up", "down"):
            raise InvalidInputError(f"The rating is {rating!r}: it must be 'up' or 'down'.")
        if len(comment) > MAX_COMMENT:
            raise InvalidInputError(
                f"The comment has {len(comment)} characters; at most {MAX_COMMENT} are kept. "
                "Shorten it."
            )
        turn = (
            select(TurnRow.id)
            .join(ConversationRow, ConversationRow.id == TurnRow.conversation_id)
            .where(
                ConversationRow.tenant == tenant,
                ConversationRow.id == conversation_id,
                TurnRow.position == turn_index,
            )
        )
        with self._db.writing() as connection:
            turn_id = connection.scalar(turn)
            if turn_id is None:
                raise NotFoundError(
                    f"Conversation {conversation_id[:MAX_ID]!r} has no turn {turn_index}."
                )
            values = {"rating": rating, "comment": clean_text(comment), "created_at": now()}
            changed = connection.execute(
                update(FeedbackRow).where(FeedbackRow.turn_id == turn_id).values(**values)
            )
            if not changed.rowcount:
                connection.execute(insert(FeedbackRow).values(turn_id=turn_id, **values))

    def feedback(self, tenant: str, limit: int = 1000) -> list[Feedback]:
        """The tenant's rated answers, latest first."""
        statement = (
            select(
                ConversationRow.id,
                TurnRow.position,
                FeedbackRow.rating,
                FeedbackRow.comment,
                TurnRow.question,
                TurnRow.standalone,
                TurnRow.answer,
                ConversationRow.collection,
                FeedbackRow.created_at,
            )
            .join(TurnRow, TurnRow.id == FeedbackRow.turn_id)
            .join(ConversationRow, ConversationRow.id == TurnRow.conversation_id)
            .where(ConversationRow.tenant == tenant)
            .order_by(FeedbackRow.created_at.desc(), FeedbackRow.id.desc())
            .limit(limit)
        )
        with self._db.reading() as connection:
            return [Feedback(*row) for row in connection.execute(statement)]


def _valid_id(conversation_id: str) -> str:
    if (
        0 < len(conversation_id) <= MAX_ID
        and conversation_id.isascii()
        and all(character.isalnum() or character in "-_" for character in conversation_id)
    ):
        return conversation_id
    raise InvalidInputError(
        f"The conversation id {conversation_id[:80]!r} is not valid: 1 to {MAX_ID} ASCII letters, "
        "digits, hyphens or underscores. Leave it out to begin a new conversation."
    )


def _title(question: str) -> str:
    title = " ".join(question.split())
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…"


def _unknown(conversation_id: str) -> str:
    return f"There is no conversation {conversation_id[:MAX_ID]!r}. Leave the id out to begin one."


def _clean_json(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", _cleaned(value))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
