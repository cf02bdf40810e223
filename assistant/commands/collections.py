"""``assistant collections``: list, stats, delete."""

from __future__ import annotations

from dataclasses import asdict

import click

from assistant.commands.common import (
    data_dir_option,
    json_option,
    make_scope,
    open_runtime,
    print_json,
    print_line,
    print_table,
)


@click.group(name="collections")
@data_dir_option
def command() -> None:
    """List, inspect and delete collections."""


@command.command(name="list")
@json_option
@data_dir_option
def list_collections(as_json: bool) -> None:
    """List the collections with what they hold."""
    from assistant.types import DEFAULT_TENANT

    with open_runtime() as runtime:
        found = runtime.collections(DEFAULT_TENANT)
    if as_json:
        print_json([asdict(info) for info in found])
        return
    print_table(
        ("collection", "documents", "chunks", "faq entries", "created"),
        [(i.name, i.documents, i.chunks, i.faq_entries, i.created_at) for i in found],
    )


@command.command()
@click.argument("name")
@json_option
@data_dir_option
def stats(name: str, as_json: bool) -> None:
    """Show the numbers of one collection."""
    with open_runtime() as runtime:
        info = asdict(runtime.collection_stats(make_scope(name)))
    if as_json:
        print_json(info)
    else:
        for key, value in info.items():
            print_line(f"{key}: {value}")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@data_dir_option
def delete(name: str, yes: bool, as_json: bool) -> None:
    """Delete a collection with all its documents and FAQ."""
    with open_runtime() as runtime:
        info = runtime.collection_stats(make_scope(name))
        if not yes:
            click.confirm(
                f"Delete {info.name} with {info.documents} documents and {info.faq_entries} FAQ "
                "entries?",
                abort=True,
                err=True,
            )
        runtime.delete_collection(make_scope(name))
    if as_json:
        print_json({"deleted": name, "documents": info.documents})
    else:
        print_line(f"Deleted {name} ({info.documents} documents).")
