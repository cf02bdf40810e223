"""Intents over HTTP: kinds of questions a tenant names by examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from assistant.types import Intent, IntentAction
from assistant.web.security import scope_of

if TYPE_CHECKING:
    from assistant.runtime import Runtime

_Name = Annotated[str, Path(min_length=1, max_length=64)]
_MANY = 1000


class IntentRequest(BaseModel):
    """What an intent is told by, and what is done with its questions."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "examples": [
                        "I did not make this payment",
                        "someone used my card abroad",
                        "这笔钱不是我花的",
                        "卡被盗刷了",
                        "there is a charge I do not recognise",
                    ],
                    "action": "handoff",
                }
            ]
        },
    )

    examples: list[str] = Field(max_length=_MANY, description="Five or more, any language.")
    action: IntentAction = Field(
        default=IntentAction.ANSWER,
        description="answer as usual, handoff to a person, or decline.",
    )
    reply_zh: str = Field(default="", description="Said in place of the usual words.")
    reply_en: str = ""


class IntentBody(IntentRequest):
    """An intent of the tenant."""

    name: str


class IntentList(BaseModel):
    """The tenant's intents by name."""

    intents: list[IntentBody]


class MatchRequest(BaseModel):
    """Texts to match."""

    model_config = ConfigDict(extra="forbid")

    texts: list[str] = Field(min_length=1, max_length=256)


class MatchBody(BaseModel):
    """The intent nearest to one text."""

    intent: str
    probability: float = Field(ge=0, le=1)
    action: IntentAction
    acted_on: bool = Field(description="Whether a question like this gets the action.")


class MatchList(BaseModel):
    """One match a text, in order; none where there are no intents."""

    matches: list[MatchBody]


def intents_router(runtime: Runtime) -> APIRouter:
    """Name intents and see what they match. A change is in force with the next question."""
    router = APIRouter(prefix="/intents", tags=["intents"])
    store = runtime.storage.intents

    @router.get("", response_model=IntentList, summary="The intents")
    def list_intents(request: Request) -> IntentList:
        found = store.of(scope_of(request).tenant)
        return IntentList(intents=[_body(intent) for intent in found])

    @router.put("/{name}", response_model=IntentBody, summary="Add or replace an intent")
    def put_intent(name: _Name, body: IntentRequest, request: Request) -> IntentBody:
        wanted = Intent(name, tuple(body.examples), body.action, body.reply_zh, body.reply_en)
        (kept,) = store.put(scope_of(request).tenant, [wanted])
        return _body(kept)

    @router.delete("/{name}", status_code=204, summary="Delete an intent")
    def delete_intent(name: _Name, request: Request) -> Response:
        store.delete(scope_of(request).tenant, name)
        return Response(status_code=204)

    @router.post("/match", response_model=MatchList, summary="The intents nearest to texts")
    def match(body: MatchRequest, request: Request) -> MatchList:
        least = runtime.settings.intent_threshold
        found = runtime.match_intents(scope_of(request).tenant, body.texts)
        return MatchList(
            matches=[
                MatchBody(
                    intent=one.intent.name,
                    probability=one.probability,
                    action=one.intent.action,
                    acted_on=one.probability >= least,
                )
                for one in found
            ]
        )

    return router


def _body(intent: Intent) -> IntentBody:
    return IntentBody(
        name=intent.name,
        examples=list(intent.examples),
        action=intent.action,
        reply_zh=intent.reply_zh,
        reply_en=intent.reply_en,
    )
