"""``assistant intents``: add, import, list, delete, match."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import click

from assistant.commands.common import (
    data_dir_option,
    json_option,
    open_runtime,
    print_json,
    print_line,
    print_table,
)
from assistant.errors import InvalidInputError
from assistant.types import DEFAULT_TENANT, Intent, IntentAction

_ACTIONS = click.Choice([action.value for action in IntentAction])
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group(name="intents")
@data_dir_option
def command() -> None:
    """Kinds of questions you name by examples: hand them over, or decline."""


@command.command()
@click.argument("name")
@click.option("--example", "examples", multiple=True, metavar="TEXT", help="May be given again.")
@click.option("--examples", "file", type=_file, help="A text file, one example a line.")
@click.option("--action", type=_ACTIONS, default="answer", show_default=True)
@click.option("--reply-zh", default="", metavar="TEXT", help="Said in place of the usual words.")
@click.option("--reply-en", default="", metavar="TEXT")
@json_option
@data_dir_option
def add(
    name: str,
    *,
    examples: tuple[str, ...],
    file: Path | None,
    action: str,
    reply_zh: str,
    reply_en: str,
    as_json: bool,
) -> None:
    """Add an intent, or put another in its place. Five examples do; it works at once."""
    lines = _lines(file) if file else []
    wanted = Intent(name, (*examples, *lines), IntentAction(action), reply_zh, reply_en)
    _store([wanted], as_json=as_json)


@command.command(name="import")
@click.argument("table", type=click.Path(path_type=Path))
@click.option("--text", "text_column", default="text", show_default=True, metavar="COLUMN")
@click.option("--intent", "intent_column", default="intent", show_default=True, metavar="COLUMN")
@click.option("--action", type=_ACTIONS, help="Of all of them; else of each as it was.")
@json_option
@data_dir_option
def import_table(
    table: Path, text_column: str, intent_column: str, action: str | None, as_json: bool
) -> None:
    """Take intents from a CSV or JSON Lines table of texts, such as old tickets."""
    from assistant.storage.intents import MAX_EXAMPLES, MIN_EXAMPLES

    found: dict[str, dict[str, None]] = {}
    for name, text in _labelled(table, text_column, intent_column):
        found.setdefault(name, {})[text] = None
    few = {name: len(texts) for name, texts in found.items() if len(texts) < MIN_EXAMPLES}
    if few or not found:
        listed = ", ".join(f"{name} ({count})" for name, count in few.items()) or "no intents"
        raise InvalidInputError(
            f"{table.name}: nothing was taken in; too few examples: {listed}. Every intent needs "
            f"{MIN_EXAMPLES} different texts or more."
        )
    with open_runtime() as runtime:
        known = {one.name: one for one in runtime.storage.intents.of(DEFAULT_TENANT)}
    wanted = []
    for name, texts in found.items():
        kept = replace(known.get(name, Intent(name, ())), examples=tuple(texts)[:MAX_EXAMPLES])
        wanted.append(replace(kept, action=IntentAction(action)) if action else kept)
    _store(wanted, as_json=as_json)


@command.command(name="list")
@json_option
@data_dir_option
def list_intents(as_json: bool) -> None:
    """List the intents with what is done about them."""
    with open_runtime() as runtime:
        found = runtime.storage.intents.of(DEFAULT_TENANT)
    _show(found, as_json=as_json)


@command.command()
@click.argument("name")
@json_option
@data_dir_option
def delete(name: str, as_json: bool) -> None:
    """Delete an intent."""
    with open_runtime() as runtime:
        runtime.storage.intents.delete(DEFAULT_TENANT, name)
    if as_json:
        print_json({"deleted": name})
    else:
        print_line(f"Deleted the intent {name}.")


@command.command()
@click.argument("texts", nargs=-1, required=True, metavar="TEXT...")
@json_option
@data_dir_option
def match(texts: tuple[str, ...], as_json: bool) -> None:
    """Show which intent is nearest to a text, and whether it would be acted on."""
    with open_runtime() as runtime:
        found = runtime.match_intents(DEFAULT_TENANT, texts)
        least = runtime.settings.intent_threshold
    if not found:
        raise InvalidInputError("There are no intents yet; add one with `assistant intents add`.")
    rows = [
        {"text": text, **one.to_json(), "acted_on": one.probability >= least}
        for text, one in zip(texts, found, strict=True)
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("text", "nearest intent", "probability", "action"),
        [
            (
                str(row["text"]),
                str(row["intent"]),
                f"{row['probability']:.2f}",
                str(row["action"]) if row["acted_on"] else "none: not sure enough",
            )
            for row in rows
        ],
    )


def _store(intents: list[Intent], *, as_json: bool) -> None:
    with open_runtime() as runtime:
        kept = runtime.storage.intents.put(DEFAULT_TENANT, intents)
    _show(kept, as_json=as_json)


def _show(intents: list[Intent], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(intent) for intent in intents])
        return
    print_table(
        ("intent", "examples", "action"),
        [(one.name, len(one.examples), one.action.value) for one in intents],
    )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path.name} is not UTF-8 text: {error}.") from error


def _labelled(path: Path, text_column: str, intent_column: str) -> Iterator[tuple[str, str]]:
    from assistant.tables import column_key, inspect_table, read_rows, require_column

    table = inspect_table(path, field_name=text_column)
    if table.kind == "csv":
        for column in (text_column, intent_column):
            require_column(table, column)
    for row in read_rows(path, table):
        if row.error:
            raise InvalidInputError(f"{path.name}: {row.error}. Nothing was taken in.")
        cells = {column_key(name): value for name, value in row.values.items()}
        name = str(cells.get(column_key(intent_column)) or "").strip()
        text = str(cells.get(column_key(text_column)) or "").strip()
        if name and text:
            yield name, text
