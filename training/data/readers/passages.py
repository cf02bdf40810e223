"""Retrieval folders in BEIR layout as pairs of question and passage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from assistant.errors import InvalidInputError
from indexes.errors import LoadError
from indexes.evaluate import read_retrieval_set
from training.data.ledger import Ledger
from training.data.rows import TextPair


def read_beir(folder: Path, ledger: Ledger) -> Iterator[TextPair]:
    """Yield each judged question with each of its passages; the passage is the group.

    Raises ``InvalidInputError`` for a broken folder; judgements of what does not exist are counted.
    """
    try:
        found = read_retrieval_set(folder)
    except (LoadError, OSError) as error:
        raise InvalidInputError(f"{folder.name}: {error}") from None
    for warning in found.warnings:
        ledger.reject(folder.name, "judgement without its text", warning)
    for query, grades in found.qrels.items():
        for passage in grades:
            yield TextPair(
                found.queries[query],
                found.corpus[passage],
                None,
                f"{folder.name}#{passage}",
                f"{folder.name}:{query}",
            )
