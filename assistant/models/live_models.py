"""Models that follow the registry while they serve: a promotion or rollback drops no request.

A new version is opened in the background while the old one goes on serving; then they change
places in one step, and the old one is closed when the last request that uses it has finished. A
version that cannot be opened leaves the one in use in its place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from assistant.errors import AssistantError, BusyError, ModelError
from assistant.models.manifest import ModelManifest, read_manifest
from assistant.models.memory import trim
from assistant.models.store import ModelStore
from assistant.models.versions import Version

RETRY_SECONDS = 30.0
"""A version that could not be opened is tried again after this time, or when the pointer moves."""

_log = logging.getLogger(__name__)


class Closable(Protocol):
    """What an opener returns."""

    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)
Opener = Callable[[Path, ModelManifest], T]
"""Opens the built model in a folder whose files have been verified."""


@dataclass(frozen=True, slots=True)
class Status:
    """What a service does with one model: the version in use (None: none yet), how many requests
    use it now, and why a newer one is not in use (empty: there is none)."""

    task: str
    name: str
    tenant: str
    version: Version | None
    requests: int
    problem: str


class _Open(Generic[T]):
    """An open model and the number of those that hold it; closed by the last to let go."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.model: T | None = None
        self.error: Exception | None = None
        self.holders = 1
        self.ready = threading.Event()

    def usable(self) -> T:
        if self.model is None:
            raise ModelError(f"{self.version.ref} is not open.")
        return self.model


class ModelPool:
    """Open models by version, so that tenants served by one version share it. Thread-safe."""

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._open: dict[tuple[Version, str], _Open[Any]] = {}

    def acquire(self, version: Version, precision: str, opener: Opener[T]) -> _Open[T]:
        """Return the version, opened and verified once however many ask; ``release`` it after.

        Raises what the check or the opener raises.
        """
        key = (version, precision)
        with self._lock:
            entry = self._open.get(key)
            if entry is not None:
                entry.holders += 1
            else:
                mine = self._open[key] = _Open(version)
        if entry is not None:
            entry.ready.wait()
            if entry.error is not None:
                raise entry.error
            return entry
        try:
            self._store.check(version, precision)
            folder = version.part(precision)
            mine.model = opener(folder, read_manifest(folder))
        except Exception as error:
            mine.error = error
            with self._lock:
                del self._open[key]
            raise
        finally:
            mine.ready.set()
        return mine

    def hold(self, entry: _Open[T]) -> _Open[T]:
        """Hold once more what is held already."""
        with self._lock:
            entry.holders += 1
        return entry

    def release(self, entry: _Open[T]) -> None:
        """Let go; the last one closes the model."""
        with self._lock:
            entry.holders -= 1
            if entry.holders:
                return
            for key in [key for key, kept in self._open.items() if kept is entry]:
                del self._open[key]
        # Outside the lock: closing may wait for threads of the model's own.
        entry.usable().close()
        entry.model = None
        trim()

    def __len__(self) -> int:
        with self._lock:
            return len(self._open)


