"""Trained versions as values: where one is, what its passport says, and whether it is whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assistant.errors import ModelError
from assistant.models import checking
from assistant.models.journal import read_events, read_pointer, replayed
from assistant.models.names import ModelRef, version_number
from assistant.models.passport import PASSPORT_FILE, Passport, passport_from_json


@dataclass(frozen=True, slots=True)
class Model:
    """A name under which there are versions."""

    tenant: str
    task: str
    name: str
    folder: Path

    def __str__(self) -> str:
        return f"{self.task}/{self.name}"


@dataclass(frozen=True, slots=True)
class Version:
    """One trained version. Its files never change, so two equal values are the same model."""

    tenant: str
    task: str
    name: str
    number: int
    folder: Path

    @property
    def ref(self) -> str:
        """``TASK/NAME@vN``."""
        return str(ModelRef(self.task, self.name, self.number))

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions it was built in."""
        return tuple(p for p in checking.PRECISIONS if (self.folder / p).is_dir())

    def part(self, precision: str) -> Path:
        """Return the folder of a precision. Raises ModelError when it was not built."""
        folder = self.folder / precision
        if not folder.is_dir():
            raise ModelError(
                f"{self.ref} has no {precision} model (it has {', '.join(self.precisions)}): "
                "export it again with this precision in the recipe's [export]."
            )
        return folder

    def passport(self) -> Passport:
        """Return its passport. Raises ModelError when that is damaged."""
        path = self.folder / PASSPORT_FILE
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} cannot be read ({error}): the version is damaged; promote another."
            ) from error
        return passport_from_json(text, str(path))

    @property
    def shipped(self) -> bool:
        """Whether it came with the product, this release of it or an earlier one."""
        try:
            return self.passport().shipped
        except ModelError:  # damaged: whoever opens it will say so
            return False

    def seal(self) -> checking.Seal:
        """Return when it was added, its files and sizes. Raises ModelError when damaged."""
        return checking.read_seal(self.folder)


@dataclass(frozen=True, slots=True)
class Problem:
    """Damage found by ``verify``: of which model or version, and what it is."""

    tenant: str
    ref: str
    message: str


def version_of(folder: Path, tenant: str, task: str, name: str, number: int) -> Version:
    """Return the value for a version in its model's folder."""
    return Version(tenant, task, name, number, folder / f"v{number}")


def numbers_in(folder: Path) -> list[int]:
    """Return the numbers of the versions in a model's folder, ascending."""
    try:
        found = [version_number(path.name) for path in folder.iterdir() if path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(number for number in found if number is not None)


def model_problems(model: Model) -> Iterator[Problem]:
    """Yield all damage to a model: to its versions, its pointer and its history."""
    for number in numbers_in(model.folder):
        version = version_of(model.folder, model.tenant, model.task, model.name, number)
        for message in _version_problems(version):
            yield Problem(model.tenant, version.ref, message)
    for message in _pointer_problems(model):
        yield Problem(model.tenant, str(model), message)


def _pointer_problems(model: Model) -> Iterator[str]:
    try:
        pointer, events = read_pointer(model.folder), read_events(model.folder)
    except ModelError as error:
        yield str(error)
        return
    if pointer.version is not None and pointer.version not in numbers_in(model.folder):
        yield f"the current version v{pointer.version} is not there; promote another"
    if pointer != replayed(events):
        yield (
            f"the pointer says {_named(pointer.version)}, the history leads to "
            f"{_named(replayed(events).version)}: a change was cut short or a file was edited; "
            "promote the version to serve"
        )


def _version_problems(version: Version) -> Iterator[str]:
    changed = list(checking.sealed_problems(version.folder))
    yield from changed
    if changed:
        return
    try:
        version.passport()
    except ModelError as error:
        yield str(error)
    yield from checking.contents_problems(version.folder, version.task, version.seal().files)


def _named(number: int | None) -> str:
    return "none" if number is None else f"v{number}"
