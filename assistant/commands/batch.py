"""``assistant batch``: a table of questions in, a table of answers out."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assistant import __version__
from assistant.commands.common import (
    EXIT_INTERRUPTED,
    EXIT_ITEMS_FAILED,
    collection_option,
    data_dir_option,
    json_option,
    load_settings,
    make_scope,
    note,
    open_runtime,
    print_json,
    print_line,
    print_table,
    progress_bar,
    tag_option,
)

if TYPE_CHECKING:
    from assistant.batch import BatchReport
    from assistant.resumable import Progress
    from assistant.runtime import Runtime
    from assistant.types import Scope

_SHOWN = 20


@click.command(name="batch")
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option(
    "--output", required=True, metavar="OUT", type=click.Path(path_type=Path), help=".csv or .jsonl"
)
@collection_option
@tag_option
@click.option("--field", default="question", show_default=True, help="Column of the questions.")
@click.option("--encoding", help="Of the input; found by itself when left out.")
@click.option("--excel", is_flag=True, help="Start a CSV with the mark Excel needs for Chinese.")
@click.option("--restart", is_flag=True, help="Drop what an interrupted run has answered.")
@json_option
@data_dir_option
def command(
    *,
    source: Path,
    output: Path,
    collection: str,
    tags: tuple[str, ...],
    field: str,
    encoding: str | None,
    excel: bool,
    restart: bool,
    as_json: bool,
) -> int:
    """Answer every row of IN (.csv or .jsonl: a field "question", if you like an "id") into OUT.

    The order is kept. OUT appears when everything is answered; run an interrupted command again and
    it goes on where it stopped. Rows that cannot be asked stay in, with the reason in the field
    "error" (exit code 3).
    """
    from assistant.batch import BatchRequest, run_batch
    from assistant.resumable import check_paths

    settings = load_settings()
    request = BatchRequest(
        source=source,
        output=output,
        scope=make_scope(collection, tags),
        question_field=field,
        encoding=encoding,
        excel=excel,
        restart=restart,
        max_question_chars=settings.max_question_chars,
    )
    check_paths(source, output)
    with open_runtime(settings) as runtime, progress_bar() as bar:
        request = replace(request, knowledge=_knowledge(runtime, request.scope))
        task = bar.add_task("Answering", total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        try:
            report = run_batch(runtime, request, show)
        except KeyboardInterrupt:
            note("Interrupted; run the same command again to go on where it stopped.")
            return EXIT_INTERRUPTED
    _print_report(report, as_json)
    return EXIT_ITEMS_FAILED if report.failed else 0


def _knowledge(runtime: Runtime, scope: Scope) -> str:
    """Name everything an answer depends on beside the question.

    Raises ``NotFoundError`` when there is no such collection.
    """
    collection = runtime.storage.catalog.require(scope)
    settings = runtime.settings
    rates = f"{settings.error_rate}/{settings.clarify_error_rate}/{settings.handoff_contact}"
    state = f"{collection.uid}@{collection.version}"
    return f"{__version__} {state} {runtime.encoder.fingerprint} {rates}"


def _print_report(report: BatchReport, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return
    rate = (report.rows - report.resumed_at) / max(report.seconds, 1e-9)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items()))
    print_line(
        f"{report.output}: {report.answered} answered ({kinds or 'none'}), {report.failed} failed "
        f"of {report.rows} rows in {report.seconds:.1f} s ({rate:.0f} rows/s)"
    )
    if report.resumed_at:
        print_line(f"{report.resumed_at} rows were answered by an earlier run.")
    if report.failures:
        print_table(
            ("row", "line", "id", "reason"),
            [(f.row, f.line, f.id, f.reason) for f in report.failures[:_SHOWN]],
        )
    if report.failed > _SHOWN:
        print_line(f"and {report.failed - _SHOWN} more; see the column error.")
