"""``assistant models``: the registry of trained models: look, check, promote, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import (
    EXIT_FAILED,
    data_dir_option,
    json_option,
    load_settings,
    note,
    print_json,
    print_line,
    print_table,
)
from assistant.errors import AssistantError, BusyError, InvalidInputError
from assistant.models.names import SHARED_TENANT, TASKS

if TYPE_CHECKING:
    from assistant.models.journal import Event
    from assistant.models.listing import Row
    from assistant.models.names import ModelRef
    from assistant.models.store import ModelStore
    from assistant.models.versions import Version
    from assistant.settings import Settings

tenant_option = click.option(
    "--tenant",
    default=SHARED_TENANT,
    show_default=True,
    help="Whose model; the shared one serves every tenant that has none of its own.",
)
_COLUMNS = ("model", "tenant", "version", "current", "created", "metric", "size", "gate", "note")


@click.group(name="models")
@data_dir_option
def command() -> None:
    """The registry of trained models: list, check, promote and roll back."""


@command.command(name="list")
@click.option("--task", type=click.Choice(TASKS), help="Only models of this task.")
@click.option("--tenant", help="Only models of this tenant.  [default: all]")
@json_option
@data_dir_option
def list_models(task: str | None, tenant: str | None, as_json: bool) -> None:
    """List every version, and the base encoder; the current ones are marked."""
    from assistant.models.listing import rows
    from assistant.models.names import valid_tenant

    tenants = None if tenant is None else (valid_tenant(tenant),)
    found = rows(load_settings(), task=task, tenants=tenants)
    if as_json:
        print_json([row.as_data() for row in found])
    else:
        print_table(_COLUMNS, [_cells(row) for row in found])


@command.command()
@click.argument("model", metavar="TASK/NAME[@vN]")
@tenant_option
@json_option
@data_dir_option
def show(model: str, tenant: str, as_json: bool) -> None:
    """Show a version's passport: origin, data, figures, gate, cost. Without @vN the current one."""
    settings = load_settings()
    store, ref = _store(settings), _ref(model)
    if _is_base(settings, store, ref):
        _show_base(settings, as_json)
        return
    version = _version(store, ref, tenant)
    passport, seal = version.passport(), version.seal()
    current = store.own_current(version.task, version.name, tenant) == version.number
    facts = {"model": version.ref, "tenant": tenant, "current": current, "created": seal.created}
    sizes = {part: seal.size(part) for part in version.precisions}
    if as_json:
        print_json({**facts, "sizes_bytes": sizes, "passport": passport.as_data()})
        return
    from assistant.models.card import card, size_text

    shown = ", ".join(f"{part} {size_text(size)}" for part, size in sizes.items())
    print_line(f"{version.ref}, tenant {tenant}{', current' if current else ''}; {shown}")
    print_line(f"Added {seal.created}; files in {version.folder}")
    print_line()
    print_line(card(passport))


@command.command()
@click.argument("model", metavar="[TASK/NAME]", required=False)
@click.option("--tenant", help="Only models of this tenant.  [default: all]")
@json_option
@data_dir_option
def verify(model: str | None, tenant: str | None, as_json: bool) -> int:
    """Check every file of every version against its checksum, and pointers and logs.

    Names all damage and ends with exit code 1 when there is any.
    """
    settings = load_settings()
    store, ref = _store(settings), _ref(model) if model else None
    checked = [
        str(found)
        for found in store.models(task=ref.task if ref else None, tenant=tenant)
        if ref is None or found.name == ref.name
    ]
    base = ref is None or _is_base(settings, store, ref)
    if ref is not None and not checked and not base:
        store.history(ref.task, ref.name, tenant or SHARED_TENANT)  # says what there is
    problems = [
        {"model": found.ref, "tenant": found.tenant, "problem": found.message}
        for found in store.verify(
            task=ref.task if ref else None, name=ref.name if ref else None, tenant=tenant
        )
    ]
    problems += _base_problems(settings) if base else []
    if as_json:
        print_json({"checked": checked, "problems": problems})
    else:
        for problem in problems:
            print_line(f"{problem['model']} (tenant {problem['tenant']}): {problem['problem']}")
        print_line(f"{len(checked) + base} models checked, {len(problems)} problems.")
    return EXIT_FAILED if problems else 0


@command.command()
@click.argument("model", metavar="TASK/NAME@vN")
@click.option("--override", metavar="REASON", help="Serve it though its gate did not pass.")
@tenant_option
@json_option
@data_dir_option
def promote(model: str, override: str | None, tenant: str, as_json: bool) -> None:
    """Serve this version from now on; running services take it without dropping a request.

    Refused unless its gate passed or --override says why it is served all the same; that is
    recorded with time and user.
    """
    settings = load_settings()
    store, ref = _store(settings), _ref(model)
    if ref.number is None:
        raise InvalidInputError(f"{model!r} names no version: write {ref}@vN.")
    before = store.own_current(ref.task, ref.name, tenant)
    version = store.version(ref.task, ref.name, ref.number, tenant)
    store.promote(version, override)
    _report(settings, version, before, as_json)


@command.command()
@click.argument("model", metavar="TASK/NAME")
@tenant_option
@json_option
@data_dir_option
def rollback(model: str, tenant: str, as_json: bool) -> None:
    """Go back to the version that was current before; repeat to go back further."""
    settings = load_settings()
    store, ref = _store(settings), _unversioned(model)
    before = store.own_current(ref.task, ref.name, tenant)
    version = store.rollback(ref.task, ref.name, tenant)
    if version is None and ref.task != "encoder":
        version = store.current(ref.task, ref.name, tenant)
    _report(settings, version or ref, before, as_json)


