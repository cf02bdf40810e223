"""Which file of a folder is taken; every public set at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served_models import write

from assistant.errors import InvalidInputError
from assistant.evaluation.folders import choose_file
from assistant.evaluation.questions import read_reading_set
from assistant.evaluation.sentences import read_tagged_set
from assistant.evaluation.tables import read_classify_set, read_pair_set

# --- which file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["train.csv", "valid.csv", "test.csv"], "test.csv"),
        (["train.csv", "dev.jsonl"], "dev.jsonl"),
        (["bank_train.csv", "bank_test.csv", "bank_dev.csv"], "bank_test.csv"),
        (["test.csv", "test_hard.csv"], "test.csv"),
        (["faq.jsonl", "README.md", "LICENSE.csv", ".hidden.csv"], "faq.jsonl"),
        (["train.tsv"], "train.tsv"),
    ],
)
def test_the_file_a_folder_means(names: list[str], taken: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, "x")
    assert choose_file(tmp_path, (".csv", ".tsv", ".jsonl")).name == taken
    assert choose_file(tmp_path / names[0], (".csv",)).name == names[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no data file; one of .csv"),
        (["notes.txt"], "no data file"),
        (["a.csv", "b.csv"], r"2 files could be meant \(a.csv, b.csv\); give one of them"),
        (["finance_valid.csv", "insurance_valid.csv", "train.csv"], "2 files could be meant"),
        ([f"{n}.csv" for n in range(9)], "and 4 more"),
    ],
)
def test_a_folder_that_does_not_say_which(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, "x")
    with pytest.raises(InvalidInputError, match=message):
        choose_file(tmp_path, (".csv",))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file or folder"):
        choose_file(tmp_path / "gone", (".csv",))


# --- every set at hand -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "name", "rows"),
    [
        (lambda path: read_classify_set(path).rows, "banking77", 1000),
        (lambda path: read_classify_set(path).rows, "clinc150", 3093),
        (lambda path: read_classify_set(path).rows, "finnl_topics", 4000),
        (lambda path: read_classify_set(path).rows, "german_credit", 800),
        (lambda path: read_pair_set(path).rows, "lcqmc", 7981),
        (lambda path: read_pair_set(path).rows, "bq_corpus", 9465),
        (lambda path: read_reading_set(path).questions, "squad2", 2892),
        (lambda path: read_reading_set(path).questions, "cmrc2018", 1585),
        (lambda path: read_reading_set(path / "zh_questions.jsonl").questions, "xquad", 574),
        (lambda path: read_tagged_set(path).sentences, "conll2003_ner", 3186),
        (lambda path: read_tagged_set(path).sentences, "resume_ner", 462),
        (lambda path: read_tagged_set(path).sentences, "weibo_ner", 262),
    ],
)
def test_public_sets_are_read_whole(
    read: Callable[[Path], Any], name: str, rows: int, dev_data: Path
) -> None:
    assert len(read(dev_data / name)) == rows
