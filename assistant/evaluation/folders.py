"""Which file of an evaluation folder to measure on, and how its faults are told."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from assistant.errors import InvalidInputError

_SPLITS = (("test",), ("valid", "validation", "val", "dev"))
_NO_DATA = re.compile(r"(readme|licen[cs]e|notice|copying|changelog)\b", re.I)
_SHOWN = 5


def choose_file(
    path: Path, suffixes: Sequence[str], accept: Callable[[Path], bool] = lambda _path: True
) -> Path:
    """Return the file to measure on: ``path`` itself, or the one its folder means.

    Of a folder: ``test.*`` when there is one, else ``valid.*`` or ``dev.*`` (also as a part of the
    name, as in ``squad_dev.json``), else the only data file. ``suffixes`` are lower case, with
    their dot; ``accept`` may rule out further files. Raises InvalidInputError when there is none,
    or several and nothing says which.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InvalidInputError(f"{path}: no such file or folder.")
    files = sorted(
        file
        for file in path.iterdir()
        if file.is_file()
        and file.suffix.lower() in suffixes
        and not file.name.startswith(".")
        and not _NO_DATA.match(file.name)
        and accept(file)
    )
    if not files:
        raise InvalidInputError(f"{path}: no data file; one of {', '.join(suffixes)} is needed.")
    for names in _SPLITS:
        found = [file for file in files if file.stem.lower() in names] or [
            file for file in files if set(_parts(file)) & set(names)
        ]
        if found:
            return _only(path, found)
    return _only(path, files)


def _parts(file: Path) -> list[str]:
    return re.split(r"[^a-z0-9]+", file.stem.lower())


def _only(folder: Path, files: Sequence[Path]) -> Path:
    if len(files) == 1:
        return files[0]
    shown = ", ".join(file.name for file in files[:_SHOWN])
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    raise InvalidInputError(
        f"{folder}: {len(files)} files could be meant ({shown}{more}); give one of them as the "
        "data, or name one test.*."
    )


class Faults:
    """Rows of a file that cannot be used: collected, then told together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: list[str] = []

    def add(self, place: int | str, fault: str) -> None:
        """Note what is wrong with the row at a line (or another place) and how to mend it."""
        where = f"line {place}" if isinstance(place, int) else place
        self._found.append(f"{self._path.name}, {where}: {fault.rstrip('.')}.")

    def settle(self, skip: bool = False) -> tuple[str, ...]:
        """Return the faults if they are to be skipped.

        Else raise InvalidInputError that names the first ones, when there are any.
        """
        if self._found and not skip:
            more = len(self._found) - _SHOWN
            tail = f"\nand {more:,} more faulty rows." if more > 0 else ""
            raise InvalidInputError("\n".join(self._found[:_SHOWN]) + tail)
        return tuple(self._found)


def shown(value: object, limit: int = 60) -> str:
    """Return a value for a message, cut short."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
