"""``POST /api/v1/chat``: one answer as JSON, or as server-sent events while it is composed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.responses import Response, StreamingResponse

from assistant.types import Answer, Question
from assistant.web.problems import describe, error_body
from assistant.web.schemas import AnswerBody, ChatRequest
from assistant.web.security import scope_of

if TYPE_CHECKING:
    from assistant.runtime import Runtime

EVENT_STREAM = "text/event-stream"
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def chat_router(runtime: Runtime) -> APIRouter:
    """The chat endpoint over ``runtime``."""
    router = APIRouter(tags=["chat"])

    @router.post(
        "/chat",
        response_model=AnswerBody,
        summary="Ask a question",
        responses={
            200: {
                "description": "The answer; or, when streaming, events `delta` {text} … and one "
                "`answer` (the answer as below) or `error`.",
                "content": {
                    EVENT_STREAM: {
                        "schema": {"type": "string"},
                        "example": 'event: delta\ndata: {"text": "Call "}\n\n'
                        'event: answer\ndata: {"answer": "Call …", "kind": "faq"}\n\n',
                    }
                },
            }
        },
    )
    def chat(
        body: ChatRequest, request: Request, accept: Annotated[str, Header()] = "*/*"
    ) -> Response | AnswerBody:
        scope = replace(scope_of(request), collection=body.collection, tags=frozenset(body.tags))
        question = Question(body.question, scope, body.conversation_id)
        if body.stream or EVENT_STREAM in accept.lower():
            return _stream(runtime, question)
        return AnswerBody.model_validate(runtime.answer(question).to_json())

    return router


def _stream(runtime: Runtime, question: Question) -> StreamingResponse:
    pieces = iter(runtime.stream(question))
    # The first piece is taken before the response begins, so that a refused question gets its
    # HTTP status and not a 200 with an error event.
    first = next(pieces)
    return StreamingResponse(
        _events(first, pieces), media_type=EVENT_STREAM, headers=_STREAM_HEADERS
    )


def _events(first: str | Answer, rest: Iterator[str | Answer]) -> Iterator[bytes]:
    try:
        yield _event_of(first)
        for piece in rest:
            yield _event_of(piece)
    except Exception as error:
        # The status line is sent: the only way left to tell is an event.
        _status, name, message = describe(error)
        yield _event("error", error_body(name, message))


def _event_of(piece: str | Answer) -> bytes:
    if isinstance(piece, Answer):
        return _event("answer", piece.to_json())
    return _event("delta", {"text": piece})


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
