"""What every command shares: settings, the runtime, output, progress and exit codes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from assistant.errors import InvalidInputError

if TYPE_CHECKING:
    from rich.progress import Progress

    from assistant.runtime import Runtime
    from assistant.settings import Settings
    from assistant.types import Scope

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_WRONG_USE = 2
EXIT_ITEMS_FAILED = 3
EXIT_INTERRUPTED = 130
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


# --- options ---------------------------------------------------------------------------------


def _keep_data_dir(context: click.Context, _option: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.find_root().ensure_object(dict)["data_dir"] = value


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    callback=_keep_data_dir,
    expose_value=False,
    is_eager=True,
    help="Database and indexes (default: ASSISTANT_DATA_DIR, else your user data folder).",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on stdout and nothing else."
)
collection_option = click.option(
    "--collection", default="default", show_default=True, metavar="NAME", help="The collection."
)
tag_option = click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="Only what carries this tag; may be given again.",
)


def make_scope(collection: str, tags: Sequence[str] = ()) -> Scope:
    """Return what the command line may see: every tenant's default, one collection, these tags."""
    from assistant.types import DEFAULT_TENANT, Scope

    return Scope(DEFAULT_TENANT, collection, frozenset(tags))


# --- settings and runtime --------------------------------------------------------------------


def load_settings(**changes: object) -> Settings:
    """Read the settings: options first, then ``ASSISTANT_*``. Raises ``InvalidInputError``."""
    from pydantic import ValidationError

    from assistant.settings import Settings

    chosen = {name: value for name, value in changes.items() if value is not None}
    root = click.get_current_context().find_root().ensure_object(dict)
    try:
        return Settings(**{**root, **chosen})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"Setting {name} (ASSISTANT_{name.upper()}) is {first['input']!r}: {first['msg']}."
        ) from None


@contextmanager
def open_runtime(settings: Settings | None = None) -> Iterator[Runtime]:
    """Open the service in this process, and close it in every case."""
    from assistant.runtime import Runtime

    runtime = Runtime.open(settings or load_settings())
    try:
        yield runtime
    finally:
        runtime.close()


# --- output ----------------------------------------------------------------------------------


def printable(text: str) -> str:
    """Return ``text`` without control and direction characters, which could rewrite a terminal."""
    return _UNPRINTABLE.sub("\ufffd", text)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write the one JSON document of a command to stdout."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = json.dumps(value, ensure_ascii=encoding != "utf8", indent=2, default=str)
    sys.stdout.write(re.sub("[\ud800-\udfff]", "\ufffd", text) + "\n")


def print_line(text: str = "") -> None:
    """Write a line of a result for people to stdout."""
    click.echo(printable(text).replace("\r", ""))


def note(text: str) -> None:
    """Write a line about the run (not a result) to stderr."""
    click.echo(printable(text), err=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: drawn on a terminal, tab-separated lines elsewhere (easy to cut and grep)."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [list(columns), *cells]:
            click.echo("\t".join(cell.replace("\t", " ") for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for line in cells:
        table.add_row(*(Text(cell) for cell in line))
    Console().print(table)


@contextmanager
def progress_bar(*, rate: bool = False) -> Iterator[Progress]:
    """Yield a rich progress display on stderr; it shows nothing where stderr is no terminal.

    ``rate`` adds items a second.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s")

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *([Rate()] if rate else []),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        speed_estimate_period=120,
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as progress:
        yield progress
