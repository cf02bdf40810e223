"""Which encoder serves: the base build, or a trained version that took its name over.

Stored vectors belong to the encoder that made them. So promoting another encoder moves only the
registry's pointer; it is *applied* once all stored documents have been encoded with it (see
``assistant.switching``). Until then everything goes on with the encoder applied before.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from assistant.errors import InvalidInputError, ModelError, StorageError
from assistant.models.journal import APPLIED_FILE, read_applied, write_durably
from assistant.models.manifest import ModelManifest, read_manifest
from assistant.models.names import REGISTRY_PREFIX, ModelRef, parse_ref
from assistant.models.registry import ModelRegistry
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings

_TASK = "encoder"
_SERVICES = ".services"


@dataclass(frozen=True, slots=True)
class EncoderPlace:
    """Where the encoder to serve is: a version of the registry, or (None) the base build."""

    settings: Settings
    version: Version | None

    def folder(self, precision: str) -> Path | None:
        """Return its folder in a precision, unverified; None when it is not built so."""
        if self.version is None:
            return ModelRegistry(self.settings.models_dir).folder(self.settings.encoder, precision)
        folder = self.version.folder / precision
        return folder if folder.is_dir() else None

    def opened(self, precision: str) -> tuple[Path, ModelManifest]:
        """Return folder and manifest, checksums verified. Raises ModelError."""
        if self.version is None:
            return ModelRegistry(self.settings.models_dir).encoder(self.settings.encoder, precision)
        folder = self.version.part(precision)
        ModelStore.of(self.settings).check(self.version, precision)
        return folder, read_manifest(folder)


def encoder_place(settings: Settings) -> EncoderPlace:
    """Return where the encoder in force is.

    ``settings.encoder`` is the name of a base build, a folder, or ``registry:encoder/NAME[@vN]``.
    For a name, the version applied under that name takes the place of the base build; with
    ``@vN`` it is that version whatever is promoted. Raises ModelError when there is none.
    """
    ref = _ref(settings)
    if ref is None:
        return EncoderPlace(settings, None)
    store = ModelStore.of(settings)
    if ref.number is not None:
        return EncoderPlace(settings, store.version(_TASK, ref.name, ref.number))
    number = read_applied(store.folder(_TASK, ref.name))
    if number is not None:
        return EncoderPlace(settings, store.version(_TASK, ref.name, number))
    if not settings.encoder.startswith(REGISTRY_PREFIX):
        return EncoderPlace(settings, None)
    version = store.current_or_none(_TASK, ref.name)
    if version is None:
        raise ModelError(
            f"No version of encoder/{ref.name} is promoted: promote one with `assistant models "
            f"promote encoder/{ref.name}@vN`, or set ASSISTANT_ENCODER to a base build."
        )
    return EncoderPlace(settings, version)


def pending_encoder(settings: Settings) -> tuple[Version | None, Version | None] | None:
    """Return (in force, promoted) when the two differ, None when there is nothing to apply."""
    ref = _ref(settings)
    if ref is None or ref.number is not None:
        return None
    store = ModelStore.of(settings)
    wanted = store.current_or_none(_TASK, ref.name)
    applied = read_applied(store.folder(_TASK, ref.name))
    if applied == (wanted.number if wanted else None):
        return None
    known = {version.number: version for version in store.versions(_TASK, ref.name)}
    return known.get(applied or 0), wanted


def mark_applied(settings: Settings, version: Version | None) -> None:
    """Have every process that starts from now on serve this version (None: the base build).

    Raises StorageError when the disk refuses.
    """
    ref = _ref(settings)
    if ref is None:
        return
    path = ModelStore.of(settings).folder(_TASK, ref.name) / APPLIED_FILE
    number = version.number if version else None
    try:
        write_durably(path, json.dumps({"version": number}) + "\n")
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}. The encoder in force stays; "
            "make room, then promote again."
        ) from error


@contextmanager
def service_running(settings: Settings) -> Iterator[None]:
    """Say for the time of the body that a service runs on this data folder."""
    folder = _services(settings)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{uuid.uuid4().hex}.lock"
    with FileLock(path):
        yield
    with suppress(OSError):
        path.unlink()


def services_running(settings: Settings) -> int:
    """Return how many services run on this data folder; those that died do not count."""
    running = 0
    for path in _services(settings).glob("*.lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            running += 1
        else:
            with suppress(OSError):
                path.unlink()
    return running


def _services(settings: Settings) -> Path:
    return ModelStore.of(settings).root / _SERVICES


def _ref(settings: Settings) -> ModelRef | None:
    """Return the registry's name for the encoder set; None when it can have none."""
    text = settings.encoder
    if text.startswith(REGISTRY_PREFIX):
        ref = parse_ref(text)
        if ref.task != _TASK:
            raise ModelError(
                f"ASSISTANT_ENCODER is {text!r}: a {ref.task} is no encoder; name one as "
                "registry:encoder/NAME."
            )
        return ref
    try:
        return parse_ref(f"{_TASK}/{text}")
    except InvalidInputError:  # a folder, which the registry knows nothing of
        return None
