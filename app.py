"""``python app.py``: settings, runtime, page. The same as ``assistant serve``."""

import sys

from assistant.cli import run

if __name__ == "__main__":
    sys.exit(run(["serve", *sys.argv[1:]]))
