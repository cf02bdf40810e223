"""The registry of trained models: versions per tenant, task and name; one of them is served.

``root/TENANT/TASK/NAME/`` holds the versions ``v1``, ``v2``, … (never changed once added), the
pointer ``current.json`` and the log ``events.jsonl``. Changes are made under a lock, in an order
that leaves nothing half done after a crash; readers need no lock.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from assistant.errors import BusyError, InvalidInputError, ModelError, NotFoundError, StorageError
from assistant.models import checking
from assistant.models.card import CARD_FILE, card
from assistant.models.journal import (
    POINTER_FILE,
    Event,
    new_event,
    pointer_or_replay,
    read_applied,
    read_events,
    read_pointer,
    recorded,
    sync_folder,
    write_durably,
    write_pointer,
)
from assistant.models.names import (
    DEFAULT_NAMES,
    SHARED_TENANT,
    TASKS,
    ModelRef,
    tenant_folder,
    tenant_of_folder,
    valid_model_name,
    valid_task,
    valid_tenant,
)
from assistant.models.passport import PASSPORT_FILE, Passport
from assistant.models.versions import (
    Model,
    Problem,
    Version,
    model_problems,
    numbers_in,
    version_of,
)
from assistant.settings import Settings

_LOCK_SECONDS = 120.0
_MAX_REASON = 500
_INCOMING = ".incoming-"


class ModelStore:
    """Trained versions under ``root``. Thread-safe, and safe between processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, settings: Settings) -> ModelStore:
        """Return the store in the data folder of the settings."""
        return cls(settings.data_dir / "models")

    # --- reading -----------------------------------------------------------------------------

    def folder(self, task: str, name: str, tenant: str = SHARED_TENANT) -> Path:
        """Return where the versions of a model are, whether there are any or not.

        Raises InvalidInputError for a name that is none.
        """
        place = tenant_folder(valid_tenant(tenant))
        return self.root / place / valid_task(task) / valid_model_name(name)

    def models(self, *, task: str | None = None, tenant: str | None = None) -> list[Model]:
        """Return every model, or those of a task, a tenant; ordered by task, name, tenant."""
        tasks = TASKS if task is None else (valid_task(task),)
        if tenant is None:
            places = sorted(p for p in self.root.glob("*") if p.is_dir())
        else:
            places = [self.root / tenant_folder(valid_tenant(tenant))]
        found = [
            Model(tenant_of_folder(place.name), one, folder.name, folder)
            for one in tasks
            for place in places
            for folder in (place / one).glob("*")
            if any(numbers_in(folder))
        ]
        return sorted(found, key=lambda m: (TASKS.index(m.task), m.name, m.tenant))

    def versions(self, task: str, name: str, tenant: str = SHARED_TENANT) -> list[Version]:
        """Return the versions of a model, oldest first; empty when there is none."""
        folder, tenant = self.folder(task, name, tenant), valid_tenant(tenant)
        return [version_of(folder, tenant, task, name, number) for number in numbers_in(folder)]

    def version(self, task: str, name: str, number: int, tenant: str = SHARED_TENANT) -> Version:
        """Return one version. Raises NotFoundError, naming those there are."""
        found = self.versions(task, name, tenant)
        for version in found:
            if version.number == number:
                return version
        known = ", ".join(f"v{version.number}" for version in found) or "none"
        raise NotFoundError(
            f"{ModelRef(task, name, number)} does not exist for tenant {tenant!r}; there is "
            f"{known}."
        )

    def current(self, task: str, name: str, tenant: str = SHARED_TENANT) -> Version:
        """Return the version to serve a tenant: its own promoted one, else the shared one.

        Raises NotFoundError when nothing is promoted, ModelError for a damaged pointer.
        """
        found = self.current_or_none(task, name, tenant)
        if found is None:
            raise NotFoundError(
                f"No version of {task}/{name} is in use for tenant {tenant!r}: train one with "
                f"`assistant train`, then `assistant models promote {task}/{name}@v1`."
            )
        return found

    def current_or_none(self, task: str, name: str, tenant: str = SHARED_TENANT) -> Version | None:
        """As ``current``, but None when nothing is promoted."""
        for owner in dict.fromkeys((valid_tenant(tenant), SHARED_TENANT)):
            folder = self.folder(task, name, owner)
            number = read_pointer(folder).version
            if number is not None:
                return version_of(folder, owner, task, name, number)
        return None

    def own_current(self, task: str, name: str, tenant: str = SHARED_TENANT) -> int | None:
        """Return the number a tenant itself has promoted; None when it has none."""
        return read_pointer(self.folder(task, name, tenant)).version

    def choose(self, task: str, name: str | None, tenant: str = SHARED_TENANT) -> str:
        """Return ``name``, or without one the only name of this task that is in use.

        Models that came with the product count only where the company has none of its own; among
        several of them ``DEFAULT_NAMES`` decides. Raises NotFoundError when nothing is in use, or
        only models that came with the product, of which none stands for the others;
        InvalidInputError when several of the company's own are.
        """
        if name is not None:
            return valid_model_name(name)
        owned = [m for who in (tenant, SHARED_TENANT) for m in self.models(task=task, tenant=who)]
        names = sorted({m.name for m in owned if read_pointer(m.folder).version is not None})
        own = [n for n in names if not self.current(task, n, tenant).shipped]
        if len(names) > 1:
            names = own or [name for name in names if name == DEFAULT_NAMES.get(task)] or names
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFoundError(
                f"No {valid_task(task)} model is in use: train one with `assistant train`, then "
                f"`assistant models promote {task}/NAME@vN`."
            )
        kind = InvalidInputError if own else NotFoundError
        raise kind(f"There are several {task} models, name one: {', '.join(names)}.")

    def history(self, task: str, name: str, tenant: str = SHARED_TENANT) -> list[Event]:
        """Return what was done to a model, oldest first. Raises ModelError when damaged."""
        return read_events(self._existing(task, name, tenant))

    def pointer_files(self, task: str, name: str, tenant: str) -> tuple[Path, ...]:
        """Return the files that decide which version is current, to watch for changes."""
        owners = dict.fromkeys((tenant, SHARED_TENANT))
        return tuple(self.folder(task, name, owner) / POINTER_FILE for owner in owners)

    # --- changing ----------------------------------------------------------------------------

    def add(
        self, folder: Path, *, tenant: str = SHARED_TENANT, task: str, name: str, passport: Passport
    ) -> Version:
        """Copy a finished ``folder`` in as the next version, and return it; not yet served.

        ``folder`` holds ``int8/`` and optionally other precisions (each complete, with its
        manifest), and ``tuned.safetensors``. Passport and card are written beside them. On any
        failure nothing stays behind. Raises InvalidInputError for impossible names or passport,
        ModelError for a folder that is no version, StorageError when the disk refuses.
        """
        home, tenant = self.folder(task, name, tenant), valid_tenant(tenant)
        if task == "encoder" and tenant != SHARED_TENANT:
            raise InvalidInputError(
                f"An encoder cannot belong to tenant {tenant!r}: stored vectors of all tenants are "
                f"made by one. Add it for {SHARED_TENANT!r}."
            )
        if (passport.task, passport.name) != (task, name):
            raise InvalidInputError(
                f"The passport is of {passport.task}/{passport.name}, not of {task}/{name}."
            )
        if not folder.is_dir():
            raise InvalidInputError(f"{folder} is no folder with a finished model.")
        texts = {PASSPORT_FILE: passport.to_json(), CARD_FILE: card(passport)}
        with self._changing(home, create=True):
            for left_over in home.glob(f"{_INCOMING}*"):  # of a process that was killed
                shutil.rmtree(left_over, ignore_errors=True)
            number = _next_number(home)
            incoming = home / f"{_INCOMING}{uuid.uuid4().hex}"
            try:
                checking.copy_version(folder, incoming)
                for file, text in texts.items():
                    write_durably(incoming / file, text)
                _seal(incoming, number, task)
                with recorded(home, new_event("added", number, gate=passport.gate.verdict())):
                    incoming.rename(home / f"v{number}")
                sync_folder(home)
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
        return version_of(home, tenant, task, name, number)

    def promote(self, version: Version, override: str | None = None) -> Version:
        """Make a version the one that is served; running services take it within a second.

        Refused with InvalidInputError unless its gate passed or ``override`` gives the reason
        for serving it all the same, which is recorded; with ModelError when it is damaged.
        Promoting the current version changes nothing.
        """
        reason = _checked_reason(override)
        home = self._existing(version.task, version.name, version.tenant)
        with self._changing(home):
            self.version(version.task, version.name, version.number, version.tenant)
            self.check(version)
            passport = version.passport()
            if not passport.gate.passed and reason is None:
                raise InvalidInputError(
                    f"{version.ref} is not promoted: it did not pass its gate "
                    f"({passport.gate.verdict()}). Promote a better one, or give the reason for "
                    "serving it all the same with --override."
                )
            before = pointer_or_replay(home)
            after = before.promoted(version.number)
            if before.version != version.number:
                event = new_event(
                    "promoted",
                    version.number,
                    before=before.version,
                    override=reason if not passport.gate.passed else None,
                    gate=passport.gate.verdict(),
                    steps=after.before,
                )
                with recorded(home, event):
                    write_pointer(home, after)
            else:
                write_pointer(home, before)  # mends a damaged one
        return version

    def rollback(self, task: str, name: str, tenant: str = SHARED_TENANT) -> Version | None:
        """Go back to the version that was current before, and return it; repeatable.

        Before its first promotion a tenant was served the shared version, and an encoder's name
        the base build: going back there returns None. Raises InvalidInputError when there is
        nothing left to go back to, ModelError when what there is is damaged.
        """
        home = self._existing(task, name, tenant)
        with self._changing(home):
            now = pointer_or_replay(home)
            if not now.before:
                raise InvalidInputError(
                    f"{task}/{name} has nothing to go back to for tenant {tenant!r}."
                )
            after = now.rolled_back()
            target = None
            if after.version is not None:
                self.check(target := self.version(task, name, after.version, tenant))
            elif not self._serves_without(task, name, tenant):
                raise InvalidInputError(
                    f"v{now.version} was the first version of {task}/{name} in use: there is "
                    "nothing to go back to. Promote another version instead."
                )
            event = new_event("rolled_back", after.version, before=now.version, steps=after.before)
            with recorded(home, event):
                write_pointer(home, after)
        return target

    def delete(self, version: Version) -> None:
        """Delete a version that is not current. Raises InvalidInputError for the current one."""
        home = self._existing(version.task, version.name, version.tenant)
        with self._changing(home):
            self.version(version.task, version.name, version.number, version.tenant)
            now = pointer_or_replay(home)
            if now.version == version.number:
                raise InvalidInputError(
                    f"{version.ref} is in use: promote another version or roll back first."
                )
            if read_applied(home) == version.number:
                raise InvalidInputError(
                    f"{version.ref} made the stored vectors: run `assistant build` first, which "
                    "encodes the documents anew with the encoder promoted since."
                )
            after = now.without(version.number)
            event = new_event("deleted", version.number, before=after.version, steps=after.before)
            with recorded(home, event):
                write_pointer(home, after)
                # Its name goes first, so that a version is there whole or not at all.
                gone = home / f"{_INCOMING}{uuid.uuid4().hex}"
                version.folder.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)

    # --- checking ----------------------------------------------------------------------------

    def check(self, version: Version, precision: str | None = None) -> None:
        """Raise ModelError unless a version (or one precision of it) is exactly what was added."""
        if precision is not None:
            version.part(precision)
        problem = next(checking.sealed_problems(version.folder, precision), None)
        if problem is not None:
            raise ModelError(
                f"{version.ref} is damaged: {problem}. Roll back or promote another version with "
                "`assistant models`, or add it again from its training run."
            )

    def verify(
        self, *, task: str | None = None, name: str | None = None, tenant: str | None = None
    ) -> list[Problem]:
        """Check all files of all versions, pointers and logs; return the damage found.

        Reads every byte. ``task``, ``name``, ``tenant`` narrow what is checked.
        """
        models = self.models(task=task, tenant=tenant)
        wanted = [model for model in models if name in (None, model.name)]
        return [problem for model in wanted for problem in model_problems(model)]

    # --- inside ------------------------------------------------------------------------------

    def _serves_without(self, task: str, name: str, tenant: str) -> bool:
        """Whether something serves this name when the tenant has no version of its own."""
        if tenant == SHARED_TENANT:
            return task == "encoder"
        return self.own_current(task, name) is not None

    def _existing(self, task: str, name: str, tenant: str) -> Path:
        folder = self.folder(task, name, tenant)
        if not folder.is_dir():
            known = sorted({str(model) for model in self.models(task=task)})
            raise NotFoundError(
                f"There is no model {task}/{name} for tenant {tenant!r}; there is "
                f"{', '.join(known[:20]) or 'none of this task'}."
            )
        return folder

    @contextmanager
    def _changing(self, home: Path, *, create: bool = False) -> Iterator[None]:
        """Hold the model's lock; tell a disk that refuses in words."""
        try:
            if create:
                home.mkdir(parents=True, exist_ok=True)
            with FileLock(home / ".lock", timeout=_LOCK_SECONDS):
                yield
        except Timeout as error:
            raise BusyError(
                f"{home} has been locked by another process for {_LOCK_SECONDS:.0f} s: wait for "
                "it or end it, then try again."
            ) from error
        except OSError as error:
            raise StorageError(
                f"{home} cannot be written: {error.strerror or error}. Nothing was changed; make "
                "room or mend the rights, then try again."
            ) from error


def _next_number(home: Path) -> int:
    """One more than any version there is or was: a number never comes to mean another model."""
    try:
        logged = [event.version or 0 for event in read_events(home)]
    except ModelError:
        logged = []
    return 1 + max([0, *numbers_in(home), *logged])


def _seal(incoming: Path, number: int, task: str) -> None:
    """Check a copied version and write its seal; ModelError says what is wrong with it."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    seal = checking.seal_folder(incoming, number, created)
    problem = next(checking.contents_problems(incoming, task, seal.files), None)
    if problem is not None:
        raise ModelError(
            f"Not added: {problem.replace(incoming.name, 'the folder')}. Export the model again."
        )
    write_durably(incoming / checking.SEAL_FILE, seal.to_json())
    for path in incoming.iterdir():
        if path.is_dir():
            sync_folder(path)


def _checked_reason(override: str | None) -> str | None:
    if override is None:
        return None
    reason = " ".join(override.split())
    if not 1 <= len(reason) <= _MAX_REASON:
        raise InvalidInputError(
            f"The reason for the override has {len(reason)} characters; give 1 to {_MAX_REASON}."
        )
    return reason
