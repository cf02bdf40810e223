#!/usr/bin/env sh
# Prints the Python to make the environment with: 3.11 or newer, or a clear error.
for candidate in ${PYTHON:-} python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
echo "No Python 3.11 or newer found (looked for python3.11 and python3)." >&2
echo "Install it, or name it: make setup PYTHON=/path/to/python3.11" >&2
exit 1
