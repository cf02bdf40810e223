"""What ``classify`` and ``entities`` share: a table of texts through a model, with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import (
    EXIT_INTERRUPTED,
    EXIT_ITEMS_FAILED,
    data_dir_option,
    json_option,
    note,
    print_json,
    print_line,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from assistant.resumable import Progress
    from assistant.streaming import StreamReport, TextTable, Values

_SHOWN = 20

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.argument("source", metavar="IN", type=click.Path(path_type=Path)),
    click.option(
        "--output",
        required=True,
        metavar="OUT",
        type=click.Path(path_type=Path),
        help=".csv or .jsonl",
    ),
    click.option(
        "--model",
        metavar="NAME",
        help="NAME or NAME@vN of the registry, or the folder of a model; default: the one in use.",
    ),
    click.option("--tenant", default="shared", show_default=True, help="Whose models."),
    click.option("--column", default="text", show_default=True, help="Column of the texts."),
    click.option("--encoding", help="Of the input; found by itself when left out."),
    click.option("--excel", is_flag=True, help="Start a CSV with the mark Excel needs."),
    click.option("--restart", is_flag=True, help="Drop what an interrupted run has done."),
    json_option,
    data_dir_option,
)


def text_table_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a table of texts."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def run_table(
    table: TextTable,
    work: Callable[[Sequence[str]], Sequence[Values]],
    labels: Callable[[Values], Iterable[str]],
    *,
    doing: str,
    ref: str,
    as_json: bool,
) -> int:
    """Run the table through ``work`` with a progress bar, print the report, return the exit code.

    ``ref`` names the model for people.
    """
    from assistant.streaming import stream_table

    with progress_bar(rate=True) as bar:
        task = bar.add_task(doing, total=None)
        started = False

        def show(progress: Progress) -> None:
            nonlocal started
            if not started:  # rows of an earlier run must not count for the rate
                started = True
                bar.reset(task, completed=progress.done, total=progress.total)
            bar.update(task, completed=progress.done, total=progress.total)

        try:
            report = stream_table(table, work, labels, show)
        except KeyboardInterrupt:
            note("Interrupted; run the same command again to go on where it stopped.")
            return EXIT_INTERRUPTED
    for old, new in report.renamed.items():
        note(f"The input's column {old!r} is kept as {new!r}.")
    _print_report(report, ref, as_json)
    return EXIT_ITEMS_FAILED if report.failed else 0


def _print_report(report: StreamReport, ref: str, as_json: bool) -> None:
    if as_json:
        print_json({"model": ref, **report.as_json()})
        return
    rate = (report.rows - report.resumed_at) / max(report.seconds, 1e-9)
    print_line(
        f"{report.output}: {report.done:,} of {report.rows:,} rows by {ref}, {report.failed:,} "
        f"failed, in {report.seconds:.1f} s ({rate:,.0f} rows/s)"
    )
    if report.resumed_at:
        print_line(f"{report.resumed_at:,} rows were done by an earlier run.")
    counts = sorted(report.counts.items(), key=lambda item: (-item[1], item[0]))
    if counts:
        print_table(("label", "count"), counts[:_SHOWN])
    if len(counts) > _SHOWN:
        print_line(f"and {len(counts) - _SHOWN:,} more labels.")
    if report.failures:
        print_table(
            ("row", "line", "reason"),
            [(f.row, f.line, f.reason) for f in report.failures[:_SHOWN]],
        )
    if report.failed > _SHOWN:
        print_line(f"and {report.failed - _SHOWN:,} more; see the column error.")
