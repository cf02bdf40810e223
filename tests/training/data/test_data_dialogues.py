"""Tickets and conversations in several layouts, and the rows made of them; BEIR folders."""

from __future__ import annotations

import pytest
from data_helpers import read_all, spec_of, write_csv, write_jsonl

from assistant.errors import InvalidInputError
from training.data.ledger import Ledger

JDDC = {
    "session": "s1",
    "turns": [
        {"role": "user", "text": "人工客服在吗"},
        {"role": "user", "text": "地址可以修改吗"},
        {"role": "agent", "text": "同城可以联系配送员修改"},
        {"role": "user", "text": "好"},
        {"role": "agent", "text": "请问还有什么可以帮您"},
        {"role": "user", "text": "没有了谢谢"},
    ],
}
SGD = {
    "dialogue_id": "d2",
    "turns": [
        {"speaker": "SYSTEM", "utterance": "Welcome to the bank."},
        {"speaker": "USER", "utterance": "What is my balance?", "intents": ["CheckBalance"]},
        {"speaker": "SYSTEM", "utterance": "In checking or savings?"},
    ],
}


@pytest.fixture
def spec(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [JDDC, SGD])
    return spec_of(tmp_path, train="t.jsonl")


def test_turns_become_question_and_answer(spec):
    ledger = Ledger()
    rows = read_all(spec, "pairs", ledger)
    assert [(row.text_a, row.text_b, row.group) for row in rows] == [
        ("人工客服在吗\n地址可以修改吗", "同城可以联系配送员修改", "s1"),
        ("What is my balance?", "In checking or savings?", "d2"),
    ]
    assert ledger.rejected == {"turn too short to pair": 1}


def test_set_phrases_are_no_answers(tmp_path):
    turns = [
        {"role": "user", "text": "question number {}"},
        {"role": "agent", "text": "One moment."},
    ]
    rows = [
        {"id": str(i), "turns": [{**turns[0], "text": f"question number {i}"}, turns[1]]}
        for i in range(6)
    ]
    write_jsonl(tmp_path / "t.jsonl", rows)
    ledger = Ledger()
    assert read_all(spec_of(tmp_path, train="t.jsonl"), "pairs", ledger) == []
    assert ledger.rejected == {"set phrase as answer": 6}
    more = spec_of(tmp_path, train="t.jsonl", pairing={"max_repeats": 6})
    assert len(read_all(more, "pairs")) == 6


def test_turns_become_intents(spec):
    ledger = Ledger()
    (row,) = read_all(spec, "classify", ledger)
    assert (row.text, row.labels, row.group) == ("What is my balance?", ("CheckBalance",), "d2")
    assert ledger.rejected == {"no label": 3}


def test_turns_become_chats_and_text(spec):
    chats = read_all(spec, "chat")
    assert [m.role for m in chats[0].messages] == ["user", "assistant"] * 2
    assert chats[1].messages[0].content == "What is my balance?"
    assert read_all(spec, "text")[1].text.splitlines() == [t["utterance"] for t in SGD["turns"]]


def test_a_turn_a_row(tmp_path):
    rows = [
        ["T1", "customer", "How do I close it?"],
        ["T2", "customer", "Where is my card?"],
        ["T1", "agent", "At any branch."],
        ["T2", "agent", "It was sent on Monday."],
        ["T2", "robot", "beep"],
    ]
    write_csv(tmp_path / "train.csv", ["ticket", "side", "said"], rows)
    columns = {"group": "ticket", "role": "side", "utterance": "said"}
    ledger = Ledger()
    found = read_all(spec_of(tmp_path, columns=columns), "pairs", ledger)
    assert [(row.group, row.text_a, row.text_b) for row in found] == [
        ("T1", "How do I close it?", "At any branch."),
        ("T2", "Where is my card?", "It was sent on Monday."),
    ]
    assert ledger.rejected == {"unknown role": 1}


def test_broken_dialogues_are_counted(tmp_path):
    rows = [SGD, {"turns": []}, {"turns": ["hello"]}, {"turns": [{"role": "x", "text": "y"}]}]
    write_jsonl(tmp_path / "t.jsonl", rows)
    ledger = Ledger()
    spec = spec_of(tmp_path, train="t.jsonl", format="dialogue")
    assert len(read_all(spec, "pairs", ledger)) == 1
    assert ledger.rejected == {"no turns": 1, "bad turn": 1, "unknown role": 1}


def beir(tmp_path, qrels="q1\ta\t1\nq1\tb\t0\nq2\tb\t2\n"):
    write_jsonl(
        tmp_path / "corpus.jsonl",
        [{"_id": "a", "title": "Fees", "text": "It costs 5."}, {"_id": "b", "text": "Free."}],
    )
    write_jsonl(
        tmp_path / "queries.jsonl",
        [{"_id": "q1", "text": "How much?"}, {"_id": "q2", "text": "Free?"}],
    )
    (tmp_path / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}", encoding="utf-8")
    return spec_of(tmp_path, train=str(tmp_path))


def test_beir_folders_give_judged_pairs(tmp_path):
    rows = read_all(beir(tmp_path), "pairs")
    assert [(row.text_a, row.text_b) for row in rows] == [
        ("How much?", "Fees\nIt costs 5."),
        ("Free?", "Free."),
    ]
    assert rows[0].group != rows[1].group


def test_a_broken_beir_folder_is_named(tmp_path):
    spec = beir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"corpus\.jsonl"):
        read_all(spec, "pairs")


def test_the_example_tickets_give_answers_and_intents(root):
    spec = spec_of(
        root / "examples" / "bank",
        train="tickets.csv",
        columns={"label": "intent", "text_a": "text", "text_b": "resolution"},
    )
    intents = read_all(spec, "classify")
    pairs = read_all(
        spec.model_copy(update={"columns": spec.columns.model_copy(update={"label": None})}),
        "pairs",
    )
    assert len(intents) == len(pairs) > 100
    assert all(row.text and row.labels for row in intents)
    assert all(row.text_a and row.text_b and row.label is None for row in pairs)
