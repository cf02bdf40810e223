"""Which version serves a task: one rule for commands, services and evaluations."""

from __future__ import annotations

from assistant.errors import InvalidInputError, NotFoundError
from assistant.models.manifest import read_manifest
from assistant.models.names import ANSWERING, SHARED_TENANT, TASKS, parse_ref
from assistant.models.store import ModelStore
from assistant.models.versions import Version

MULTITASK = "multitask"


def serving_version(
    store: ModelStore, task: str, name: str | None = None, tenant: str = SHARED_TENANT
) -> Version:
    """Return the version that serves ``task``; ``name`` is ``NAME`` or ``NAME@vN``.

    In this order: the company's own model of the task, its multi-task model with a head named like
    the task, the model that came with the product. Raises NotFoundError when there is none,
    InvalidInputError for an unknown task or when several are in use and none is named.
    """
    own, missing = None, None
    if task in TASKS:
        try:
            own = _named(store, task, name, tenant)
        except NotFoundError as error:
            missing = error
    if own is not None and (name is not None or not own.shipped):
        return own
    several, heads = _with_heads(store, name, tenant)
    if several is not None and task in heads:
        return several
    if own is not None:
        return own
    if missing is not None:
        raise missing
    raise InvalidInputError(
        f"There is no task {task[:80]!r}: the tasks are {', '.join(TASKS)}"
        + (f", and the heads of the multi-task model: {', '.join(heads)}." if heads else ".")
    )


def answering_version(store: ModelStore, task: str, tenant: str = SHARED_TENANT) -> Version:
    """Return the version of ``task`` that takes part in answers.

    As ``serving_version``; but where that came with the product and ``ANSWERING`` names another
    that did, it is that one.
    """
    version = serving_version(store, task, None, tenant)
    other = ANSWERING.get(task)
    if not version.shipped or other in (None, version.name):
        return version
    try:
        return serving_version(store, task, other, tenant)
    except NotFoundError:
        return version


def _with_heads(
    store: ModelStore, name: str | None, tenant: str
) -> tuple[Version | None, tuple[str, ...]]:
    """Return the multi-task model in use and the names of its heads."""
    try:
        version = _named(store, MULTITASK, name, tenant)
    except NotFoundError:
        return None, ()
    return version, tuple(head.name for head in read_manifest(version.part("int8")).heads)


def _named(store: ModelStore, task: str, name: str | None, tenant: str) -> Version:
    if name is not None and "@" in name:
        wanted = parse_ref(f"{task}/{name}")
        return store.version(task, wanted.name, wanted.number or 0, tenant)
    return store.current(task, store.choose(task, name, tenant), tenant)
