"""Open the generator in use: by name and tenant, from the registry of trained models."""

from __future__ import annotations

from assistant.models.generation.generator import Generator, open_generator
from assistant.models.names import SHARED_TENANT
from assistant.models.store import ModelStore
from assistant.settings import Settings


def open_generator_in_use(
    settings: Settings, name: str | None = None, tenant: str = SHARED_TENANT, *, slots: int = 4
) -> Generator:
    """Return the promoted generator of a tenant, else the shared one; every file verified.

    ``name`` may be left out when one is in use; ``slots`` bounds the completions written at once.
    Raises NotFoundError when none is in use, InvalidInputError when several are and ``name`` does
    not choose, ModelError when it is damaged.
    """
    store = ModelStore.of(settings)
    version = store.current("generator", store.choose("generator", name, tenant), tenant)
    store.check(version, "int8")
    return open_generator(
        version.part("int8"), threads=settings.threads, slots=slots, waiting=settings.queue_size
    )
