"""Reading examples: SQuAD 1.1 and 2.0, questions beside their paragraphs, wrong answer starts."""

from __future__ import annotations

import json

from data_helpers import read_all, spec_of, write_jsonl

from training.data.ledger import Ledger
from training.data.rows import ReadingAnswer

CONTEXT = "The fee is 5 EUR. In Bern the fee is 6 EUR."


def squad(tmp_path, questions):
    article = {"title": "t", "paragraphs": [{"context": CONTEXT, "qas": questions}]}
    value = {"version": "v2.0", "data": [article, {"paragraphs": []}]}
    (tmp_path / "t.json").write_text(json.dumps(value), encoding="utf-8")
    return spec_of(tmp_path, train="t.json")


def test_squad_json(tmp_path):
    spec = squad(
        tmp_path,
        [
            {
                "id": "1",
                "question": "How much?",
                "answers": [{"text": "5 EUR", "answer_start": 11}],
            },
            {
                "id": "2",
                "question": "Who?",
                "answers": [],
                "is_impossible": True,
                "plausible_answers": [{"text": "Bern", "answer_start": 21}],
            },
        ],
    )
    first, second = read_all(spec, "read")
    assert first.answers == (ReadingAnswer("5 EUR", 11),)
    assert first.context[11:16] == "5 EUR"
    assert second.answers == ()
    assert first.group == second.group != ""


def test_wrong_starts_are_mended_to_the_nearest_place(tmp_path):
    spec = squad(
        tmp_path,
        [
            {"id": "1", "question": "a?", "answers": [{"text": "fee", "answer_start": 33}]},
            {"id": "2", "question": "b?", "answers": [{"text": "fee", "answer_start": -1}]},
            {"id": "3", "question": "c?", "answers": [{"text": "7 EUR", "answer_start": 1}]},
            {
                "id": "4",
                "question": "d?",
                "answers": [
                    {"text": "7 EUR", "answer_start": 1},
                    {"text": " Bern ", "answer_start": 20},
                    {"text": "Bern", "answer_start": 21},
                ],
            },
        ],
    )
    ledger = Ledger()
    rows = read_all(spec, "read", ledger)
    assert [row.id for row in rows] == ["1", "2", "4"]
    assert rows[0].answers == (ReadingAnswer("fee", CONTEXT.rindex("fee")),)
    assert rows[1].answers == (ReadingAnswer("fee", CONTEXT.index("fee")),)
    assert rows[2].answers == (ReadingAnswer(" Bern ", 20), ReadingAnswer("Bern", 21))
    assert ledger.rejected == {"answer not in context": 1}
    assert ledger.repairs == {
        "answer starts mended": 1,
        "answer starts found": 1,
        "answers that stand nowhere, left out": 2,
    }


def test_questions_joined_with_their_paragraphs(tmp_path):
    write_jsonl(tmp_path / "x_paragraphs.jsonl", [{"pid": "p1", "title": "t", "context": CONTEXT}])
    questions = [
        {"id": "1", "pid": "p1", "question": "a?", "answers": ["Bern"]},
        {"id": "2", "pid": "p1", "question": "b?", "answers": [{"text": "x", "answer_start": 0}],
         "is_impossible": True},
        {"id": "3", "pid": "p9", "question": "c?", "answers": []},
    ]  # fmt: skip
    write_jsonl(tmp_path / "x_questions.jsonl", questions)
    ledger = Ledger()
    rows = read_all(spec_of(tmp_path, train="x_questions.jsonl"), "read", ledger)
    assert [(row.id, row.group, len(row.answers)) for row in rows] == [
        ("1", "p1", 1),
        ("2", "p1", 0),
    ]
    assert ledger.rejected == {"no such paragraph": 1}
    (tmp_path / "x_paragraphs.jsonl").rename(tmp_path / "texts.jsonl")
    named = spec_of(tmp_path, train="x_questions.jsonl", paragraphs="texts.jsonl")
    assert read_all(named, "read") == rows


def test_questions_with_their_own_context_and_hugging_face_answers(tmp_path):
    row = {
        "id": 7,
        "question": "Where?",
        "context": CONTEXT,
        "answers": {"text": ["Bern"], "answer_start": [21]},
    }
    write_jsonl(tmp_path / "t.jsonl", [row, {**row, "answers": "5 EUR"}, {**row, "answers": 5}])
    ledger = Ledger()
    first, second = read_all(spec_of(tmp_path, train="t.jsonl"), "read", ledger)
    assert first.answers == (ReadingAnswer("Bern", 21),)
    assert second.answers == (ReadingAnswer("5 EUR", 11),)
    assert ledger.rejected == {"bad answers": 1}


def test_reading_files_give_pairs_of_question_and_passage(tmp_path):
    spec = squad(
        tmp_path,
        [
            {
                "id": "1",
                "question": "How much?",
                "answers": [{"text": "5 EUR", "answer_start": 11}],
            },
            {"id": "2", "question": "Who?", "answers": [], "is_impossible": True},
        ],
    )
    ledger = Ledger()
    (pair,) = read_all(spec, "pairs", ledger)
    assert (pair.text_a, pair.text_b, pair.label) == ("How much?", CONTEXT, None)
    assert ledger.rejected == {"question without an answer": 1}
