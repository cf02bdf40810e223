"""Files of other shapes join one set: own columns, own labels, own licence, own share."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from data_helpers import rejected_of, spec_of, topic_rows, write_csv, write_jsonl

from assistant.errors import InvalidInputError, NotFoundError
from training.data.leaks import LeakError
from training.data.pipeline import prepare
from training.data.rows import row_labels, row_texts

STRANGE = [
    {"say": f"please play song number {n * 37} by the {n} birds", "domain": "music"}
    for n in range(12)
]
FAR = [{"say": f"what is the weather {n * 91} miles from here", "domain": "far"} for n in range(12)]
NEAR = [{"say": f"money {n * 53} moved to account {n}", "domain": "banking"} for n in range(5)]


def spec(folder: Path, **also: Any) -> Any:
    write_csv(folder / "train.csv", ["text", "label"], topic_rows(20))
    write_jsonl(folder / "other.jsonl", [*STRANGE, *FAR, *NEAR])
    values: dict[str, Any] = {
        "train": "other.jsonl",
        "columns": {"text": "say", "label": "domain"},
        "label_map": {"banking": "", "*": "out_of_scope"},
        "licence": "CC-BY-3.0",
        **also,
    }
    return spec_of(folder, licence="MIT", also=[values], dedupe={"near": False})


def test_rows_join_under_labels_of_the_set(tmp_path: Path) -> None:
    found = prepare(spec(tmp_path), "classify", tmp_path / "out")
    every = [*found.train, *found.valid, *found.test]
    labels = Counter(row_labels(row)[0] for row in every)
    assert labels["out_of_scope"] == 24
    assert set(labels) == {"card", "loan", "login", "out_of_scope"}
    assert found.card.licences == ("CC-BY-3.0", "MIT")
    left_out = [r for r in rejected_of(found.folder) if "label_map" in r["reason"]]
    assert len(left_out) == len(NEAR)
    assert any(row_labels(row) == ("out_of_scope",) for row in found.test)


def test_what_they_give_can_be_bounded(tmp_path: Path) -> None:
    found = prepare(spec(tmp_path, max_rows=6), "classify", tmp_path / "out")
    every = [*found.train, *found.valid, *found.test]
    assert sum(row_labels(row) == ("out_of_scope",) for row in every) == 6
    again = prepare(spec(tmp_path, max_rows=6), "classify", tmp_path / "again")
    assert again.train == found.train
    other = prepare(spec(tmp_path, max_rows=7), "classify", tmp_path / "out")
    assert other.folder != found.folder


def test_splits_of_their_own_and_the_leak_check(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "held.jsonl", STRANGE[:3])
    with pytest.raises(LeakError):
        prepare(spec(tmp_path, test="held.jsonl"), "classify", tmp_path / "out")
    write_jsonl(tmp_path / "held.jsonl", [{"say": "name the tallest mountain", "domain": "geo"}])
    found = prepare(spec(tmp_path, test="held.jsonl"), "classify", tmp_path / "out")
    assert [row_texts(row)[0] for row in found.test] == ["name the tallest mountain"]
    assert row_labels(found.test[0]) == ("out_of_scope",)


def test_a_missing_file_or_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="others"):
        prepare(spec(tmp_path, train="others.jsonl"), "classify", tmp_path / "out")
    with pytest.raises(InvalidInputError, match="subject"):
        prepare(spec(tmp_path, columns={"text": "subject"}), "classify", tmp_path / "out")
