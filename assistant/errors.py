"""Errors a user can act on: each states the value, the limit and the remedy."""

from __future__ import annotations


class AssistantError(Exception):
    """Base of every expected failure. ``str(error)`` is shown to the user as it is."""


class InvalidInputError(AssistantError):
    """The caller gave something unusable (command line: exit 2, HTTP: 422)."""


class NotFoundError(AssistantError):
    """A named thing does not exist (HTTP: 404)."""


class TooLargeError(InvalidInputError):
    """Input beyond a stated limit (HTTP: 413)."""


class BusyError(AssistantError):
    """The service is at its limit; try again (HTTP: 503 with Retry-After)."""


class ModelError(AssistantError):
    """A model is missing, damaged or does not fit (``assistant build`` mends it)."""


class StorageError(AssistantError):
    """The database or the disk refused; nothing of the failed step was kept."""
