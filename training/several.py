"""Several tables of rows as one, for a model with several heads: each row knows its head."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from training.data.report import DataCard, DataReport, content_hash, split_card
from training.data.rows import Row
from training.data.selection import draw
from training.data.storage import SPLITS, Prepared

_HEAD = "head"


def head_of(row: Row) -> str:
    """Return the head that a row of ``together`` belongs to."""
    return dict(row.extra)[_HEAD]


def of_head(rows: Iterable[Row], head: str) -> tuple[Row, ...]:
    """Return the rows of one head."""
    return tuple(row for row in rows if head_of(row) == head)


def together(parts: Mapping[str, Prepared], folder: Path, seed: int) -> Prepared:
    """Return the rows of all heads in one, in drawn order, with one card for all."""
    splits = {name: _mixed(parts, name, seed) for name in SPLITS}
    cards = {name: part.card for name, part in parts.items()}
    first = next(iter(parts.values()))
    return Prepared(
        first.kind,
        splits["train"],
        splits["valid"],
        splits["test"],
        _card(cards, splits),
        _report([part.report for part in parts.values()]),
        folder,
        cached=all(part.cached for part in parts.values()),
    )


def _mixed(parts: Mapping[str, Prepared], split: str, seed: int) -> tuple[Row, ...]:
    rows = [
        replace(row, extra=(*row.extra, (_HEAD, head)))
        for head, part in parts.items()
        for row in getattr(part, split)
    ]
    return tuple(sorted(rows, key=lambda row: draw(row, seed)))


def _card(cards: Mapping[str, DataCard], splits: Mapping[str, Sequence[Row]]) -> DataCard:
    every = list(cards.values())
    groups = {
        name: sum(c.splits[name].groups for c in every if name in c.splits) for name in splits
    }
    leaks = {f"{head}: {key}": n for head, card in cards.items() for key, n in card.leaks.items()}
    unused: dict[str, tuple[str, ...]] = {}
    for card in every:
        unused |= card.unused_columns
    return DataCard(
        kind=every[0].kind,
        sha256=content_hash(splits),
        splits={name: split_card(rows, groups[name]) for name, rows in splits.items()},
        sources=tuple(source for card in every for source in card.sources),
        licences=tuple(dict.fromkeys(licence for card in every for licence in card.licences)),
        removed=_sum(card.removed for card in every),
        mended=_sum(card.mended for card in every),
        duplicates=_sum(card.duplicates for card in every),
        leaks=leaks,
        unused_columns=unused,
        warnings=tuple(f"{head}: {text}" for head, card in cards.items() for text in card.warnings),
    )


def _report(reports: Sequence[DataReport]) -> DataReport:
    suspects = [report.suspects for report in reports if report.suspects is not None]
    unseen: dict[str, Mapping[str, int]] = {}
    for report in reports:
        for split, counts in report.unseen_labels.items():
            unseen[split] = _sum([unseen.get(split, {}), counts])
    return DataReport(
        leaks=max((report.leaks for report in reports), key=lambda leaks: leaks.rows),
        conflicts=tuple(conflict for report in reports for conflict in report.conflicts),
        unseen_labels=unseen,
        suspects=sum(suspects) if suspects else None,
        against_rejected=_sum(report.against_rejected for report in reports),
    )


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for own in counts:
        total.update(own)
    return dict(total)
