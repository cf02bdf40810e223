"""Errors of the indexes package. Each message says what is wrong and what to do about it."""

from __future__ import annotations


class LoadError(Exception):
    """A file that cannot be loaded; ``reason`` is one sentence for the person who gave the file."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class IndexCorruptError(Exception):
    """An index on disk that fails its checksums or does not match its manifest."""
