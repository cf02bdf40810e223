"""Remove duplicates of rows; keep the first, report those that disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from training.data.fingerprint import folded, shingle
from training.data.ledger import Ledger
from training.data.minhash import near_pairs
from training.data.rows import Row, row_answer, row_texts
from training.data.spec import Dedupe

SHOWN_CONFLICTS = 50


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two rows alike whose answers differ: the sources, texts and answers of both."""

    kind: Literal["exact", "near"]
    first_source: str
    second_source: str
    first_text: str
    second_text: str
    first_answer: tuple[str, ...]
    second_answer: tuple[str, ...]


@dataclass(slots=True)
class DuplicateReport:
    """Counts over all splits. ``conflicts`` holds the first 50 of ``conflict_count``."""

    exact: int = 0
    near: int = 0
    conflict_count: int = 0
    conflicts: list[Conflict] = field(default_factory=list)

    def add_conflict(self, kind: Literal["exact", "near"], first: Row, second: Row) -> None:
        """Note two rows that disagree."""
        self.conflict_count += 1
        if len(self.conflicts) < SHOWN_CONFLICTS:
            self.conflicts.append(
                Conflict(
                    kind,
                    first.source,
                    second.source,
                    " | ".join(row_texts(first))[:200],
                    " | ".join(row_texts(second))[:200],
                    row_answer(first),
                    row_answer(second),
                )
            )


def remove_duplicates(
    rows: Sequence[Row], rules: Dedupe, *, near: bool, ledger: Ledger, report: DuplicateReport
) -> list[Row]:
    """Return the rows without duplicates, in order.

    Exact: all texts equal once folded. Near: every text of one row resembles that of the other by
    ``rules.threshold``. Near-duplicates with different answers both stay, since the small
    difference may be what matters (``rose`` and ``fell``); they are reported.
    """
    kept = _drop_exact(rows, rules, ledger, report) if rules.exact else list(rows)
    return _drop_near(kept, rules, ledger, report) if near else kept


def _drop_exact(
    rows: Sequence[Row], rules: Dedupe, ledger: Ledger, report: DuplicateReport
) -> list[Row]:
    first: dict[tuple[str, ...], int] = {}
    disputed: set[int] = set()
    kept: list[int] = []
    for position, row in enumerate(rows):
        key = tuple(sorted(folded(text) for text in row_texts(row)))
        before = first.setdefault(key, position)
        if before == position:
            kept.append(position)
            continue
        agrees = row_answer(rows[before]) == row_answer(row)
        reason = "duplicate" if agrees else "duplicate with another label"
        if not agrees:
            disputed.add(before)
            report.add_conflict("exact", rows[before], row)
        report.exact += 1
        ledger.reject(row.source, reason, f"as {rows[before].source}", row_texts(row)[0])
    if rules.conflicts == "first":
        return [rows[position] for position in kept]
    for position in sorted(disputed):
        report.exact += 1
        row = rows[position]
        ledger.reject(row.source, "duplicate with another label", "dropped too", row_texts(row)[0])
    return [rows[position] for position in kept if position not in disputed]


def _drop_near(
    rows: Sequence[Row], rules: Dedupe, ledger: Ledger, report: DuplicateReport
) -> list[Row]:
    dropped: set[int] = set()
    for first, second in _near_rows(rows, rules):
        if first in dropped or second in dropped:
            continue
        if row_answer(rows[first]) != row_answer(rows[second]):
            report.add_conflict("near", rows[first], rows[second])
            continue
        dropped.add(second)
        report.near += 1
        row = rows[second]
        detail = f"like {rows[first].source}: {row_texts(rows[first])[0]}"
        ledger.reject(row.source, "near-duplicate", detail, row_texts(row)[0])
    return [row for position, row in enumerate(rows) if position not in dropped]


def _near_rows(rows: Sequence[Row], rules: Dedupe) -> list[tuple[int, int]]:
    """Return the pairs of rows alike in every text, ordered; the first of a pair comes first."""
    texts = [row_texts(row) for row in rows]
    pairs = near_pairs(
        [text[0] for text in texts], threshold=rules.threshold, permutations=rules.permutations
    )
    found = sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    width = max((len(text) for text in texts), default=1)
    for column in range(1, width):
        involved = sorted({position for pair in found for position in pair})
        place = {position: index for index, position in enumerate(involved)}
        shingles = shingle([texts[position][column] for position in involved])
        found = [
            (a, b)
            for a, b in found
            if texts[a][column] == texts[b][column]
            or shingles.jaccard(place[a], place[b]) >= rules.threshold
        ]
    return found
