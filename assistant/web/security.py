"""Request guards and response headers, as plain ASGI middleware so that streams pass through.

Who a request acts for is decided in one place, :func:`scope_of`: keys and tenants change only it.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assistant import types
from assistant.web.problems import error_response

# Gradio compiles its component scripts in the page ('unsafe-eval') and styles inline. Nothing may
# load from, connect to or be sent to another host.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def scope_of(request: HTTPConnection) -> types.Scope:
    """The tenant a request acts for, as a scope over its default collection.

    Today there is one tenant. API keys and sign-in come here, and only here.
    """
    del request
    return types.Scope(tenant=types.DEFAULT_TENANT)


class HeadersMiddleware:
    """Adds the security headers and removes any CORS grant: no other site may read an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                granted = [key for key in headers if key.startswith("access-control-")]
                for key in set(granted):
                    del headers[key]
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


class SameOriginMiddleware:
    """Refuses changes asked for by another site's page (cross-site request forgery).

    A browser names the asking page in ``Origin``; other programs send none and pass.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            origin = _foreign_origin(Headers(scope=scope))
            if origin is not None:
                message = (
                    f"The request comes from a page of {origin[:200]!r}; only this service's own "
                    "page may change anything. Call the API from a server instead."
                )
                await error_response(403, "forbidden", message)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _foreign_origin(headers: Headers) -> str | None:
    origin = headers.get("origin")
    if origin is None:
        return None
    # A proxy may put its own name in Host; a form on another site cannot set this header.
    own = {headers.get("host", ""), headers.get("x-forwarded-host", "")} - {""}
    return None if urlsplit(origin).netloc in own else origin


class BodyLimitMiddleware:
    """Stops reading a request body at its limit, counted while it streams in.

    ``limit_of(path)`` gives the most bytes a body may have, or None for no limit here.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int | None]) -> None:
        self._app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit_of(scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            response = error_response(413, "too_large", too_large_message(limit))
            response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, too_large_message(limit), {"Connection": "close"})
            return message

        await self._app(scope, counted, send)


def too_large_message(limit: int) -> str:
    """The message of a body beyond ``limit`` bytes."""
    size = f"{limit / 2**20:g} MB" if limit >= 2**20 else f"{limit / 2**10:g} kB"
    return f"The request body is larger than the limit of {size}. Send less, or in parts."
