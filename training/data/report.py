"""What happened on the way from files to rows, and the card that goes with a trained model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexes.language import detect_language
from training.data.duplicates import Conflict
from training.data.leaks import LeakReport
from training.data.rows import (
    ChatExample,
    Kind,
    LabelledText,
    ReadingExample,
    Row,
    TaggedText,
    TextPair,
    row_hash,
    row_labels,
    row_texts,
)

QUANTILES = {"min": 0.0, "p5": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class SourceCard:
    """One file: which split it was given for, its size, SHA-256 and licence."""

    name: str
    split: str
    bytes: int
    sha256: str
    licence: str
    rows_read: int


@dataclass(frozen=True, slots=True)
class SplitCard:
    """One split. ``groups``: sets of rows that belong together (one ticket, paragraph, text).

    ``lengths``: part of the row to quantiles of characters. ``sha256``: of its rows, in any order.
    """

    rows: int
    groups: int
    labels: Mapping[str, int]
    languages: Mapping[str, int]
    lengths: Mapping[str, Mapping[str, int]]
    sha256: str


@dataclass(frozen=True, slots=True)
class DataCard:
    """What a model was trained and tested on. ``sha256`` is of all rows, in any order."""

    kind: Kind
    sha256: str
    splits: Mapping[str, SplitCard]
    sources: tuple[SourceCard, ...]
    licences: tuple[str, ...]
    removed: Mapping[str, int]
    mended: Mapping[str, int]
    duplicates: Mapping[str, int]
    leaks: Mapping[str, int | str]
    unused_columns: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DataReport:
    """The details behind a card: leaks with examples, conflicts of duplicates, suspects counted.

    ``against`` counts rows that could not be read in the sets only compared against.
    """

    leaks: LeakReport
    conflicts: tuple[Conflict, ...]
    unseen_labels: Mapping[str, Mapping[str, int]]
    suspects: int | None
    against_rejected: Mapping[str, int]


def split_card(rows: Sequence[Row], groups: int) -> SplitCard:
    """Describe the rows of one split, which fall into ``groups`` groups."""
    labels = Counter(label for row in rows for label in row_labels(row))
    languages = Counter(detect_language(row_texts(row)[0]) for row in rows)
    return SplitCard(
        len(rows),
        groups,
        dict(sorted(labels.items(), key=lambda item: (-item[1], item[0]))),
        dict(sorted(languages.items())),
        _lengths(rows),
        content_hash({"": rows}),
    )


def content_hash(splits: Mapping[str, Sequence[Row]]) -> str:
    """Return one SHA-256 of the rows of all splits, whatever the order of rows and files."""
    digest = hashlib.sha256()
    for line in sorted(f"{name}\0{row_hash(row)}" for name, rows in splits.items() for row in rows):
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def _lengths(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    if not rows:
        return {}
    parts = _part_names(rows[0])
    found = {}
    for index, name in enumerate(parts):
        counts = np.array([len(row_texts(row)[index]) for row in rows])
        values = np.quantile(counts, list(QUANTILES.values()), method="nearest")
        found[name] = dict(zip(QUANTILES, (int(value) for value in values), strict=True))
    return found


def _part_names(row: Row) -> tuple[str, ...]:
    match row:
        case TextPair():
            return ("text_a", "text_b")
        case ReadingExample():
            return ("question", "context")
        case ChatExample():
            return ("conversation",)
        case LabelledText() | TaggedText() | _:
            return ("text",)
