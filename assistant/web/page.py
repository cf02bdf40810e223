"""The page as an ASGI application that is built after the service has started to answer."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from assistant.web.shutdown import run_until, told_of_shutdown

if TYPE_CHECKING:
    from fastapi import FastAPI

    from assistant.runtime import Runtime

_LOG = logging.getLogger(__name__)
# Gradio's event streams: open as long as a visitor's page is.
_STREAMS = ("/heartbeat/", "/queue/data")
_WAIT_SECONDS = 30.0
_NOT_READY = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta http-equiv="refresh" content="2"><meta name="viewport" content="width=device-width">
<title>Domain assistant</title></head>
<body style="font:16px system-ui,'PingFang SC','Noto Sans SC',sans-serif;text-align:center;
padding-top:30vh;color-scheme:light dark"><p>{message}</p></body></html>"""
_STARTING = "The page is starting … · 页面正在启动……"
_FAILED = (
    "The page could not start; the API works. The log says why. · 页面启动失败，接口仍可使用。"
)


class Page:
    """Builds the Gradio page in a thread (its import takes seconds) and passes requests to it.

    A request that comes first waits for the page instead of failing.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._app: ASGIApp | None = None
        self._settled = asyncio.Event()
        self._closing = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the page while the context is open; part of the application's lifespan."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._run(stop))
        try:
            with told_of_shutdown(self._closing):
                yield
        finally:
            stop.set()
            await task

    async def _run(self, stop: asyncio.Event) -> None:
        try:
            app = await asyncio.to_thread(self._build)
            async with app.router.lifespan_context(app):
                self._app = app
                self._settled.set()
                await stop.wait()
        except Exception:
            # The API must outlive a page that cannot be built (a broken Gradio installation).
            _LOG.exception("The page could not be started")
        finally:
            self._app = None
            self._settled.set()

    def _build(self) -> FastAPI:
        # Gradio reads these when imported and when a page is made: nothing may be sent anywhere.
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
        from assistant.web.ui import build_page

        return build_page(self._runtime)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = _STARTING
        if not self._settled.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), _WAIT_SECONDS)
        if self._app is not None:
            if scope["type"] == "http" and any(part in scope["path"] for part in _STREAMS):
                await run_until(self._closing, self._app, scope, receive, send)
            else:
                await self._app(scope, receive, send)
            return
        if self._settled.is_set():
            message = _FAILED
        if scope["type"] == "http":
            response = HTMLResponse(_NOT_READY.format(message=message), status_code=503)
            await response(scope, receive, send)
