"""Run the service until it is interrupted."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from assistant.errors import InvalidInputError

if TYPE_CHECKING:
    from assistant.runtime import Runtime
    from assistant.settings import Settings

_LOG = logging.getLogger(__name__)
_GRACE_SECONDS = 5


def listen(host: str, port: int) -> socket.socket:
    """Bind the address, port 0 taking a free one. InvalidInputError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InvalidInputError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. Stop the program "
            "that uses it, or choose another with --host and --port (ASSISTANT_HOST, "
            "ASSISTANT_PORT)."
        ) from None
    listener.set_inheritable(True)
    return listener


def address_of(listener: socket.socket) -> str:
    """The URL a browser on this machine opens."""
    host, port = listener.getsockname()[:2]
    local = host in {"127.0.0.1", "0.0.0.0", "::", "::1"}  # noqa: S104
    return f"http://{'localhost' if local else host}:{port}"


def serve(settings: Settings, runtime: Runtime, listener: socket.socket | None = None) -> None:
    """Serve the page and the API until interrupted; open requests get seconds to finish.

    ``listener`` is an address bound before (see :func:`listen`), so that a taken port is told
    before models are loaded. The caller closes ``runtime``.
    """
    import uvicorn

    from assistant.web.api import create_app

    bound = listener or listen(settings.host, settings.port)
    config = uvicorn.Config(
        create_app(runtime),
        log_level=settings.log_level,
        access_log=settings.log_level == "debug",
        # Browsers hold an open event stream to the page; it must not delay the end.
        timeout_graceful_shutdown=_GRACE_SECONDS,
        server_header=False,
    )
    _LOG.info("Serving at %s", address_of(bound))
    uvicorn.Server(config).run(sockets=[bound])
