"""From files to clean, split, leak-free rows: the one entry point of the data pipeline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assistant.errors import InvalidInputError
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
from training.data.resemblance import Resemblance
from training.data.rows import Kind, LabelledText, Row, row_labels, row_texts
from training.data.selection import limit_per_label, limit_rows, same_label_pairs
from training.data.spec import DataSpec
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

_EVERY = 1000
_NOT_STATED = "not stated"


def prepare(spec: DataSpec, kind: Kind, folder: Path, progress: Progress | None = None) -> Prepared:
    """Read, clean, de-duplicate, split and check rows; keep them in ``folder`` for the next time.

    The same files and spec give the same rows, from a sub-folder named by their hash. Raises
    ``NotFoundError`` and ``InvalidInputError`` for files, columns or labels that cannot be used,
    ``LeakError`` when evaluation rows stand in the training rows, ``StorageError`` when the disk
    refuses. ``progress`` hears of each stage.
    """
    sources = _sources(spec, kind)
    target = folder / cache_key(spec, kind, sources)
    before = load_prepared(target, kind)
    if before is not None:
        return before
    with writing(target) as work, Ledger(work / REJECTED) as ledger:
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


def _sources(spec: DataSpec, kind: Kind) -> dict[str, list[Source]]:
    """Return the files of each split and of each set to compare against."""
    taken = [name for name in spec.against if name in SPLITS]
    if taken:
        raise InvalidInputError(f"data.against: {taken[0]!r} is a split's name; choose another.")
    named = {"train": spec.train, "valid": spec.valid, "test": spec.test, **spec.against}
    return {name: find_sources(paths, kind, spec) for name, paths in named.items()}


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

    @property
    def _read_kind(self) -> Kind:
        """Pairs of one label are made of labelled texts, after these are split."""
        same = self.kind == "pairs" and self.spec.pairing.how == "same_label"
        return "classify" if same else self.kind

    def run(
        self, sources: Mapping[str, Sequence[Source]]
    ) -> tuple[dict[str, list[Row]], DataCard, DataReport]:
        """Go through all stages; return rows by split, card and report."""
        spec = self.spec
        splits = {name: self._read(name, sources[name], self.ledger) for name in SPLITS}
        against = {
            name: self._read(name, sources[name], self.against_ledger) for name in spec.against
        }
        splits = {name: self._deduplicate(name, rows) for name, rows in splits.items()}
        self._require_rows(splits["train"])
        resemblance = self._index([*splits.values(), *against.values()])
        splits = self._limit(self._cut(splits, sources, resemblance))
        splits, leaks = self._check_leaks(splits, against, resemblance)
        unseen = self._unseen_labels(splits)
        self._require_learnable(splits)
        suspects = self._suspects(splits["train"])
        splits = self._paired(splits)
        card = self._card(splits, leaks)
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
        spec = self._reading_spec()
        rows: list[Row] = []
        for source in sources:
            count = 0
            for row in read_source(source, self._read_kind, spec, ledger):
                count += 1
                if count % _EVERY == 0:
                    self.progress(f"read {split}", len(rows))
                try:
                    rows.append(cleaner.row(row))
                except RowProblem as problem:
                    text = problem.text or row_texts(row)[0]
                    ledger.reject(row.source, problem.reason, problem.detail, text)
            self.cards.append(self._source_card(source, split, count))
        self.progress(f"read {split}", len(rows))
        return rows

    def _reading_spec(self) -> DataSpec:
        """Let ``pairing.how`` decide how files are read, where ``format`` leaves it open."""
        forms = {"turns": "dialogue", "columns": "table"}
        form = forms.get(self.spec.pairing.how) if self.kind == "pairs" else None
        if form is None or self.spec.format != "auto":
            return self.spec
        return self.spec.model_copy(update={"format": form})

    def _source_card(self, source: Source, split: str, rows: int) -> SourceCard:
        given = self.spec.licence
        licence = given if isinstance(given, str) else given.get(source.name, given.get("*", ""))
        if not licence:
            self.ledger.warn("The licence of some files is not stated (data.licence).")
        return SourceCard(
            source.name, split, source.bytes, source.sha256, licence or _NOT_STATED, rows
        )

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
            unit="row" if rules.unit == "row" else "text",
            near=self._near(rules.near),
            threshold=rules.threshold,
            permutations=self.spec.dedupe.permutations,
        )
        self.progress("compare texts", sum(len(rows) for rows in sets))
        return found

    def _cut(
        self,
        splits: dict[str, list[Row]],
        sources: Mapping[str, Sequence[Source]],
        resemblance: Resemblance,
    ) -> dict[str, list[Row]]:
        """Cut the splits that have no files of their own from train, by their fractions."""
        rules = self.spec.split
        wanted = {"valid": rules.valid, "test": rules.test}
        cut = {name: share for name, share in wanted.items() if share and not sources[name]}
        if not cut:
            return splits
        rows = splits["train"]
        groups = resemblance.components(rows, near=rules.group_near_duplicates)
        shares = {"train": 1 - sum(cut.values()), **cut}
        chosen = split_rows(rows, groups, shares, seed=rules.seed, stratify=rules.stratify)
        for name, share in cut.items():
            if not chosen[name]:
                self.ledger.warn(
                    f"{name} is empty: {len(rows)} rows in {len(set(groups))} groups are too few "
                    f"for a share of {share:g}."
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
        counts, leaking = check_leaks({**splits, **against}, resemblance)
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

    def _unseen_labels(self, splits: dict[str, list[Row]]) -> dict[str, dict[str, int]]:
        """Find labels of valid and test that no training row has; treat their rows as asked."""
        if self.kind not in ("classify", "tag"):
            return {}
        known = {label for row in splits["train"] for label in row_labels(row)}
        unseen: dict[str, dict[str, int]] = {}
        for name in ("valid", "test"):
            counts = Counter(
                label for row in splits[name] for label in row_labels(row) if label not in known
            )
            if not counts:
                continue
            unseen[name] = dict(counts)
            shown = ", ".join(f"{label!r} ({n})" for label, n in counts.most_common(5))
            message = f"{name} has labels that no training row has: {shown}"
            if self.spec.unseen_labels == "fail":
                raise InvalidInputError(
                    f"{message}. Add training rows, rename with data.label_map, or set "
                    "data.unseen_labels to reject or keep."
                )
            self.ledger.warn(message + ".")
            if self.spec.unseen_labels == "reject":
                splits[name] = self._known_only(splits[name], known)
        return unseen

    def _known_only(self, rows: Sequence[Row], known: set[str]) -> list[Row]:
        kept = []
        for row in rows:
            strange = [label for label in row_labels(row) if label not in known]
            if strange:
                detail = ", ".join(strange)
                self.ledger.reject(row.source, "label not in train", detail, row_texts(row)[0])
            else:
                kept.append(row)
        return kept

    def _require_rows(self, rows: Sequence[Row]) -> None:
        if rows:
            return
        reasons = ", ".join(f"{n} × {reason}" for reason, n in self.ledger.rejected.most_common(5))
        raise InvalidInputError(
            "data.train gives no usable row. "
            + (f"Rejected: {reasons}." if reasons else "The files are empty.")
        )

    def _require_learnable(self, splits: Mapping[str, Sequence[Row]]) -> None:
        """Refuse training rows from which nothing can be told apart."""
        rows = splits["train"]
        self._require_rows(rows)
        labels = sorted({label for row in rows for label in row_labels(row)})
        if self.kind == "classify" and len(labels) < (1 if self.spec.multi_label else 2):
            raise InvalidInputError(
                f"All {len(rows)} training rows have "
                + (f"one label, {labels[0]!r}" if labels else "no label")
                + "; a classifier needs two. Is columns.label the right column?"
            )
        if self.kind == "tag" and not labels:
            raise InvalidInputError(
                "No training row has an entity. Are columns.tags and columns.entities right?"
            )
        if self.kind == "pairs" and len(labels) == 1:
            self.ledger.warn(f"All training pairs have the label {labels[0]}.")
        if self.kind == "read" and labels == ["no_answer"]:
            raise InvalidInputError("No training question has an answer; a reader needs some.")

    def _suspects(self, rows: Sequence[Row]) -> int | None:
        """Write down suspected label errors, where asked for and possible."""
        if not self.spec.label_errors:
            return None
        if self._read_kind != "classify" or self.spec.multi_label:
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
        if self._read_kind == self.kind:
            return splits
        rules, seed = self.spec.pairing, self.spec.split.seed
        return {
            name: list(same_label_pairs(rows, rules, seed=seed)) for name, rows in splits.items()
        }

    # --- the card

    def _card(self, splits: Mapping[str, Sequence[Row]], leaks: LeakReport) -> DataCard:
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
            {name: split_card(rows) for name, rows in splits.items()},
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