class Served(Generic[T]):
    """The current version of one model for one tenant, kept current. Thread-safe."""

    def __init__(
        self,
        store: ModelStore,
        task: str,
        name: str,
        tenant: str,
        opener: Opener[T],
        *,
        precisions: Sequence[str] = ("int8",),
        pool: ModelPool | None = None,
    ) -> None:
        """``precisions``: the first of these that a version was built in and that opens."""
        self.task, self.name, self.tenant = task, name, tenant
        self._store = store
        self._opener = opener
        self._precisions = tuple(precisions)
        self._pool = ModelPool(store) if pool is None else pool
        self._pointers = store.pointer_files(task, name, tenant)
        self._lock = threading.Lock()
        self._first = threading.Lock()
        self._entry: _Open[T] | None = None
        self._seen: tuple[object, ...] = ()
        self._problem: Exception | None = None
        self._retry_at = 0.0
        self._thread: threading.Thread | None = None
        self._requests = 0
        self._closed = False

    @contextmanager
    def use(self) -> Iterator[tuple[Version, T]]:
        """Yield the version and its open model, which stays open for the body whatever happens.

        The first use opens it and raises what keeps it from opening: NotFoundError, ModelError.
        Raises BusyError after ``close``.
        """
        entry = self._take()
        try:
            yield entry.version, entry.usable()
        finally:
            with self._lock:
                self._requests -= 1
            self._pool.release(entry)

    def status(self) -> Status:
        """Return what is in use now and what is wrong; notices a moved pointer as ``use`` does."""
        if self._entry is not None:
            self._watch()
        with self._lock:
            entry, problem = self._entry, self._problem
            return Status(
                self.task,
                self.name,
                self.tenant,
                entry.version if entry else None,
                self._requests,
                str(problem) if problem else "",
            )

    def close(self) -> None:
        """Let go of the model; requests under way finish with it. Safe to call twice."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._lock:
            entry, self._entry = self._entry, None
        if entry is not None:
            self._pool.release(entry)

    def _take(self) -> _Open[T]:
        if self._entry is None:
            self._open_first()
        self._watch()
        with self._lock:
            if self._closed or self._entry is None:
                raise BusyError("The service is shutting down; try again in a moment.")
            self._requests += 1
            return self._pool.hold(self._entry)

    def _open_first(self) -> None:
        with self._first:
            if self._entry is not None or self._closed:
                return
            signature = self._signature()
            failed = self._problem
            if failed and signature == self._seen and time.monotonic() < self._retry_at:
                raise failed
            self._follow(signature)
            if self._entry is None and self._problem is not None:
                raise self._problem

    def _watch(self) -> None:
        """Have a moved pointer followed in the background; costs a stat or two."""
        due = self._problem is not None and time.monotonic() >= self._retry_at
        if self._signature() == self._seen and not due:
            return
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._thread = threading.Thread(
                target=self._follow_on, name=f"swap-{self.task}-{self.name}", daemon=True
            )
            self._thread.start()

    def _follow_on(self) -> None:
        try:
            while not self._closed:
                signature = self._signature()
                self._follow(signature)
                if self._signature() == signature:
                    break
        finally:
            with self._lock:
                self._thread = None

    def _follow(self, signature: tuple[object, ...]) -> None:
        """Bring the model in use to the current version, or note why not."""
        problem: Exception | None = None
        try:
            version = self._store.current(self.task, self.name, self.tenant)
            if self._entry is None or self._entry.version != version:
                self._swap(self._open(version))
        except Exception as error:
            problem = error
            kept = self._entry.version.ref if self._entry else "nothing"
            expected = isinstance(error, AssistantError | OSError)
            _log.warning(
                "%s/%s for %s: %s goes on serving, since: %s",
                *(self.task, self.name, self.tenant, kept, error),
                exc_info=not expected,
            )
        with self._lock:
            self._problem = problem
            self._seen = signature
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _swap(self, new: _Open[T]) -> None:
        with self._lock:
            old, self._entry, self._problem = self._entry, new, None
        level = logging.DEBUG if old is None else logging.INFO
        _log.log(level, "%s serves tenant %s from now on", new.version.ref, self.tenant)
        if old is not None:
            self._pool.release(old)

    def _open(self, version: Version) -> _Open[T]:
        """Open the first precision that is built and works here; raise the last one's error."""
        built = [p for p in self._precisions if p in version.precisions]
        for precision in built[:-1]:
            try:
                return self._pool.acquire(version, precision, self._opener)
            except ModelError as error:
                _log.warning("%s in %s cannot be opened: %s", version.ref, precision, error)
        last = built[-1] if built else self._precisions[-1]
        return self._pool.acquire(version, last, self._opener)

    def _signature(self) -> tuple[object, ...]:
        """What changes whenever a pointer is replaced: each replacement is another file."""
        return tuple(map(_stat, self._pointers))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class LiveModels:
    """Every model a service has in use, made when first asked for. Thread-safe."""

    def __init__(self, store: ModelStore) -> None:
        self.store = store
        self._pool = ModelPool(store)
        self._lock = threading.Lock()
        self._served: dict[tuple[str, str, str], Served[Any]] = {}
        self._closed = False

    def served(
        self,
        task: str,
        name: str,
        tenant: str,
        opener: Opener[T],
        precisions: Sequence[str] = ("int8",),
    ) -> Served[T]:
        """Return the model of this name for this tenant.

        Raises NotFoundError when no version is in use: names asked for in vain are not kept.
        """
        key = (task, name, tenant)
        found = self._served.get(key)
        if found is not None:
            return found
        self.store.current(task, name, tenant)
        with self._lock:
            if self._closed:
                raise BusyError("The service is shutting down; try again in a moment.")
            if key not in self._served:
                self._served[key] = Served(
                    self.store, task, name, tenant, opener, precisions=precisions, pool=self._pool
                )
            return self._served[key]

    def statuses(self, tenant: str | None = None) -> list[Status]:
        """Return the state of every model in use, or of those serving a tenant."""
        with self._lock:
            served = [s for s in self._served.values() if tenant in (None, s.tenant)]
        return [one.status() for one in served]

    def close(self) -> None:
        """Close every model; requests under way finish first. Safe to call twice."""
        with self._lock:
            self._closed = True
            served = list(self._served.values())
        for one in served:
            one.close()
