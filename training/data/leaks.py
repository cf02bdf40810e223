"""Find rows that train and evaluation share, by text or by group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assistant.errors import InvalidInputError
from training.data.resemblance import Resemblance, compared_texts
from training.data.rows import Row
from training.data.spec import Leaks

LeakKind = Literal["exact", "normalised", "near", "group"]
KINDS: tuple[LeakKind, ...] = ("exact", "normalised", "near", "group")
SPLITS = ("train", "valid", "test")
SHOWN_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class LeakExample:
    """One row and what it leaks into. ``similarity`` is Jaccard, in (0, 1]."""

    kind: LeakKind
    source: str
    text: str
    other_source: str
    other_text: str
    similarity: float


@dataclass(frozen=True, slots=True)
class LeakCount:
    """Rows of ``first`` that ``second`` shares, each counted once under its strongest kind."""

    first: str
    second: str
    counts: Mapping[LeakKind, int]
    examples: tuple[LeakExample, ...]

    @property
    def rows(self) -> int:
        """How many rows of ``first`` leak."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class LeakReport:
    """All pairs of sets compared. ``rows`` still leak after ``dropped`` were taken out.

    ``passed`` is true below the limit or by an override, whose reason is kept.
    """

    pairs: tuple[LeakCount, ...]
    rows: int
    dropped: int
    limit: int
    override: str

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return self.rows <= self.limit or bool(self.override)

    def describe(self) -> str:
        """Say what leaks where, with an example of each."""
        lines = []
        for pair in self.pairs:
            if not pair.rows:
                continue
            kinds = ", ".join(f"{n} {kind}" for kind, n in pair.counts.items() if n)
            lines.append(f"{pair.rows} rows of {pair.first} stand in {pair.second} ({kinds})")
            for example in pair.examples[:2]:
                lines.append(
                    f"  {example.source} {example.text[:80]!r} ~ "
                    f"{example.other_source} {example.other_text[:80]!r}"
                )
        return "\n".join(lines)


class LeakError(InvalidInputError):
    """Training and evaluation share rows beyond the limit; ``report`` says which."""

    def __init__(self, report: LeakReport) -> None:
        super().__init__(
            f"Leak check failed: {report.rows} rows, the limit leaks.limit is {report.limit}.\n"
            f"{report.describe()}\n"
            'Set leaks.action = "drop" to take them out of the training side, mend the files, or '
            "state a reason in leaks.override."
        )
        self.report = report

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain values for JSON."""
        return asdict(self.report)


def check_leaks(
    sets: Mapping[str, Sequence[Row]], resemblance: Resemblance
) -> tuple[list[LeakCount], dict[str, set[int]]]:
    """Compare every split with all sets that follow it, test with other splits only.

    ``sets`` go in the order in which rows are given up: train first. Returns the counts and, by
    set, the positions of its rows that leak into a later one.
    """
    names = list(sets)
    finders = {name: _Finder(rows, resemblance) for name, rows in sets.items()}
    counts: list[LeakCount] = []
    leaking: dict[str, set[int]] = {}
    for index, first in enumerate(names):
        if first not in SPLITS:
            continue
        for second in names[index + 1 :]:
            if first == "test" and second not in SPLITS:
                continue
            count, positions = _compare(first, second, sets[first], finders[second], resemblance)
            counts.append(count)
            leaking.setdefault(first, set()).update(positions)
    return counts, leaking


def judge(counts: Sequence[LeakCount], rows: int, dropped: int, rules: Leaks) -> LeakReport:
    """Return the report; ``LeakReport.passed`` decides."""
    return LeakReport(tuple(counts), rows, dropped, rules.limit, rules.override.strip())


class _Finder:
    """The texts and groups of one set, to look rows of another up in."""

    def __init__(self, rows: Sequence[Row], resemblance: Resemblance) -> None:
        self._resemblance = resemblance
        self.raw: dict[str, Row] = {}
        self.numbers: dict[int, tuple[Row, str]] = {}
        self.groups: dict[str, Row] = {}
        for row in rows:
            texts = compared_texts(row, resemblance.unit)
            for text, number in zip(texts, resemblance.numbers(row), strict=True):
                self.raw.setdefault(text, row)
                self.numbers.setdefault(number, (row, text))
            if row.group:
                self.groups.setdefault(row.group, row)

    def find(self, row: Row) -> LeakExample | None:
        """Return the strongest leak of a row into this set, or None."""
        found = list(self._all(row))
        return min(found, key=lambda leak: KINDS.index(leak.kind)) if found else None

    def _all(self, row: Row) -> Iterator[LeakExample]:
        texts = compared_texts(row, self._resemblance.unit)
        for text, number in zip(texts, self._resemblance.numbers(row), strict=True):
            if text in self.raw:
                yield LeakExample("exact", row.source, text, self.raw[text].source, text, 1.0)
            elif number in self.numbers:
                other, shown = self.numbers[number]
                yield LeakExample("normalised", row.source, text, other.source, shown, 1.0)
            else:
                yield from self._near(row, text, number)
        if row.group in self.groups:
            other = self.groups[row.group]
            shown = compared_texts(other, self._resemblance.unit)[0]
            yield LeakExample("group", row.source, texts[0], other.source, shown, 0.0)

    def _near(self, row: Row, text: str, number: int) -> Iterator[LeakExample]:
        similar = self._resemblance.similar.get(number, {})
        for near, value in similar.items():
            if near in self.numbers:
                other, shown = self.numbers[near]
                yield LeakExample("near", row.source, text, other.source, shown, value)
                return


def _compare(
    first: str, second: str, rows: Sequence[Row], finder: _Finder, resemblance: Resemblance
) -> tuple[LeakCount, list[int]]:
    counts: dict[LeakKind, int] = dict.fromkeys(KINDS, 0)
    examples: list[LeakExample] = []
    positions: list[int] = []
    for position, row in enumerate(rows):
        leak = finder.find(row)
        if leak is None:
            continue
        counts[leak.kind] += 1
        positions.append(position)
        if sum(example.kind == leak.kind for example in examples) < SHOWN_EXAMPLES:
            examples.append(leak)
    return LeakCount(first, second, counts, tuple(examples)), positions
