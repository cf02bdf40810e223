"""Ends the page's endless event streams when the service is asked to stop.

Every open page holds one; without this a server waits for them until its patience ends.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FINAL: Message = {"type": "http.response.body", "body": b"", "more_body": False}


@contextmanager
def told_of_shutdown(closing: asyncio.Event) -> Iterator[None]:
    """Set ``closing`` on SIGINT or SIGTERM, before whoever handles them now.

    A server tells its application only once all connections are closed: too late for this. Off
    the main thread, where no signal can be handled, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}

    def handle(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(closing.set)
        if callable(before[number]):
            before[number](number, frame)

    handled = [number for number in _SIGNALS if callable(before[number])]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number])


async def run_until(
    closing: asyncio.Event, app: ASGIApp, scope: Scope, receive: Receive, send: Send
) -> None:
    """Run ``app`` for one request, and complete its response early when ``closing`` is set."""
    started = finished = False

    async def noting(message: Message) -> None:
        nonlocal started, finished
        started = started or message["type"] == "http.response.start"
        finished = message["type"] == "http.response.body" and not message.get("more_body")
        await send(message)

    answering = asyncio.ensure_future(app(scope, receive, noting))
    waiting = asyncio.ensure_future(closing.wait())
    try:
        await asyncio.wait({answering, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            await answering
            return
    finally:
        waiting.cancel()
        answering.cancel()
    with suppress(asyncio.CancelledError):
        await answering
    if started and not finished:
        await send(_FINAL)
