"""The HTTP application: API at ``/api/v1``, health at ``/healthz``, the page at ``/``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route

import assistant
from assistant.web import problems, schemas
from assistant.web.chat import chat_router
from assistant.web.conversations import conversations_router
from assistant.web.documents import collections_router, documents_router
from assistant.web.intents import intents_router
from assistant.web.models import models_router
from assistant.web.page import Page
from assistant.web.security import (
    BodyLimitMiddleware,
    HeadersMiddleware,
    SameOriginMiddleware,
    scope_of,
)
from assistant.web.uploads import REQUEST_FILES_FACTOR

if TYPE_CHECKING:
    from assistant.runtime import Runtime

_LOG = logging.getLogger(__name__)
API_PREFIX = "/api/v1"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
_JSON_LIMIT = 2**20
_DESCRIPTION = """\
Answers from a company's own FAQ and documents, in Chinese and English, with evidence.

Every failure is `{"error": {"type", "message"}}`; the message gives the value, the limit and
the remedy. A 503 carries `Retry-After`.
"""
_TAGS = [
    {"name": "chat", "description": "Ask, in one piece or streamed."},
    {"name": "collections", "description": "Separate bodies of knowledge."},
    {"name": "documents", "description": "Files to answer from, and their text as evidence."},
    {"name": "conversations", "description": "What was asked and answered, and judgements of it."},
    {"name": "intents", "description": "Kinds of questions to hand over or decline."},
    {"name": "models", "description": "Classify texts, find entities; the versions in use."},
    {"name": "service", "description": "Is it up?"},
]
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorBody, "description": text}
    for status, text in (
        (404, "Something named does not exist."),
        (413, "Larger than a stated limit."),
        (422, "The request is not usable; the message says why."),
        (503, "At the limit; try again after the seconds in `Retry-After`."),
    )
}


def create_app(runtime: Runtime, *, page: bool = True) -> FastAPI:
    """Build the application over an open ``runtime``; ``page=False`` leaves the page out.

    Models load and the page is built in the background once the application starts, so that the
    API answers first; a question that comes earlier waits for its model.
    """
    lazy_page = Page(runtime) if page else None

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(asyncio.to_thread(_warm_up, runtime))
        try:
            async with lazy_page.running() if lazy_page else nullcontext():
                yield
        finally:
            await warming

    # The stock documentation pages load scripts from another host; /openapi.json is enough.
    app = FastAPI(
        title="Domain assistant",
        version=assistant.__version__,
        description=_DESCRIPTION,
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    problems.install(app)
    max_file_mb = runtime.settings.max_file_mb
    # Added last runs first: headers wrap every answer, also the refusals of the other two.
    app.add_middleware(BodyLimitMiddleware, limit_of=_limits(max_file_mb))
    app.add_middleware(SameOriginMiddleware)
    app.add_middleware(HeadersMiddleware)
    api = APIRouter(prefix=API_PREFIX, responses=_ERRORS)
    api.include_router(chat_router(runtime))
    api.include_router(collections_router(runtime))
    api.include_router(documents_router(runtime, max_file_mb))
    api.include_router(conversations_router(runtime))
    api.include_router(intents_router(runtime))
    api.include_router(models_router(runtime))
    app.include_router(api)
    _add_health(app, runtime)
    _add_unknown_paths(app)
    if lazy_page is not None:
        app.mount("/", lazy_page)
    return app


def _warm_up(runtime: Runtime) -> None:
    try:
        runtime.warm_up()
    except Exception as error:
        # Not fatal: documents and conversations work without a model, and /healthz says it.
        _LOG.error("Questions cannot be answered yet: %s", problems.describe(error)[2])


def _limits(max_file_mb: int) -> Callable[[str], int]:
    upload_limit = max_file_mb * REQUEST_FILES_FACTOR * 2**20

    def limit_of(path: str) -> int:
        is_upload = path.endswith(("/documents", "/upload"))
        return upload_limit if is_upload else _JSON_LIMIT

    return limit_of


def _add_health(app: FastAPI, runtime: Runtime) -> None:
    @app.get(
        "/healthz",
        tags=["service"],
        response_model=schemas.HealthBody,
        summary="Can questions be answered?",
        responses={503: {"model": schemas.HealthBody, "description": "Not at the moment."}},
    )
    def healthz(request: Request) -> JSONResponse:
        # An answer at all shows the process alive. Loading makes this wait, not fail.
        tenant = scope_of(request).tenant
        checks = {
            "model": _check(lambda: runtime.encoder),
            "database": _check(lambda: runtime.collections(tenant)),
        }
        healthy = set(checks.values()) == {"ok"}
        body = schemas.HealthBody(
            status="ok" if healthy else "unavailable",
            version=assistant.__version__,
            checks=checks,
        )
        return JSONResponse(body.model_dump(), status_code=200 if healthy else 503)


def _check(part: Callable[[], object]) -> str:
    try:
        part()
    except Exception as error:
        return problems.describe(error)[2]
    return "ok"


def _add_unknown_paths(app: FastAPI) -> None:
    """Answer unknown API paths as the API does, not with the page's own 404."""
    known = list(app.routes)

    async def unknown(request: Request) -> Response:
        allowed = [method for method in _METHODS if _matches(known, request, method)]
        if allowed:
            message = f"{request.method} is not possible here; use {' or '.join(allowed)}."
            raise HTTPException(405, message, {"Allow": ", ".join(allowed)})
        raise HTTPException(
            404, f"There is nothing at {request.url.path[:200]!r}; see /openapi.json for what is."
        )

    for path in ("/api", "/api/{rest:path}", "/healthz", "/openapi.json", "/docs", "/redoc"):
        app.router.routes.append(Route(path, unknown, methods=_METHODS, include_in_schema=False))


def _matches(routes: Sequence[BaseRoute], request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
