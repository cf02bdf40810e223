"""Give memory back to the system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return memory that was freed but is kept by the C library, after a large model was closed.

    glibc keeps freed memory in pools, one for several threads each, and so could keep a closed
    model's share in every one of them. Other C libraries have no such call and need none.
    """
    try:
        call = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    call(0)
