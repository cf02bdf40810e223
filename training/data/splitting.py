"""Split rows into train, valid and test: seeded, whole groups, labels in equal shares.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-label
Data", 2011), with groups of rows in place of single rows. The result depends on the rows and the
seed, not on the order of files or rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from training.data.rows import Row, row_hash, row_labels

_ALL = ""
"""Stands for the one label of rows without labels and of splits that are not stratified."""


def split_rows(
    rows: Sequence[Row],
    groups: Sequence[int],
    fractions: Mapping[str, float],
    *,
    seed: int,
    stratify: bool = True,
) -> dict[str, list[int]]:
    """Return for each split the positions of its rows, ascending.

    ``groups[i]`` names the group of row ``i``; a group never parts. ``fractions``: split name to
    share, the first name takes what is left over; they add up to 1.
    """
    members: dict[int, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    labels = [(row_labels(row) if stratify else ()) or (_ALL,) for row in rows]
    totals = Counter(label for labels_ in labels for label in labels_)
    wanted = {
        name: {label: share * total for label, total in totals.items()}
        for name, share in fractions.items()
    }
    room = {name: share * len(rows) for name, share in fractions.items()}
    chosen: dict[str, list[int]] = {name: [] for name in fractions}
    roomy = min(room.values())
    for positions in _in_order(members, rows, labels, totals, seed=seed, roomy=roomy):
        counts = Counter(label for position in positions for label in labels[position])
        name = _neediest(counts, len(positions), totals, wanted, room)
        chosen[name].extend(positions)
        room[name] -= len(positions)
        for label, count in counts.items():
            wanted[name][label] -= count
    return {name: sorted(positions) for name, positions in chosen.items()}


def _in_order(
    members: Mapping[int, list[int]],
    rows: Sequence[Row],
    labels: Sequence[tuple[str, ...]],
    totals: Mapping[str, int],
    *,
    seed: int,
    roomy: float,
) -> list[list[int]]:
    """Order groups: too large for the smallest split, then by rarest label, else as drawn."""

    def key(positions: list[int]) -> tuple[bool, int, str, str]:
        rarest = min((totals[lb], lb) for position in positions for lb in labels[position])
        content = min(row_hash(rows[position]) for position in positions)
        draw = hashlib.sha256(f"{seed}:{content}".encode()).hexdigest()
        return (len(positions) <= max(roomy, 1), *rarest, draw)

    return sorted(members.values(), key=key)


def _neediest(
    counts: Mapping[str, int],
    size: int,
    totals: Mapping[str, int],
    wanted: Mapping[str, Mapping[str, float]],
    room: Mapping[str, float],
) -> str:
    """Return the split that most lacks the group's rarest label; a group too large goes first."""
    rarest = min(counts, key=lambda label: (totals[label], label))
    first = next(iter(wanted))
    fits = [name for name in wanted if name == first or room[name] >= size - 0.5]
    return max(fits, key=lambda name: (wanted[name][rarest], room[name], name == first))
