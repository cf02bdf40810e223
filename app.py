"""Start the service: settings, then the runtime, then serve."""

from __future__ import annotations

import sys

from assistant.errors import AssistantError
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.web.serve import address_of, listen, serve


def main() -> int:
    """Serve until interrupted; 1 when it cannot start, with the reason on stderr."""
    settings = Settings()
    try:
        listener = listen(settings.host, settings.port)
        runtime = Runtime.open(settings)
    except AssistantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        sys.stderr.write(f"Ready: {address_of(listener)}  (stop with Ctrl-C)\n")
        serve(settings, runtime, listener)
    finally:
        runtime.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
