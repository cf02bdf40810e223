"""Rows: made from the example bank, from reading sets, by rule; and read from files."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from assistant.dialogue.figures import unsupported_figures
from assistant.errors import InvalidInputError
from assistant.models.generation.prompts import REFUSALS, read_grounded
from training.generator import data
from training.generator.data_bank import bank_rows, read_bank
from training.generator.data_reading import window
from training.generator.followups import pronominal, swapped, swaps
from training.generator.rows import Row, read_rows, write_rows


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (
            "What is the annual fee of the Classic credit card?",
            "What is the annual fee of the Gold credit card?",
            "Gold",
        ),
        ("补办借记卡多少钱？", "补办信用卡多少钱？", "信用"),
    ],
)
def test_a_swap_names_what_differs(first: str, second: str, names: str) -> None:
    language = "en" if first.isascii() else "zh"
    made = swapped(first, second, language, Random(0))  # type: ignore[arg-type]
    assert made is not None
    assert made.history == (first,) and made.standalone == second
    assert names in made.question
    assert len(made.question) < len(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How do I open an account?", "How do I close my card?"),
        ("What is a card?", "When are you open?"),
        ("What is a card?", "What is a card?"),
    ],
)
def test_what_shares_no_frame_makes_no_follow_up(first: str, second: str) -> None:
    assert swapped(first, second, "en", Random(0)) is None


def test_a_pronoun_stands_for_the_whole_name_only() -> None:
    first, second = "Who were the Normans?", "Where did the Normans live?"
    made = pronominal(first, second, "Normans", "en", Random(1))
    assert made is not None and made.question in ("Where did it live?", "Where did this live?")
    assert pronominal("The Normans?", "The Normans' king?", "Normans", "en", Random(0)) is None
    assert pronominal("Who?", second, "Normans", "en", Random(0)) is None
    zh = pronominal("《泡泡战士》是什么？", "《泡泡战士》由谁开发？", "泡泡战士", "zh", Random(0))
    assert zh is not None and zh.question in ("它由谁开发？", "这个由谁开发？")


def test_swaps_are_bounded() -> None:
    questions = [
        f"What is the annual fee of the {n} credit card?" for n in ("A1", "B2", "C3", "D4")
    ]
    assert len(swaps(questions, "en", Random(0), per_question=2)) == 8


@pytest.fixture(scope="module")
def bank_splits(root: Path) -> tuple[list[Row], list[Row]]:
    bank = read_bank(root / "examples" / "bank", "en")
    return bank_rows(bank, "train", Random(1)), bank_rows(bank, "test", Random(1))


def test_bank_answers_stand_in_their_evidence(bank_splits: tuple[list[Row], list[Row]]) -> None:
    for row in bank_splits[0] + bank_splits[1]:
        reply = read_grounded(row.response)
        if row.task == "answer":
            assert len(reply.cited) == 1
            assert not unsupported_figures(reply.text, row.evidence)
            cited = row.prompt.splitlines()[reply.cited[0]]
            assert " ".join(row.references[0].split()) in cited
        elif row.task == "refuse":
            assert row.response == REFUSALS["en"] and reply.refused


def test_held_out_entries_are_never_learnt(
    root: Path, bank_splits: tuple[list[Row], list[Row]]
) -> None:
    bank = read_bank(root / "examples" / "bank", "en")
    held_out = {e.answer for e in bank.entries if e.id in bank.held_out()}
    train, test = bank_splits
    learnt = {row.references[0] for row in train if row.task == "answer"}
    assert held_out and not learnt & held_out
    assert {row.prompt for row in test} - {row.prompt for row in train}
    assert {row.task for row in test} == {"answer", "refuse", "rewrite"}


@pytest.mark.slow
def test_the_command_writes_leak_free_splits(root: Path, dev_data: Path, tmp_path: Path) -> None:
    given = ["--bank", str(root / "examples" / "bank"), "--sets", str(dev_data)]
    assert data.main([*given, "--output", str(tmp_path), "--per-kind", "30"]) == 0
    splits = {n: read_rows(tmp_path / f"{n}.jsonl") for n in ("train", "valid", "test")}
    groups = {n: {r.group for r in rows} for n, rows in splits.items()}
    shared = groups["train"] & groups["test"]
    assert not {g for g in shared if not g.startswith("bank:")}
    assert not {r.prompt for r in splits["train"]} & {r.prompt for r in splits["test"]}
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["counts"]["train"]["cmrc2018/answer/zh"] > 0
    assert card["licences"]["squad2"].startswith("CC-BY-SA-4.0")
    again = tmp_path / "again"
    assert data.main([*given, "--output", str(again), "--per-kind", "30"]) == 0
    assert json.loads((again / "card.json").read_text())["sha256"] == card["sha256"]


@pytest.mark.parametrize("seed", range(5))
def test_a_window_is_whole_sentences_with_the_answer(seed: int) -> None:
    text = "First one here. The fee is CNY 25 a month. It is waived for some. Last sentence now."
    cut = window(text, "fee?", "CNY 25", 60, Random(seed))
    assert cut is not None and cut in text and "CNY 25" in cut and len(cut) <= 60
    assert cut.endswith(".")
    assert window(text, "fee?", "CNY 25", 10, Random(seed)) is None
    about = window(text, "What is waived?", "", 30, Random(seed))
    assert about == "It is waived for some."


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    rows = [
        Row("问题：甲\n回答：", "乙", "answer", "zh", "g", "s", "e", ("乙", "丙")),
        Row("p", "r"),
    ]
    assert write_rows(tmp_path / "rows.jsonl", rows) == 2
    assert read_rows(tmp_path / "rows.jsonl") == [rows[0], Row("p", "r", references=("r",))]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1 is not JSON"),
        ("[1]", "not a JSON object"),
        ('{"prompt": "p"}', "no text in 'response'"),
        ('{"prompt": " ", "response": "r"}', "no text in 'prompt'"),
        ('{"prompt": 3, "response": "r"}', "no text in 'prompt'"),
        (json.dumps({"prompt": "p" * 5_000_000, "response": "r"}), "5000000 characters"),
        ("", "holds no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        read_rows(path)


def test_other_encodings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"prompt": "年费", "response": "十"}'.encode("gb18030"))
    with pytest.raises(InvalidInputError, match="UTF-8"):
        read_rows(path)
