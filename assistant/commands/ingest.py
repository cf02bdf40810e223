"""``assistant ingest``: files and folders into a collection."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assistant.commands.common import (
    EXIT_ITEMS_FAILED,
    collection_option,
    data_dir_option,
    json_option,
    make_scope,
    note,
    open_runtime,
    print_json,
    print_line,
    print_table,
    progress_bar,
)

if TYPE_CHECKING:
    from assistant.runtime import Runtime
    from assistant.types import IngestProgress, IngestReport, Scope

_TELL_SECONDS = 30.0


@click.command(name="ingest")
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
@collection_option
@click.option("--faq", is_flag=True, help="The files are tables of question, answer.")
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Mark what is loaded; repeatable."
)
@json_option
@data_dir_option
def command(
    paths: tuple[Path, ...], collection: str, faq: bool, tags: tuple[str, ...], as_json: bool
) -> int:
    """Load files and folders: md txt html pdf docx pptx xlsx csv jsonl eml.

    A file already there is replaced when it has changed. A file that cannot be read is named with
    its reason and the rest goes in (exit code 3).
    """
    with open_runtime() as runtime:
        report = ingest_with_progress(runtime, paths, make_scope(collection, tags), faq=faq)
    if as_json:
        print_json({**asdict(report), "failed": [asdict(result) for result in report.failed]})
    else:
        print_report(report)
    return EXIT_ITEMS_FAILED if report.failed else 0


def ingest_with_progress(
    runtime: Runtime, paths: tuple[Path, ...], scope: Scope, *, faq: bool
) -> IngestReport:
    """Ingest, showing a bar on a terminal."""
    with document_bar() as show:
        return runtime.ingest(paths, scope, faq=faq, progress=show)


def encode_anew(runtime: Runtime, *, promoted: bool = True) -> list[IngestReport]:
    """Have all documents encoded by the encoder in force, saying how far it is.

    ``promoted``: by the one promoted, which is in force afterwards.
    """
    last = time.monotonic()
    with document_bar() as show:

        def tell(progress: IngestProgress) -> None:
            nonlocal last
            show(progress)
            # Where there is no terminal, a log should still show that it goes on.
            if time.monotonic() - last > _TELL_SECONDS:
                last = time.monotonic()
                note(f"Encoding stored documents anew: {progress.done} of {progress.total}.")

        reports = runtime.apply_encoder(tell) if promoted else []
        reports += runtime.encode_stale(tell)
    for report in reports:
        note(f"{report.collection}: {len(report.files)} documents encoded with the new encoder.")
        for failed in report.failed:
            note(f"{failed.source}: {failed.reason}")
    return reports


@contextmanager
def document_bar() -> Iterator[Callable[[IngestProgress], None]]:
    """Yield a function that shows how far the documents are, on a terminal."""
    with progress_bar() as bar:
        task = bar.add_task("Loading", total=None)

        def show(progress: IngestProgress) -> None:
            source = progress.latest.source if progress.latest else progress.current
            share = progress.chunks_done / max(progress.chunks_total, 1)
            part = "" if progress.latest else f" {share:.0%}"
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                description=f"{Path(source).name[:40]}{part}",
            )

        yield show


def print_report(report: IngestReport) -> None:
    """Print what went in, what was warned about, and a table of what failed."""
    counts = Counter(result.status for result in report.files)
    chunks = sum(result.chunks for result in report.files)
    entries = sum(result.faq_entries for result in report.files)
    summary = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    print_line(
        f"{report.collection}: {summary or 'no files'}; "
        f"{chunks} chunks, {entries} FAQ entries in {report.seconds:.1f} s"
    )
    for result in report.files:
        for warning in result.warnings:
            note(f"{result.source}: {warning}")
    if report.failed:
        print_table(
            ("failed", "reason"), [(result.source, result.reason) for result in report.failed]
        )
