"""``assistant entities``: a table of texts in, the same table with the names found out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from assistant.commands.classify import entity_json
from assistant.commands.common import load_settings
from assistant.commands.texts import run_table, text_table_options


@click.command(name="entities")
@text_table_options
def command(
    *,
    source: Path,
    output: Path,
    model: str | None,
    tenant: str,
    column: str,
    encoding: str | None,
    excel: bool,
    restart: bool,
    as_json: bool,
) -> int:
    """Find the entities in every text of IN (.csv, .tsv or .jsonl with a column "text") into OUT.

    Adds "entities", a list of text, label, start, end (code points, half-open) and probability
    (JSON in a .csv), and "error"; the other columns and the order are kept. OUT appears when all is
    done; run an interrupted command again and it goes on where it stopped. Rows that cannot be
    read stay in with the reason in "error" (exit code 3).
    """
    from assistant.models.loading import open_tagger
    from assistant.resumable import check_paths
    from assistant.streaming import TextTable

    check_paths(source, output)
    tagger = open_tagger(load_settings(), model, tenant)
    table = TextTable(
        source=source,
        output=output,
        added=("entities",),
        model=f"{tagger.ref} {tagger.fingerprint}",
        column=column,
        encoding=encoding,
        excel=excel,
        restart=restart,
    )

    def work(texts: Sequence[str]) -> list[dict[str, Any]]:
        return [{"entities": [entity_json(one) for one in found]} for found in tagger.tag(texts)]

    try:
        return run_table(
            table, work, _labels, doing="Finding entities", ref=tagger.ref, as_json=as_json
        )
    finally:
        tagger.close()


def _labels(values: Mapping[str, Any]) -> Iterable[str]:
    return [entity["label"] for entity in values["entities"]]
