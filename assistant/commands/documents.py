"""``assistant documents``: list, delete."""

from __future__ import annotations

from dataclasses import asdict

import click

from assistant.commands.common import (
    EXIT_ITEMS_FAILED,
    collection_option,
    data_dir_option,
    json_option,
    make_scope,
    open_runtime,
    print_json,
    print_line,
    print_table,
)
from assistant.errors import NotFoundError


@click.group(name="documents")
@data_dir_option
def command() -> None:
    """List and delete documents."""


@command.command(name="list")
@collection_option
@json_option
@data_dir_option
def list_documents(collection: str, as_json: bool) -> None:
    """List the documents of a collection."""
    with open_runtime() as runtime:
        found = runtime.documents(make_scope(collection))
    if as_json:
        print_json([asdict(info) for info in found])
        return
    print_table(
        ("id", "source", "title", "language", "chunks", "faq entries"),
        [(i.document_id, i.source, i.title, i.language, i.chunks, i.faq_entries) for i in found],
    )


@command.command()
@click.argument("document_ids", nargs=-1, required=True, metavar="ID...")
@collection_option
@json_option
@data_dir_option
def delete(document_ids: tuple[str, ...], collection: str, as_json: bool) -> int:
    """Delete documents by id; they are gone from every answer at once."""
    deleted: list[str] = []
    failed: list[dict[str, str]] = []
    with open_runtime() as runtime:
        for document_id in document_ids:
            try:
                runtime.delete_document(make_scope(collection), document_id)
                deleted.append(document_id)
            except NotFoundError as error:
                failed.append({"document_id": document_id, "reason": str(error)})
    if as_json:
        print_json({"deleted": deleted, "failed": failed})
    else:
        print_line(f"Deleted {len(deleted)} of {len(document_ids)} documents.")
        if failed:
            print_table(("not deleted", "reason"), [[*entry.values()] for entry in failed])
    return EXIT_ITEMS_FAILED if failed else 0
