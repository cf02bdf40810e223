"""The fine-tuned models that come with the product.

The source holds what a few megabytes hold: adapters and heads, passport and card, in
``shipped/TASK/NAME/`` (``training.shipping`` writes them). Set-up merges each with its
base into an int8 model, kept in the cache under the hash of what went in, and adds it to the
registry of trained models, where it can be replaced and rolled back to like any other.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from assistant.errors import InvalidInputError, ModelError, NotFoundError
from assistant.models.build import recipe
from assistant.models.build.sources import sha256_of
from assistant.models.build.tuned import TUNED_FILE
from assistant.models.choosing import serving_version
from assistant.models.journal import sync_folder
from assistant.models.manifest import FORMAT
from assistant.models.names import TASKS
from assistant.models.passport import PASSPORT_FILE, passport_from_json
from assistant.models.registry import read_build
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings

SHIPPED = recipe.SHIPPED
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A model in the source: its files are ``tuned.safetensors`` and ``passport.json``."""

    task: str
    name: str
    folder: Path

    @property
    def digest(self) -> str:
        """SHA-256 of the weights: what tells a shipped version in a registry."""
        return sha256_of(self.folder / TUNED_FILE)

    def __str__(self) -> str:
        return f"{self.task}/{self.name}"


def shipped_models(task: str | None = None, root: Path | None = None) -> list[ShippedModel]:
    """Return the models of the source, or those of one task, in the order of ``TASKS``.

    An encoder is among them, though it is not installed: it serves as a build of its own
    (``build.recipe.ENCODERS``), to which stored vectors belong.
    """
    return [
        ShippedModel(one, folder.name, folder)
        for one in (TASKS if task is None else (task,))
        for folder in sorted(((root or SHIPPED) / one).glob("*"))
        if (folder / TUNED_FILE).is_file()
    ]


def install(
    settings: Settings, models: Sequence[ShippedModel], progress: Progress | None = None
) -> list[Version]:
    """Build the models that are not built yet, add them to the registry, and return what is new.

    One is promoted where nothing of its name is in use, or an older shipped version is; a version
    of the company's own stays. Safe to run again and beside itself. Raises ModelError.
    """
    say = progress or (lambda message: None)
    store, found = ModelStore.of(settings), []
    with _one_at_a_time(settings):
        wanted = [model for model in models if model.task != "encoder"]
        missing = [model for model in wanted if not _there(store, model)]
        for model, folder in _built(settings, missing, say):
            text = (model.folder / PASSPORT_FILE).read_text(encoding="utf-8")
            before = store.current_or_none(model.task, model.name)
            version = store.add(
                folder,
                task=model.task,
                name=model.name,
                passport=passport_from_json(text, str(model.folder / PASSPORT_FILE)),
            )
            if before is None or before.shipped:
                store.promote(version)
            say(f"added {version.ref}")
            found.append(version)
    return found


def ensure(settings: Settings, task: str, name: str | None = None) -> None:
    """Install what is shipped for a task, or under a name of it, where nothing serves it yet.

    A data folder that was never built serves all the same. Raises ModelError.
    """
    plain = None if name is None else name.partition("@")[0]
    wanted = [model for model in shipped_models(task) if plain in (None, model.name)]
    if not wanted:
        return
    try:
        serving_version(ModelStore.of(settings), task, plain)
    except NotFoundError:
        install(settings, wanted)
    except InvalidInputError:  # several are in use
        return


def _there(store: ModelStore, model: ShippedModel) -> bool:
    digest = model.digest
    return any(
        sha256_of(version.folder / TUNED_FILE) == digest
        for version in store.versions(model.task, model.name)
        if (version.folder / TUNED_FILE).is_file()
    )


def _built(
    settings: Settings, models: Sequence[ShippedModel], say: Progress
) -> Iterator[tuple[ShippedModel, Path]]:
    """Yield each model with the folder of its version, built now or earlier."""
    from assistant.models.build.bases import open_base
    from assistant.models.build.tuned import read_tuned
    from assistant.models.build.tuned_build import build_tuned

    open_once = lru_cache(maxsize=1)(open_base)
    for model in models:
        folder = settings.models_dir / "shipped" / model.task / f"{model.name}-{_key(model)}"
        if not _whole(folder):
            say(f"building {model}")
            tuned = read_tuned(model.folder / TUNED_FILE)
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
                build_tuned(tuned, open_once(tuned.base), Path(part) / "version" / "int8")
                shutil.copyfile(model.folder / TUNED_FILE, Path(part) / "version" / TUNED_FILE)
                sync_folder(Path(part) / "version")
                (Path(part) / "version").rename(folder)
        yield model, folder


def _key(model: ShippedModel) -> str:
    return hashlib.sha256(f"{FORMAT} {model.digest}".encode()).hexdigest()[:16]


def _whole(folder: Path) -> bool:
    """Whether an earlier build is there and can be used; one that cannot is taken away."""
    if not folder.is_dir():
        return False
    try:
        read_build(folder / "int8")
    except ModelError:
        shutil.rmtree(folder)
        return False
    return True


def _one_at_a_time(settings: Settings) -> FileLock:
    settings.models_dir.mkdir(parents=True, exist_ok=True)
    return FileLock(settings.models_dir / "shipped.lock")
