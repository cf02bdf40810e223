"""What there is to serve, as rows: trained versions and the encoder they are built upon."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from assistant.errors import ModelError
from assistant.models.encoders import encoder_place, pending_encoder
from assistant.models.journal import read_applied, read_pointer
from assistant.models.manifest import ModelManifest, read_manifest
from assistant.models.names import REGISTRY_PREFIX, SHARED_TENANT
from assistant.models.passport import Figure
from assistant.models.registry import ModelRegistry
from assistant.models.store import ModelStore
from assistant.models.versions import Model, Version, numbers_in, version_of
from assistant.settings import Settings

_WAITS = "promoted, not in force yet: documents are encoded with it first"


@dataclass(frozen=True, slots=True)
class Row:
    """One version, or (``version`` None) the base build of the encoder.

    ``current``: it is the one promoted. ``note``: what else there is to know, such as damage or a
    promotion that is still to take force. ``metric`` names ``figure``, ``gate`` is the verdict in
    words; sizes are those of the int8 model.
    """

    task: str
    name: str
    tenant: str
    version: int | None
    current: bool
    created: str = ""
    metric: str = ""
    figure: Figure | None = None
    size_bytes: int = 0
    precisions: tuple[str, ...] = ()
    gate_passed: bool | None = None
    gate: str = ""
    note: str = field(default="")

    def as_data(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        return asdict(self)


def rows(
    settings: Settings, *, task: str | None = None, tenants: tuple[str, ...] | None = None
) -> list[Row]:
    """Return a row for every version, by task, name, tenant and number; base encoder first.

    ``task`` and ``tenants`` narrow it. A damaged version is listed with what is wrong in ``note``.
    """
    store = ModelStore.of(settings)
    models = [
        model for model in store.models(task=task) if tenants is None or model.tenant in tenants
    ]
    found = list(_base(settings)) if task in (None, "encoder") else []
    for model in models:
        found += list(_of_model(model))
    return found


def _of_model(model: Model) -> Iterator[Row]:
    note = ""
    try:
        current = read_pointer(model.folder).version
        applied = read_applied(model.folder) if model.task == "encoder" else current
    except ModelError as error:
        current = applied = None
        note = str(error)
    for number in numbers_in(model.folder):
        version = version_of(model.folder, model.tenant, model.task, model.name, number)
        waits = number == current != applied
        state = _WAITS if waits else note
        yield _of_version(version, current=number == current, note=state)


def _of_version(version: Version, *, current: bool, note: str) -> Row:
    place = (version.task, version.name, version.tenant, version.number, current)
    try:
        seal, passport = version.seal(), version.passport()
    except ModelError as error:
        return Row(*place, note=str(error))
    key = passport.key_figure()
    return Row(
        *place,
        created=seal.created,
        metric=key[0] if key else "",
        figure=key[1] if key else None,
        size_bytes=seal.size("int8"),
        precisions=version.precisions,
        gate_passed=passport.gate.passed,
        gate=passport.gate.verdict(),
        note=note,
    )


def _base(settings: Settings) -> Iterator[Row]:
    """Yield the base build the settings name; nothing when they name a folder or a version."""
    if settings.encoder.startswith(REGISTRY_PREFIX):
        return
    manifest, folder_size, note = base_encoder(settings)
    try:
        in_force = encoder_place(settings).version is None
        pending = pending_encoder(settings)
        if pending is not None and pending[1] is None:
            note = note or _WAITS
    except ModelError as error:
        in_force, note = False, str(error)
    yield Row(
        "encoder",
        settings.encoder,
        SHARED_TENANT,
        None,
        in_force,
        created=manifest.created if manifest else "",
        size_bytes=folder_size,
        precisions=_precisions(settings),
        note=note,
    )


def base_encoder(settings: Settings) -> tuple[ModelManifest | None, int, str]:
    """Return the base build's manifest, its bytes, and what is wrong with it ("" for nothing)."""
    try:
        folder = ModelRegistry(settings.models_dir).folder(settings.encoder)
        if folder is None:
            return None, 0, "not built: run `assistant build`"
        size = sum(path.stat().st_size for path in folder.iterdir())
        return read_manifest(folder), size, ""
    except (ModelError, OSError) as error:
        return None, 0, str(error)


def _precisions(settings: Settings) -> tuple[str, ...]:
    registry = ModelRegistry(settings.models_dir)
    try:
        built = [p for p in ("int8", "fp16") if registry.folder(settings.encoder, p) is not None]
    except ModelError:
        return ()
    return tuple(built)
