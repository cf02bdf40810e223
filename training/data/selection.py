"""Choose among rows: few per label, at most so many, pairs of one label. Seeded by content."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from training.data.ledger import Ledger
from training.data.rows import LabelledText, Row, TextPair, row_hash, row_labels, row_texts


def draw(row: Row, seed: int) -> str:
    """Return a random-looking key that depends on the row's content and the seed alone."""
    return hashlib.sha256(f"{seed}:{row_hash(row)}".encode()).hexdigest()


def limit_rows(
    rows: Sequence[Row], limit: int | None, *, seed: int, ledger: Ledger, setting: str
) -> list[Row]:
    """Return at most ``limit`` rows in their order; the rest is counted."""
    if limit is None or len(rows) <= limit:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda position: draw(rows[position], seed))
    return _keep(rows, set(order[:limit]), ledger, f"beyond {setting}")


def limit_per_label(
    rows: Sequence[Row], limit: int | None, *, seed: int, ledger: Ledger
) -> list[Row]:
    """Return at most ``limit`` rows of each label; one with several labels counts for each."""
    if limit is None:
        return list(rows)
    taken: dict[str, int] = defaultdict(int)
    kept: set[int] = set()
    for position in sorted(range(len(rows)), key=lambda index: draw(rows[index], seed)):
        labels = row_labels(rows[position]) or ("",)
        if any(taken[label] < limit for label in labels):
            kept.add(position)
            for label in labels:
                taken[label] += 1
    return _keep(rows, kept, ledger, "beyond data.per_label")


def _keep(rows: Sequence[Row], kept: set[int], ledger: Ledger, reason: str) -> list[Row]:
    for position, row in enumerate(rows):
        if position not in kept:
            ledger.reject(row.source, reason, "", row_texts(row)[0])
    return [row for position, row in enumerate(rows) if position in kept]


def same_label_pairs(rows: Sequence[Row], limit: int, *, seed: int) -> list[TextPair]:
    """Pair texts of one label: each with the next in a drawn order, then the one after, and so on.

    At most ``limit`` pairs a label, so that frequent labels do not crowd out the others.
    """
    members: dict[str, list[LabelledText]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: draw(row, seed)):
        if isinstance(row, LabelledText):
            for label in row.labels:
                members[label].append(row)
    pairs = []
    for label in sorted(members):
        texts = members[label]
        count = 0
        for step in range(1, len(texts)):
            for position in range(len(texts) - step):
                if count == limit:
                    break
                first, second = texts[position], texts[position + step]
                source = f"{first.source} + {second.source}"
                pairs.append(TextPair(first.text, second.text, None, first.group, source))
                count += 1
    return pairs
