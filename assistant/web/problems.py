"""Every failure as the same JSON: ``{"error": {"type", "message"}}`` with its HTTP status."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from assistant.errors import (
    AssistantError,
    BusyError,
    InvalidInputError,
    ModelError,
    NotFoundError,
    StorageError,
    TooLargeError,
)

_LOG = logging.getLogger(__name__)

# Most specific first: TooLargeError is an InvalidInputError.
_KINDS: tuple[tuple[type[AssistantError], int, str], ...] = (
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    (InvalidInputError, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_input"),
    (NotFoundError, HTTPStatus.NOT_FOUND, "not_found"),
    (BusyError, HTTPStatus.SERVICE_UNAVAILABLE, "busy"),
    (ModelError, HTTPStatus.SERVICE_UNAVAILABLE, "model_error"),
    (StorageError, HTTPStatus.SERVICE_UNAVAILABLE, "storage_error"),
)
_STATUS_TYPES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
    503: "busy",
}
_RETRY_SECONDS = 1


def describe(error: BaseException) -> tuple[int, str, str]:
    """Return (HTTP status, error type, message) for any failure.

    An unexpected one is logged with its traceback under an id; only the id is shown.
    """
    for kind, status, name in _KINDS:
        if isinstance(error, kind):
            return int(status), name, printable(str(error))
    if isinstance(error, AssistantError):
        return int(HTTPStatus.UNPROCESSABLE_ENTITY), "invalid_input", printable(str(error))
    error_id = uuid.uuid4().hex[:12]
    _LOG.error("Unexpected error %s", error_id, exc_info=error)
    message = f"An unexpected error occurred (id {error_id}). The log has the details."
    return int(HTTPStatus.INTERNAL_SERVER_ERROR), "internal", message


def error_body(name: str, message: str) -> dict[str, Any]:
    """The one error shape."""
    return {"error": {"type": name, "message": message}}


def error_response(
    status: int, name: str, message: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """An error as a response; a 503 says when to try again."""
    extra = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra.setdefault("Retry-After", str(_RETRY_SECONDS))
    return JSONResponse(error_body(name, message), status_code=status, headers=extra)


def printable(text: str) -> str:
    """Make a message safe for UTF-8 output: a lone surrogate becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")


def describe_validation(errors: Sequence[Any]) -> str:
    """Say which fields are wrong and why, without echoing what was sent."""
    parts: list[str] = []
    for error in errors[:8]:
        place = [str(item) for item in error.get("loc", ()) if item not in ("body", "query")]
        message = str(error.get("msg", "invalid")).removeprefix("Value error, ")
        parts.append(f"{'.'.join(place)}: {message}" if place else message)
    return printable("; ".join(parts) or "The request is not valid.")


def install(app: FastAPI) -> None:
    """Register the handlers on ``app``."""

    async def expected(_request: Request, error: Exception) -> JSONResponse:
        return error_response(*describe(error))

    async def invalid(_request: Request, error: Exception) -> JSONResponse:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        too_long = any(problem.get("type") == "string_too_long" for problem in problems)
        status, name = (413, "too_large") if too_long else (422, "invalid_input")
        return error_response(status, name, describe_validation(problems))

    async def http(_request: Request, error: Exception) -> JSONResponse:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = str(error.detail) if isinstance(error, HTTPException) else "Error"
        headers = error.headers if isinstance(error, HTTPException) else None
        name = _STATUS_TYPES.get(status, "error")
        return error_response(status, name, printable(detail), headers)

    app.add_exception_handler(AssistantError, expected)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, expected)