@command.command()
@click.argument("model", metavar="TASK/NAME")
@tenant_option
@json_option
@data_dir_option
def history(model: str, tenant: str, as_json: bool) -> None:
    """Show what was added, promoted, rolled back and deleted: when, by whom and why."""
    store, ref = _store(load_settings()), _unversioned(model)
    events = store.history(ref.task, ref.name, tenant)
    if as_json:
        print_json([event.as_data() for event in events])
        return
    columns = ("time", "user", "action", "version", "before", "gate", "override")
    print_table(columns, [_event_cells(event) for event in events])


@command.command()
@click.argument("model", metavar="TASK/NAME@vN")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tenant_option
@json_option
@data_dir_option
def delete(model: str, yes: bool, tenant: str, as_json: bool) -> None:
    """Delete a version that is not in use, with all its files."""
    store, ref = _store(load_settings()), _ref(model)
    if ref.number is None:
        raise InvalidInputError(f"{model!r} names no version: write {ref}@vN.")
    version = store.version(ref.task, ref.name, ref.number, tenant)
    if not yes:
        click.confirm(f"Delete {version.ref} of tenant {tenant}?", abort=True, err=True)
    store.delete(version)
    if as_json:
        print_json({"deleted": version.ref, "tenant": tenant})
    else:
        print_line(f"Deleted {version.ref}.")


# --- inside --------------------------------------------------------------------------------------


def _store(settings: Settings) -> ModelStore:
    from assistant.models.store import ModelStore

    return ModelStore.of(settings)


def _ref(model: str) -> ModelRef:
    from assistant.models.names import parse_ref

    return parse_ref(model)


def _unversioned(model: str) -> ModelRef:
    ref = _ref(model)
    if ref.number is not None:
        raise InvalidInputError(f"Leave {f'@v{ref.number}'} out: this is about all versions.")
    return ref


def _version(store: ModelStore, ref: ModelRef, tenant: str) -> Version:
    """The version named; without a number the current one, else the newest."""
    number = ref.number or store.own_current(ref.task, ref.name, tenant)
    versions = store.versions(ref.task, ref.name, tenant)
    if number is None and versions:
        return versions[-1]
    if not versions:
        store.history(ref.task, ref.name, tenant)  # says what there is
    return store.version(ref.task, ref.name, number or 1, tenant)


def _report(settings: Settings, now: Version | ModelRef, before: int | None, as_json: bool) -> None:
    """Say what is current now; an encoder is applied, or it is said when it will be."""
    from assistant.models.versions import Version

    ref = now.ref if isinstance(now, Version) else f"{now.task}/{now.name}"
    tenant = now.tenant if isinstance(now, Version) else SHARED_TENANT
    waits = apply_promoted(settings) if now.task == "encoder" else ""
    if as_json:
        number = now.number
        data = {"model": ref, "tenant": tenant, "version": number, "before": before}
        print_json({**data, "note": waits})
        return
    what = ref if isinstance(now, Version) else f"The base build of {now.name}"
    was = f" (before: v{before})" if before is not None else ""
    print_line(f"{what} is current for tenant {tenant}{was}.")
    if waits:
        note(waits)


def apply_promoted(settings: Settings) -> str:
    """Put a promoted encoder in force now, with progress; return why that must wait, if it must."""
    from assistant.commands.common import open_runtime
    from assistant.commands.ingest import encode_anew
    from assistant.models.encoders import pending_encoder

    if pending_encoder(settings) is None:
        return ""
    try:
        with open_runtime(settings) as runtime:
            encode_anew(runtime)
    except BusyError as error:
        return str(error)
    return ""


def _is_base(settings: Settings, store: ModelStore, ref: ModelRef) -> bool:
    """Whether the base build is meant: by its name, with no version of that name in use."""
    if ref.task != "encoder" or ref.name != settings.encoder or ref.number is not None:
        return False
    try:
        return store.own_current(ref.task, ref.name) is None
    except AssistantError:
        return False


def _show_base(settings: Settings, as_json: bool) -> None:
    from dataclasses import asdict

    from assistant.models.listing import base_encoder

    manifest, size, problem = base_encoder(settings)
    if manifest is None:
        raise AssistantError(f"The base encoder {settings.encoder} is {problem}.")
    facts: dict[str, Any] = {**asdict(manifest), "size_bytes": size}
    if as_json:
        print_json(facts)
        return
    for key, value in facts.items():
        print_line(f"{key}: {value}")


def _base_problems(settings: Settings) -> list[dict[str, str]]:
    from assistant.models.registry import ModelRegistry

    if settings.encoder.startswith("registry:"):
        return []
    try:
        ModelRegistry(settings.models_dir).encoder(settings.encoder)
    except AssistantError as error:
        where = f"encoder/{settings.encoder}"
        return [{"model": where, "tenant": SHARED_TENANT, "problem": str(error)}]
    return []


def _cells(row: Row) -> Sequence[object]:
    from assistant.models.card import interval, size_text

    return (
        f"{row.task}/{row.name}",
        row.tenant,
        f"v{row.version}" if row.version else "base",
        "yes" if row.current else "",
        row.created,
        f"{row.metric} {interval(row.figure)}" if row.figure else "",
        size_text(row.size_bytes) if row.size_bytes else "",
        {True: "passed", False: "not passed", None: ""}[row.gate_passed],
        row.note,
    )


def _event_cells(event: Event) -> Sequence[object]:
    version = "none of its own" if event.version is None else f"v{event.version}"
    before = "" if event.before is None else f"v{event.before}"
    return (event.time, event.user, event.action, version, before, event.gate, event.override or "")
