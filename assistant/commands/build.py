"""``assistant build``: the models and the example bank. What is there already is left alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from assistant.commands.common import (
    EXIT_ITEMS_FAILED,
    data_dir_option,
    json_option,
    load_settings,
    make_scope,
    note,
    open_runtime,
    print_json,
    print_line,
)
from assistant.commands.ingest import document_bar, ingest_with_progress, print_report
from assistant.errors import BusyError

if TYPE_CHECKING:
    from assistant.runtime import Runtime
    from assistant.settings import Settings
    from assistant.types import IngestReport

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "bank"
EXAMPLE_COLLECTION = "bank"


@click.command(name="build")
@click.option("--no-examples", is_flag=True, help="Leave the example bank out.")
@click.option(
    "--source",
    metavar="WEIGHTS",
    help="Weights from a folder with safetensors or a Hugging Face id.  [default: pinned package]",
)
@json_option
@data_dir_option
def command(no_examples: bool, source: str | None, as_json: bool) -> int:
    """Make the models, and load the example bank into the collection "bank".

    Documents that another model has encoded are encoded anew. Safe to run again: finished parts are
    recognised by their content and left alone.
    """
    settings = load_settings()
    manifest = _build_models(settings, source)
    with open_runtime(settings) as runtime:
        reports = _encode_anew(runtime)
        if not no_examples:
            reports += _load_examples(runtime)
    failed = [result for report in reports for result in report.failed]
    if as_json:
        print_json({"model": manifest, "collections": [asdict(report) for report in reports]})
    else:
        print_line(f"Model: {manifest['name']} ({manifest['precision']}), ready.")
        for report in reports:
            print_report(report)
    return EXIT_ITEMS_FAILED if failed else 0


def _build_models(settings: Settings, source: str | None) -> dict[str, Any]:
    from assistant.models.build import build_encoder
    from assistant.models.encoders import encoder_place
    from assistant.models.names import REGISTRY_PREFIX
    from assistant.models.shipped import install, shipped_models

    if install(settings, shipped_models(), note):
        note("the models that come with the product are in the registry: assistant models list")
    if settings.encoder.startswith(REGISTRY_PREFIX):  # made by training: there is nothing to build
        return asdict(encoder_place(settings).opened("int8")[1])
    return asdict(build_encoder(settings, note, source=source))


def _encode_anew(runtime: Runtime) -> list[IngestReport]:
    """Bring every collection to the model in force; reports only those where there was work."""
    with document_bar() as show:
        try:
            reports = runtime.apply_encoder(show)
        except BusyError as error:
            note(str(error))
            reports = []
        if not runtime.storage.catalog.all_collections():
            return []
        return reports + runtime.ingestor.reindex_all(show)


def _load_examples(runtime: Runtime) -> list[IngestReport]:
    """Load documents and FAQ; files that have not changed are left alone."""
    if not EXAMPLES.is_dir():
        note("The example bank comes with the source code only; this installation has none.")
        return []
    scope = make_scope(EXAMPLE_COLLECTION)
    faq = tuple(sorted(EXAMPLES.glob("faq_*.csv")))
    return [
        ingest_with_progress(runtime, (EXAMPLES / "documents",), scope, faq=False),
        ingest_with_progress(runtime, faq, scope, faq=True),
    ]
