"""Conversations and feedback over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from assistant.web import schemas
from assistant.web.security import scope_of

if TYPE_CHECKING:
    from assistant.runtime import Runtime


def conversations_router(runtime: Runtime) -> APIRouter:
    """List and read conversations, and take judgements of answers."""
    router = APIRouter(tags=["conversations"])

    @router.get(
        "/conversations", response_model=schemas.ConversationList, summary="Latest conversations"
    )
    def list_conversations(
        request: Request, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> schemas.ConversationList:
        found = runtime.conversations(scope_of(request).tenant, limit)
        return schemas.ConversationList(
            conversations=[
                schemas.ConversationBody(
                    conversation_id=info.conversation_id,
                    title=info.title,
                    collection=info.collection,
                    updated_at=info.updated_at,
                )
                for info in found
            ]
        )

    @router.get(
        "/conversations/{conversation_id}",
        response_model=schemas.ConversationTurns,
        summary="A conversation, turn by turn",
    )
    def get_conversation(
        conversation_id: Annotated[str, Path(min_length=1, max_length=128)], request: Request
    ) -> schemas.ConversationTurns:
        turns = runtime.conversation(scope_of(request).tenant, conversation_id)
        return schemas.ConversationTurns(
            conversation_id=conversation_id,
            turns=[
                schemas.TurnBody(
                    question=turn.question,
                    answer=dict(turn.answer),
                    created_at=turn.created_at,
                    rating=turn.rating,
                    comment=turn.comment,
                )
                for turn in turns
            ],
        )

    @router.post("/feedback", status_code=204, summary="Judge an answer")
    def add_feedback(body: schemas.FeedbackRequest, request: Request) -> Response:
        runtime.add_feedback(
            scope_of(request).tenant,
            body.conversation_id,
            body.turn_index,
            body.rating,
            body.comment,
        )
        return Response(status_code=204)

    return router
