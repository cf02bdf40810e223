"""``assistant serve``: the page at /, the API at /api/v1, /healthz."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from assistant.commands.common import data_dir_option, load_settings, note, open_runtime
from assistant.errors import AssistantError

if TYPE_CHECKING:
    from assistant.runtime import Runtime


@click.command(name="serve")
@click.option("--host", help="Address to listen on.  [default: ASSISTANT_HOST or 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes a free one.  [default: ASSISTANT_PORT or 7860]",
)
@data_dir_option
def command(host: str | None, port: int | None) -> None:
    """Serve the page at / and the API at /api/v1 until interrupted."""
    settings = load_settings(host=host, port=port)
    listener = _listen(settings.host, settings.port)
    port_taken = listener.getsockname()[1]
    with open_runtime(settings) as runtime, _on_its_encoder(runtime):
        import uvicorn

        from assistant.web.api import create_app

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                note(f"Ready: http://{_shown(settings.host)}:{port_taken}  (stop with Ctrl-C)")

        # A missing model is told now, and the first customer does not wait for it to load.
        with ThreadPoolExecutor(1) as pool:
            warm = pool.submit(runtime.warm_up)
            app = create_app(runtime)
            warm.result()
        config = uvicorn.Config(
            app,
            log_level="warning" if settings.log_level == "info" else settings.log_level,
            # Browsers hold an open event stream to the page; it must not delay the end.
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        # uvicorn raises the signal again when it has stopped; the default would skip the closing.
        signal.signal(signal.SIGTERM, _end)
        Server(config).run(sockets=[listener])


@contextmanager
def _on_its_encoder(runtime: Runtime) -> Iterator[None]:
    """Have the documents fit the encoder in force; from then on follow what is promoted."""
    from assistant.commands.ingest import encode_anew
    from assistant.models.encoders import service_running, services_running

    if not services_running(runtime.settings):
        encode_anew(runtime, promoted=False)
    with service_running(runtime.settings):
        runtime.follow_encoder()
        yield


def _end(_signal: int, _frame: object) -> None:
    raise SystemExit(0)


def _shown(host: str) -> str:
    """Return an address that works in a browser on this machine."""
    if host in {"127.0.0.1", "0.0.0.0", "::", "::1"}:  # noqa: S104
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AssistantError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. "
            "Choose another with --host and --port."
        ) from None
    listener.set_inheritable(True)
    return listener
