"""What the evaluations of models share: options, the model's name, running it, the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from assistant.commands.common import (
    EXIT_ITEMS_FAILED,
    note,
    print_json,
    print_line,
    print_table,
    progress_bar,
)
from assistant.errors import InvalidInputError

if TYPE_CHECKING:
    from assistant.settings import Settings

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 512
_SHOWN = 5

model_option = click.option(
    "--model",
    "name",
    metavar="NAME",
    help="The model: NAME, NAME@vN, or the folder of a built model.  [default: the one in use]",
)
tenant_option = click.option(
    "--tenant",
    default="shared",
    show_default=True,
    help="Whose model; the shared one serves every tenant that has none of its own.",
)
skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Leave faulty rows out and name them (exit code 3)."
)
errors_option = click.option(
    "--errors",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows that came out wrong to this .csv or .jsonl.",
)
map_option = click.option(
    "--map",
    "renamed",
    multiple=True,
    metavar="DATA=MODEL",
    help="A label of the data and what the model calls it; may be given again.",
)


def data_option(shape: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return ``--data``; ``shape`` says in the help what the file must hold."""
    return click.option(
        "--data",
        required=True,
        metavar="DIR",
        type=click.Path(exists=True, path_type=Path),
        help=f"A file, or a folder with test.* (else valid.* or dev.*): {shape}",
    )


def renaming(pairs: Sequence[str]) -> dict[str, str]:
    """Return what ``--map`` says. Raises InvalidInputError for an entry without a label each."""
    found = {}
    for pair in pairs:
        data, equals, model = pair.partition("=")
        if not (data and equals and model):
            raise InvalidInputError(
                f"--map {pair!r} renames nothing; write DATA=MODEL, as in PER=person."
            )
        found[data] = model
    return found


# --- which model -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model to open: ``name`` and ``tenant`` for the opener, ``label`` for the result.

    The label is ``TASK/NAME@vN``; of a model in a folder it is not known before it is open.
    """

    name: str | None
    tenant: str
    label: str | None


def choose(settings: Settings, task: str, name: str | None, tenant: str) -> Chosen:
    """Pin down the version to measure, so that the one named is the one measured.

    Raises NotFoundError when no model of the task is in use.
    """
    from assistant.models.choosing import serving_version
    from assistant.models.shipped import ensure
    from assistant.models.store import ModelStore

    if name is not None and len(Path(name).parts) > 1:
        return Chosen(name, tenant, None)
    if name is not None and "@" in name:
        return Chosen(name, tenant, f"{task}/{name}")
    ensure(settings, task, name)
    version = serving_version(ModelStore.of(settings), task, name, tenant)
    if version.task != task:
        # A multi-task model; its opener finds it by the task of its head.
        return Chosen(name, tenant, version.ref)
    return Chosen(f"{version.name}@v{version.number}", version.tenant, version.ref)


def label_of(chosen: Chosen, model_name: str, fingerprint: str) -> str:
    """Return the model's name for the result; that of a folder carries its fingerprint."""
    return chosen.label or f"{model_name}@{fingerprint[:12]}"


# --- running -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a model took: ``seconds`` of wall time for ``rows`` rows."""

    rows: int
    seconds: float

    def to_json(self) -> dict[str, float | int]:
        """Return rows, seconds and rows a second."""
        rate = self.rows / max(self.seconds, 1e-9)
        return {
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(rate, 1),
        }


def run_batches(
    label: str, items: Sequence[Item], run: Callable[[Sequence[Item]], Iterable[Result]]
) -> tuple[list[Result], Timing]:
    """Give ``items`` to a model in batches, with a progress bar; time only the model.

    The first batch is run once before, untimed, so that what a model does once is not counted.
    """
    found: list[Result] = []
    run(items[:1])
    started = time.perf_counter()
    with progress_bar() as bar:
        task = bar.add_task(label, total=len(items))
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            found.extend(run(batch))
            bar.advance(task, len(batch))
    return found, Timing(len(items), time.perf_counter() - started)


# --- results -----------------------------------------------------------------------------------


def finish(result: Mapping[str, Any], left_out: Sequence[str], as_json: bool) -> int:
    """Print a result and return the exit code: 3 when rows of the data were left out."""
    for warning in result.get("warnings", ()):
        note(f"Note: {warning}")
    for fault in left_out[:_SHOWN]:
        note(f"Left out: {fault}")
    if len(left_out) > _SHOWN:
        note(f"and {len(left_out) - _SHOWN:,} more rows left out.")
    if as_json:
        print_json({**result, "left_out": list(left_out)})
    else:
        _print_readably(result)
    return EXIT_ITEMS_FAILED if left_out else 0


def _print_readably(result: Mapping[str, Any]) -> None:
    print_line(f"{result['model']} on {result['data']}")
    print_line(
        f"{result['rows']:,} rows in {result['seconds']:.1f} s "
        f"({result['rows_per_second']:,.0f} rows/s)"
    )
    rows = [
        (name, _figure(one["value"]), f"{_figure(one['low'])} to {_figure(one['high'])}", one["n"])
        for name, one in result["metrics"].items()
    ]
    print_table(("metric", "value", "95 % interval", "n"), rows)
    for key in ("labels", "types"):
        if result.get(key):
            print_line()
            columns = ("label", "precision", "recall", "f1", "support", "predicted")
            print_table(columns, [[_figure(row[c]) for c in columns] for row in result[key]])
    if result.get("confusions"):
        print_line()
        print_table(
            ("expected", "predicted", "rows"),
            [(c["expected"], c["predicted"], c["count"]) for c in result["confusions"]],
        )


def _figure(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def check_lengths(file: Path, texts: Iterable[tuple[str, str]], limit: int) -> None:
    """Raise InvalidInputError for a text that the model would refuse, naming its place."""
    for place, text in texts:
        if len(text) > limit:
            raise InvalidInputError(
                f"{file.name}, {place}: a text of {len(text):,} characters; the limit is "
                f"{limit:,}. Split it."
            )


def warn_empty(count: int, what: str) -> list[str]:
    """Return the warning that texts are empty, if any are."""
    return [f"{count:,} {what} without any text; scored as they are."] if count else []


# --- wrong rows --------------------------------------------------------------------------------


def check_errors_file(errors: Path | None, data: Path) -> None:
    """Raise InvalidInputError when ``--errors`` is no table or would overwrite the data."""
    from assistant.tables import table_kind

    if errors is None:
        return
    table_kind(errors)
    if errors.exists() and errors.resolve() == data.resolve():
        raise InvalidInputError(f"--errors {errors} is the data itself; name another file.")


def write_errors(errors: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the wrong rows, all with the same fields, as the file's ending says."""
    from assistant.tables import csv_line, json_line, table_kind

    if errors is None:
        return
    if table_kind(errors) == "jsonl":
        text = "".join(json_line(row) for row in rows)
    else:
        header = csv_line(list(rows[0])) if rows else ""
        text = header + "".join(csv_line([_cell(v) for v in row.values()]) for row in rows)
    # Excel takes a CSV without a byte-order mark for the local encoding.
    encoding = "utf-8" if errors.suffix.lower() == ".jsonl" else "utf-8-sig"
    try:
        errors.write_text(text, encoding=encoding)
    except OSError as error:
        raise InvalidInputError(f"--errors {errors}: {error.strerror}.") from None
    note(f"{len(rows):,} wrong rows written to {errors}")


def _cell(value: Any) -> str | float | int | None:
    if value is None or isinstance(value, str | float | int):
        return value
    return json.dumps(value, ensure_ascii=False)
