"""Names in the registry of trained models: tasks, models, tenants, versions; and their folders."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, unquote

from assistant.errors import InvalidInputError

TASKS = (
    "encoder",
    "reranker",
    "reader",
    "intent",
    "sentiment",
    "topic",
    "risk",
    "classifier",
    "tagger",
    "generator",
    "multitask",
    "base",
)
SHARED_TENANT = "shared"
"""Its versions serve every tenant that has none of its own."""

DEFAULT_NAMES = {"intent": "banking77", "reranker": "pairs", "tagger": "news"}
"""Which of the models that come with the product serves a task when none is named."""
ANSWERING = {"reranker": "help"}
"""Which of them answers use, where that is another: ``pairs`` tells whether two questions mean the
same, ``help`` also whether a passage answers one."""

REGISTRY_PREFIX = "registry:"
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"v([1-9][0-9]{0,8})")
_MAX_TENANT = 64
_MAX_TENANT_FOLDER = 200


@dataclass(frozen=True, slots=True)
class ModelRef:
    """``TASK/NAME`` or ``TASK/NAME@vN``; ``number`` None means the current version."""

    task: str
    name: str
    number: int | None = None

    def __str__(self) -> str:
        return f"{self.task}/{self.name}" + (f"@v{self.number}" if self.number else "")


def parse_ref(text: str) -> ModelRef:
    """Return what ``[registry:]TASK/NAME[@vN]`` names, checked; InvalidInputError if nothing."""
    body = text.removeprefix(REGISTRY_PREFIX)
    path, at, version = body.partition("@")
    task, slash, name = path.partition("/")
    if not slash:
        raise InvalidInputError(
            f"{text[:80]!r} names no model: write TASK/NAME or TASK/NAME@vN, as in intent/bank@v2."
        )
    number = version_number(version) if at else None
    if at and number is None:
        raise InvalidInputError(f"{text[:80]!r} ends in no version: write @v and a number, as @v2.")
    return ModelRef(valid_task(task), valid_model_name(name), number)


def version_number(text: str) -> int | None:
    """Return N of ``vN`` (1 to 999,999,999), None for anything else."""
    found = _VERSION.fullmatch(text)
    return int(found[1]) if found else None


def valid_task(task: str) -> str:
    """Return ``task`` if it is one; InvalidInputError names them all otherwise."""
    if task not in TASKS:
        raise InvalidInputError(f"There is no task {task[:80]!r}; the tasks: {', '.join(TASKS)}.")
    return task


def valid_model_name(name: str) -> str:
    """Return a model's name if it is one; it is a folder's name too, so it is kept narrow."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidInputError(
            f"Model name {name[:80]!r} is refused: 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter "
            "or digit first and last, no two dots in a row."
        )
    return name


def valid_tenant(tenant: str) -> str:
    """Return a tenant's name in NFC, or raise InvalidInputError."""
    name = unicodedata.normalize("NFC", tenant)
    usable = name.isprintable() and not set(name) & set("/\\") and name == name.strip()
    if not usable or not 1 <= len(name) <= _MAX_TENANT or name.startswith("."):
        raise InvalidInputError(
            f"Tenant {tenant[:80]!r} is refused: 1 to {_MAX_TENANT} printable characters, no "
            "slash, no dot or space at the start."
        )
    if len(tenant_folder(name)) > _MAX_TENANT_FOLDER:
        raise InvalidInputError(
            f"Tenant {tenant[:80]!r} is too long for a folder's name: use at most 22 Chinese "
            f"characters or {_MAX_TENANT} Latin ones."
        )
    return name


def tenant_folder(tenant: str) -> str:
    """Return the folder of a tenant: percent-encoded, capitals too.

    File systems that do not tell ``Acme`` from ``acme`` must not mix two tenants' models.
    """
    encoded = quote(tenant, safe="")
    return re.sub(
        "%[0-9A-F]{2}|[A-Z]|^[.]|~",
        lambda m: m[0] if m[0].startswith("%") else f"%{ord(m[0]):02X}",
        encoded,
    )


def tenant_of_folder(folder: str) -> str:
    """Return the tenant whose folder this is."""
    return unquote(folder)
