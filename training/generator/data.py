"""Build the training and test rows of the generator.

``python -m training.generator.data --bank examples/bank --sets FOLDER --output FOLDER`` writes
``train.jsonl``, ``valid.jsonl``, ``test.jsonl``, ``company.jsonl`` (plain text to pre-train on) and
``card.json`` with counts, licences and a hash. Without ``--sets`` only the bank is used. Rows of
squad2 and cmrc2018 are CC-BY-SA-4.0: keep them, and what is made from them, under that licence.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random

from training.generator.data_bank import LANGUAGES, bank_rows, company_text, read_bank
from training.generator.data_reading import answerable, follow_ups, read_set, unanswerable
from training.generator.rows import Language, Row, write_rows

LICENCES = {
    "bank": "Apache-2.0 (this repository)",
    "squad2": "CC-BY-SA-4.0 (chrischute/squad)",
    "cmrc2018": "CC-BY-SA-4.0 (ymcui/cmrc2018)",
}
_SETS: dict[Language, tuple[str, tuple[str, ...]]] = {
    "en": ("squad2", ("squad2",)),
    "zh": ("cmrc2018", ("trial", "dev_half")),
}
VALID_SHARE = 0.08
TEST_SHARE = 0.12


def build(
    bank: Path, sets: Path | None, per_kind: int, seed: int
) -> tuple[list[Row], list[Row], list[Row]]:
    """Return train, valid and test rows, shuffled, without a group on both sides.

    ``per_kind`` bounds the rows of each set, task and language.
    """
    random = Random(seed)
    train: list[Row] = []
    test: list[Row] = []
    for language in LANGUAGES:
        own = read_bank(bank, language)
        train += _bounded(bank_rows(own, "train", random), per_kind, random)
        test += _bounded(bank_rows(own, "test", random), per_kind, random)
        if sets is not None:
            for row in _bounded(_reading(sets, language, random), per_kind, random):
                (test if _place(row.group, "test") < TEST_SHARE else train).append(row)
    # Bank rows of both splits may share a question by chance (a FAQ wording asked again).
    seen = {row.prompt for row in test}
    train = [row for row in train if row.prompt not in seen]
    random.shuffle(train)
    random.shuffle(test)
    valid = [row for row in train if _place(row.group, "valid") < VALID_SHARE]
    train = [row for row in train if _place(row.group, "valid") >= VALID_SHARE]
    return train, valid, test


def card(splits: Mapping[str, Sequence[Row]]) -> dict[str, object]:
    """Return counts by split, source, task and language, the licences and a content hash."""
    digest = hashlib.sha256()
    counts: dict[str, dict[str, int]] = {}
    sources: set[str] = set()
    for name, rows in splits.items():
        counts[name] = dict(Counter(f"{r.source}/{r.task}/{r.language}" for r in rows))
        for row in rows:
            sources.add(row.source)
            digest.update(f"{name}\0{row.prompt}\0{row.response}\n".encode())
    licences = {s: LICENCES.get(s, "not stated") for s in sorted(sources)}
    return {"counts": counts, "licences": licences, "sha256": digest.hexdigest()}


def _reading(sets: Path, language: Language, random: Random) -> list[Row]:
    folder, prefixes = _SETS[language]
    asked = read_set(sets / folder, prefixes)
    random.shuffle(asked)
    if language == "en":
        plain = [a for a in asked if a.answers]
        # Natural unanswerable questions; those made from answerable ones would be easier.
        hard = [a for a in asked if not a.answers]
    else:
        half = len(asked) // 2
        plain, hard = asked[:half], asked[half:]
    return [
        *answerable(plain, language, random),
        *unanswerable(hard, language, random),
        *follow_ups(plain, language, random),
    ]


def _bounded(rows: Iterable[Row], per_kind: int, random: Random) -> list[Row]:
    shuffled = list(rows)
    random.shuffle(shuffled)
    taken: Counter[str] = Counter()
    kept = []
    for row in shuffled:
        taken[row.task] += 1
        if taken[row.task] <= per_kind:
            kept.append(row)
    return kept


def _place(group: str, salt: str) -> float:
    """Return a number in [0, 1) that depends on the group alone."""
    digest = hashlib.sha256(f"{salt}:{group}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, required=True, help="folder like examples/bank")
    parser.add_argument("--sets", type=Path, help="folder with squad2 and cmrc2018")
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    parser.add_argument("--per-kind", type=int, default=150, help="rows of a set, task, language")
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args(arguments)
    train, valid, test = build(given.bank, given.sets, given.per_kind, given.seed)
    given.output.mkdir(parents=True, exist_ok=True)
    splits = {"train": train, "valid": valid, "test": test}
    for name, rows in splits.items():
        write_rows(given.output / f"{name}.jsonl", rows)
    with (given.output / "company.jsonl").open("w", encoding="utf-8") as file:
        for text in company_text(given.bank):
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    report = json.dumps(card(splits), ensure_ascii=False, indent=2) + "\n"
    (given.output / "card.json").write_text(report, encoding="utf-8")
    sys.stdout.write(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
