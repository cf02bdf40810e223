"""From files to clean, split, leak-free rows: the one entry point of the data pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from assistant.errors import InvalidInputError
from training.data.checks import handle_unseen_labels, require_learnable, require_rows
from training.data.cleaning import Cleaner
from training.data.duplicates import DuplicateReport, remove_duplicates
from training.data.label_errors import (
    find_label_errors,
    out_of_fold_probabilities,
    write_suspects,
)
from training.data.leaks import LeakError, LeakReport, check_leaks, judge
from training.data.ledger import Ledger, RowProblem
from training.data.readers import Source, find_sources, read_source
from training.data.report import (
    DataCard,
    DataReport,
    SourceCard,
    content_hash,
    split_card,
)
from training.data.resemblance import Resemblance, Unit
from training.data.rows import Kind, LabelledText, Row, row_labels, row_texts
from training.data.selection import limit_per_label, limit_rows, same_label_pairs
from training.data.spec import DataSpec, Format
from training.data.splitting import split_rows
from training.data.storage import (
    REJECTED,
    SPLITS,
    SUSPECTS,
    Prepared,
    cache_key,
    load_prepared,
    write_prepared,
    writing,
)

Progress = Callable[[str, int], None]
"""Called with the stage and how many rows it has done."""

ENOUGH = 0.7
"""A cut split with less than this part of its share is warned of."""

_EVERY = 1000
_NOT_STATED = "not stated"


def prepare(spec: DataSpec, kind: Kind, folder: Path, progress: Progress | None = None) -> Prepared:
    """Read, clean, de-duplicate, split and check rows; keep them in ``folder`` for the next time.

    The same files and spec give the same rows, from a sub-folder named by their hash. Raises
    ``NotFoundError`` and ``InvalidInputError`` for files, columns or labels that cannot be used,
    ``LeakError`` when evaluation rows stand in the training rows, ``StorageError`` when the disk
    refuses. ``progress`` hears of each stage.
    """
    sources = _sources(spec, _read_kind(spec, kind))
    target = folder / cache_key(spec, kind, sources)
    before = load_prepared(target, kind)
    if before is not None:
        return before
    with writing(target) as work, Ledger(work / REJECTED, mask=spec.normalise.mask) as ledger:
        run = _Run(spec, kind, ledger, progress or (lambda stage, done: None), work)
        rows, card, report = run.run(sources)
        write_prepared(work, rows, card, report)
    return Prepared(
        kind,
        tuple(rows["train"]),
        tuple(rows["valid"]),
        tuple(rows["test"]),
        card,
        report,
        target,
    )


def _read_kind(spec: DataSpec, kind: Kind) -> Kind:
    """Pairs of one label are made of labelled texts, after these are split."""
    return "classify" if kind == "pairs" and spec.pairing.how == "same_label" else kind


def _sources(spec: DataSpec, kind: Kind) -> dict[str, list[Source]]:
    """Return the files of each split and of each set to compare against.

    ``pairing.how`` decides how files of pairs are read, where ``format`` leaves it open.
    """
    forms: dict[str, Format] = {"turns": "dialogue", "columns": "table"}
    form = forms.get(spec.pairing.how) if kind == "pairs" and spec.format == "auto" else None
    spec = spec.model_copy(update={"format": form}) if form else spec
    taken = [name for name in spec.against if name in SPLITS]
    if taken:
        raise InvalidInputError(f"data.against: {taken[0]!r} is a split's name; choose another.")
    named = {"train": spec.train, "valid": spec.valid, "test": spec.test, **spec.against}
    found = {name: find_sources(paths, kind, spec) for name, paths in named.items()}
    for also in spec.also:
        own = spec.of(also)
        for name in SPLITS:
            found[name] += find_sources(getattr(also, name), kind, own)
    return found


@dataclass(slots=True)
class _Run:
    spec: DataSpec
    kind: Kind
    ledger: Ledger
    progress: Progress
    work: Path
    duplicates: DuplicateReport = field(default_factory=DuplicateReport)
    cards: list[SourceCard] = field(default_factory=list)
    against_ledger: Ledger = field(default_factory=Ledger)
    given: frozenset[str] = frozenset()
    dialogues: bool = False
    read_kind: Kind = field(init=False)

    also: list[DataSpec] = field(init=False)

    def __post_init__(self) -> None:
        self.read_kind = _read_kind(self.spec, self.kind)
        self.also = [self.spec.of(also) for also in self.spec.also]

    def run(
        self, sources: Mapping[str, Sequence[Source]]
    ) -> tuple[dict[str, list[Row]], DataCard, DataReport]:
        """Go through all stages; return rows by split, card and report."""
        spec = self.spec
        self.given = frozenset(name for name in SPLITS if sources[name])
        self.dialogues = any(s.format == "dialogue" for found in sources.values() for s in found)
        splits = {name: self._read(name, sources[name], self.ledger) for name in SPLITS}
        against = {
            name: self._read(name, sources[name], self.against_ledger) for name in spec.against
        }
        splits = {name: self._deduplicate(name, rows) for name, rows in splits.items()}
        for name in sorted(self.given):
            require_rows(splits[name], self.ledger, name)
        resemblance = self._index([*splits.values(), *against.values()])
        splits = self._limit(self._cut(splits, resemblance))
        splits, leaks = self._check_leaks(splits, against, resemblance)
        unseen = handle_unseen_labels(splits, self.kind, spec, self.ledger)
        require_rows(splits["train"], self.ledger)
        require_learnable(splits["train"], self.kind, spec, self.ledger)
        suspects = self._suspects(splits["train"])
        groups = {name: len(set(resemblance.components(rows))) for name, rows in splits.items()}
        splits = self._paired(splits)
        card = self._card(splits, groups, leaks)
        report = DataReport(
            leaks,
            tuple(self.duplicates.conflicts),
            unseen,
            suspects,
            dict(self.against_ledger.rejected),
        )
        return splits, card, report

    # --- reading and cleaning

    def _read(self, split: str, sources: Sequence[Source], ledger: Ledger) -> list[Row]:
        cleaner = Cleaner(self.spec.normalise, self.kind, ledger)
        rows: list[Row] = []
        for spec, together in groupby(sources, key=lambda source: source.spec):
            own = [
                row for source in together for row in self._clean(source, split, cleaner, ledger)
            ]
            if spec in self.also:
                limit = spec.max_rows if split == "train" else spec.max_eval_rows
                setting, seed = "data.also.max_rows", self.spec.split.seed
                own = limit_rows(own, limit, seed=seed, ledger=ledger, setting=setting)
            rows += own
        self.progress(f"read {split}", len(rows))
        return rows

    def _clean(self, source: Source, split: str, cleaner: Cleaner, ledger: Ledger) -> Iterator[Row]:
        count = 0
        for row in read_source(source, self.read_kind, ledger):
            count += 1
            if count % _EVERY == 0:
                self.progress(f"read {split}", count)
            place = source.name + row.source.removeprefix(source.path.name)
            try:
                yield cleaner.row(replace(row, source=place))
            except RowProblem as problem:
                text = problem.text or row_texts(row)[0]
                ledger.reject(row.source, problem.reason, problem.detail, text)
        self._add_cards(source, split, count)

    def _add_cards(self, source: Source, split: str, rows: int) -> None:
        """Note a file, and the paragraphs that its questions are about."""
        own = (source.name, source.bytes, source.sha256)
        for name, size, sha256 in (own, *source.paragraphs):
            given = source.spec.licence
            licence = given if isinstance(given, str) else given.get(name, given.get("*", ""))
            if not licence:
                self.ledger.warn("The licence of some files is not stated (data.licence).")
            card = SourceCard(name, split, size, sha256, licence or _NOT_STATED, rows)
            self.cards.append(card)
            rows = 0

    # --- duplicates, splits, limits

    def _deduplicate(self, split: str, rows: list[Row]) -> list[Row]:
        near = self._near(self.spec.dedupe.near)
        rows = remove_duplicates(
            rows, self.spec.dedupe, near=near, ledger=self.ledger, report=self.duplicates
        )
        self.progress(f"de-duplicate {split}", len(rows))
        return rows

    def _near(self, setting: bool | None) -> bool:
        return not self.spec.columns.record if setting is None else setting

    def _index(self, sets: Sequence[Sequence[Row]]) -> Resemblance:
        rules = self.spec.leaks
        found = Resemblance(
            (row for rows in sets for row in rows),
            unit=self._unit(),
            near=self._near(rules.near),
            threshold=rules.threshold,
            permutations=self.spec.dedupe.permutations,
        )
        self.progress("compare texts", sum(len(rows) for rows in sets))
        return found

    def _unit(self) -> Unit:
        """Turns of dialogues are compared as pairs: phrases like "one moment" return everywhere."""
        unit = self.spec.leaks.unit
        if unit == "auto":
            return "row" if self.dialogues and self.kind == "pairs" else "text"
        return unit

    def _cut(
        self,
        splits: dict[str, list[Row]],
        resemblance: Resemblance,
    ) -> dict[str, list[Row]]:
        """Cut the splits that have no files of their own from train, by their fractions."""
        rules = self.spec.split
        wanted = {"valid": rules.valid, "test": rules.test}
        cut = {name: share for name, share in wanted.items() if share and name not in self.given}
        if not cut:
            return splits
        rows = splits["train"]
        groups = resemblance.components(rows, near=rules.group_near_duplicates)
        shares = {"train": 1 - sum(cut.values()), **cut}
        chosen = split_rows(rows, groups, shares, seed=rules.seed, stratify=rules.stratify)
        for name, share in cut.items():
            if len(chosen[name]) < ENOUGH * share * len(rows):
                self.ledger.warn(
                    f"{name} has {len(chosen[name])} rows, not the {share:g} of {len(rows)} asked "
                    f"for: the {len(set(groups))} groups are too few or too large."
                )
        return {
            name: [rows[i] for i in chosen[name]] if name in chosen else splits[name]
            for name in splits
        }

    def _limit(self, splits: dict[str, list[Row]]) -> dict[str, list[Row]]:
        spec, seed = self.spec, self.spec.split.seed
        limited = {}
        for name, rows in splits.items():
            setting = "max_rows" if name == "train" else "max_eval_rows"
            limit = spec.max_rows if name == "train" else spec.max_eval_rows
            few = spec.per_label if name == "train" else None
            chosen = limit_per_label(rows, few, seed=seed, ledger=self.ledger)
            limited[name] = limit_rows(
                chosen, limit, seed=seed, ledger=self.ledger, setting=f"data.{setting}"
            )
        return limited

    # --- checks

    def _check_leaks(
        self,
        splits: dict[str, list[Row]],
        against: Mapping[str, Sequence[Row]],
        resemblance: Resemblance,
    ) -> tuple[dict[str, list[Row]], LeakReport]:
        rules = self.spec.leaks
        # A split cut from train gives way to one that came as a file.
        order = sorted(splits, key=lambda name: (name != "train", name in self.given))
        counts, leaking = check_leaks(
            {**{name: splits[name] for name in order}, **against}, resemblance
        )
        total = sum(len(positions) for positions in leaking.values())
        dropped = 0
        if rules.action == "drop" and total > rules.limit:
            splits = {
                name: self._without(rows, leaking.get(name, set())) for name, rows in splits.items()
            }
            dropped, total = total, 0
        report = judge(counts, total, dropped, rules)
        if not report.passed:
            raise LeakError(report)
        if report.rows:
            self.ledger.warn(
                f"{report.rows} rows leak into evaluation sets"
                + (f"; overridden: {report.override}" if report.override else "; within the limit")
            )
        self.progress("leak check", sum(len(rows) for rows in splits.values()))
        return splits, report

    def _without(self, rows: Sequence[Row], positions: set[int]) -> list[Row]:
        for position in sorted(positions):
            row = rows[position]
            reason = "leaks into an evaluation set"
            self.ledger.reject(row.source, reason, "leaks.action is drop", row_texts(row)[0])
        return [row for position, row in enumerate(rows) if position not in positions]

    def _suspects(self, rows: Sequence[Row]) -> int | None:
        """Write down suspected label errors, where asked for and possible."""
        if not self.spec.label_errors:
            return None
        if self.read_kind != "classify" or self.spec.multi_label:
            raise InvalidInputError(
                "data.label_errors works for classification with one label a row; set it to false."
            )
        counts = Counter(label for row in rows for label in row_labels(row))
        usable = [r for r in rows if isinstance(r, LabelledText) and counts[r.labels[0]] > 1]
        left_out = len(rows) - len(usable)
        if left_out:
            self.ledger.warn(f"{left_out} rows have a label of their own; not checked for errors.")
        labels = sorted({row.labels[0] for row in usable})
        if len(labels) < 2:
            return 0
        suspects = find_label_errors(usable, out_of_fold_probabilities(usable, labels), labels)
        write_suspects(suspects, self.work / SUSPECTS)
        self.progress("label errors", len(suspects))
        return len(suspects)

    def _paired(self, splits: dict[str, list[Row]]) -> dict[str, list[Row]]:
        if self.read_kind == self.kind:
            return splits
        seed, most = self.spec.split.seed, self.spec.pairing.per_label
        train = max(len(splits["train"]), 1)
        return {
            # Evaluation sets get their share of the pairs, not as many as train.
            name: list(same_label_pairs(rows, -(-most * len(rows) // train), seed=seed))
            for name, rows in splits.items()
        }

    # --- the card

    def _card(
        self,
        splits: Mapping[str, Sequence[Row]],
        groups: Mapping[str, int],
        leaks: LeakReport,
    ) -> DataCard:
        checked: dict[str, int | str] = {
            f"{pair.first} in {pair.second}": pair.rows for pair in leaks.pairs if pair.rows
        }
        checked |= {"rows dropped": leaks.dropped, "rows leaking": leaks.rows, "limit": leaks.limit}
        if leaks.override:
            checked["override"] = leaks.override
        ledger = self.ledger
        return DataCard(
            self.kind,
            content_hash(splits),
            {name: split_card(rows, groups[name]) for name, rows in splits.items()},
            tuple(self.cards),
            tuple(sorted({card.licence for card in self.cards if card.split in SPLITS})),
            dict(ledger.rejected.most_common()),
            dict(ledger.repairs.most_common()),
            {
                "exact": self.duplicates.exact,
                "near": self.duplicates.near,
                "conflicts": self.duplicates.conflict_count,
            },
            checked,
            {name: columns for name, columns in ledger.unused_columns.items() if columns},
            tuple(ledger.warnings),
        )
