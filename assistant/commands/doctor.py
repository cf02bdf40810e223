"""``assistant doctor``: is this installation fit to serve, on what, and why."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from assistant import __version__
from assistant.commands.common import (
    EXIT_FAILED,
    data_dir_option,
    json_option,
    load_settings,
    print_json,
    print_table,
)
from assistant.errors import AssistantError

if TYPE_CHECKING:
    from assistant.settings import Settings

_LOW_DISK_MB = 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One finding. ``fail`` means that questions cannot be answered until it is mended."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str


@click.command(name="doctor")
@json_option
@data_dir_option
def command(as_json: bool) -> int:
    """Check Python, folders, models, device, database and indexes; say what to do about each."""
    settings = load_settings()
    probes: list[Callable[[Settings], Check]] = [
        _versions,
        _data_folder,
        _model,
        _device,
        _knowledge,
        _answering,
    ]
    checks = [_guarded(probe, settings) for probe in probes]
    healthy = all(check.status != "fail" for check in checks)
    if as_json:
        print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        print_table(("check", "status", "detail"), [(c.name, c.status, c.detail) for c in checks])
    return 0 if healthy else EXIT_FAILED


def _guarded(probe: Callable[[Settings], Check], settings: Settings) -> Check:
    """One broken part must not keep the others from being looked at."""
    name = probe.__name__.strip("_").replace("_", " ")
    try:
        return probe(settings)
    except AssistantError as error:
        return Check(name, "fail", str(error))
    except Exception as error:
        return Check(name, "fail", f"{type(error).__name__}: {error}")


def _versions(_settings: Settings) -> Check:
    detail = f"assistant {__version__}, Python {platform.python_version()}, {platform.platform()}"
    return Check("versions", "ok" if sys.version_info >= (3, 11) else "fail", detail)


def _data_folder(settings: Settings) -> Check:
    folder = _nearest_existing(settings.data_dir)
    free_mb = shutil.disk_usage(folder).free // 2**20
    detail = f"{settings.data_dir}, {free_mb:,} MB free"
    return Check("data folder", "ok" if free_mb >= _LOW_DISK_MB else "warn", detail)


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _model(settings: Settings) -> Check:
    """Loading verifies every checksum of the manifest."""
    from assistant.models.loading import load_encoder

    encoder = load_encoder(settings)
    try:
        detail = f"{encoder.name}, {encoder.dim} dimensions, fingerprint {encoder.fingerprint}"
    finally:
        encoder.close()
    return Check("model", "ok", f"{detail}, checksums right")


def _device(settings: Settings) -> Check:
    """Which execution provider serves, and why not the other."""
    from assistant.models.encoders import encoder_place
    from assistant.models.loading import thread_count
    from assistant.models.session import choose_device

    fp16 = encoder_place(settings).folder("fp16") is not None
    choice = choose_device(settings.device, fp16_built=fp16)
    detail = f"{choice.device}, {thread_count(settings)} threads: {choice.reason}"
    return Check("device", "ok", detail)


def _knowledge(settings: Settings) -> Check:
    from assistant.runtime import Runtime
    from assistant.types import DEFAULT_TENANT

    runtime = Runtime.open(settings)
    try:
        found = runtime.collections(DEFAULT_TENANT)
    finally:
        runtime.close()
    if not found:
        return Check("knowledge", "warn", "nothing loaded yet: assistant ingest PATH")
    shown = ", ".join(
        f"{info.name} ({info.documents} documents, {info.faq_entries} FAQ entries)"
        for info in found[:5]
    )
    more = f" and {len(found) - 5} more" if len(found) > 5 else ""
    return Check("knowledge", "ok", f"{shown}{more}")


def _answering(settings: Settings) -> Check:
    """Ask every part once, indexes included; nothing is stored."""
    from assistant.runtime import Runtime
    from assistant.types import DEFAULT_TENANT, Question, Scope

    runtime = Runtime.open(settings)
    try:
        collections = [info.name for info in runtime.collections(DEFAULT_TENANT)]
        runtime.warm_up()
        started = time.perf_counter()
        for name in collections:
            runtime.dialogue.answer_many([Question("self-test", Scope(collection=name))])
        took_ms = (time.perf_counter() - started) * 1000
    finally:
        runtime.close()
    detail = f"{len(collections)} collections answer ({took_ms:.0f} ms)"
    return Check("answering", "ok", detail if collections else "ready")
