"""What the confidence is fitted on: questions that must be answered, and ones that must not."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import tiny_rows

from indexes.loaders import load
from training.calibration.cases import (
    NOISE,
    SMALL,
    SMALL_STRANGERS,
    STRANGERS,
    Case,
    Reading,
    parallel,
    reading,
    small,
    small_faq,
    small_tables,
    with_noise,
)
from training.calibration.noise import LONGEST, noise

DAILY_EN = [f"what is the weather on day {n}" for n in range(40)]
DAILY_ZH = [f"第{n}天天气怎么样" for n in range(40)]
STRANGE = (DAILY_EN, DAILY_ZH)


def rows(count: int, asked: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Paragraphs of one fact each and, of each, one question."""
    paragraphs = [
        {"pid": f"p{n}", "title": "Fees", "context": f"The fee of plan {n} is {n} pounds."}
        for n in range(count)
    ]
    questions = [
        {
            "id": f"q{n}",
            "pid": f"p{n}",
            "question": asked.format(n),
            "answers": [{"text": f"{n} p"}],
        }
        for n in range(count)
    ]
    return paragraphs, questions


def test_documents_are_asked_about_other_things_in_both_languages(tmp_path: Path) -> None:
    paragraphs, questions = rows(40, "What does plan {} cost?")
    source = Reading(
        "fees",
        tiny_rows.write(tmp_path / "paragraphs.jsonl", paragraphs),
        tiny_rows.write(tmp_path / "questions.jsonl", questions),
    )
    found = reading(source, tmp_path, 20, STRANGE)
    own = [case for case in found.cases if case.question.startswith("What does plan")]
    strange = [case for case in found.cases if case not in own]
    assert len(own) == 20
    for pool in STRANGE:
        assert sum(case.question in pool for case in strange) == round(STRANGERS * 20)
    assert not any(case.texts or case.faq_ids for case in strange)
    known = {path.stem for path in found.document_paths[0].iterdir()}
    assert 0 < len(known) < 40
    for case in own:
        plan = case.question.split()[3]
        assert case.texts == ((f"{plan} p",) if f"p{plan}" in known else ())


def test_small_collections_hold_one_paragraph_and_answer_only_about_it(tmp_path: Path) -> None:
    paragraphs, english = rows(20, "What does plan {} cost?")
    chinese = [
        {**q, "question": f"{q['pid']}要多少钱", "answers": [{"text": "镑"}]} for q in english
    ]
    path = tiny_rows.write(tmp_path / "paragraphs.jsonl", paragraphs)
    asked = (
        tiny_rows.write(tmp_path / "en.jsonl", english),
        tiny_rows.write(tmp_path / "zh.jsonl", chinese),
    )
    sets = list(small(path, asked, tmp_path, STRANGE))
    assert len({one.name for one in sets}) == SMALL
    assert {one.name.partition("/")[0] for one in sets} == {"small"}
    for one in sets:
        (file,) = one.document_paths[0].iterdir()
        right = [case for case in one.cases if case.texts]
        assert [case.question for case in right] == [
            f"What does plan {file.stem[1:]} cost?",
            f"{file.stem}要多少钱",
        ]
        # The answer must stand in the paragraph, whatever language asks for it.
        assert all(case.texts[0] in file.read_text(encoding="utf-8") for case in right)
        assert len(one.cases) == 2 + 2 * SMALL_STRANGERS


def tat_qa(number: int) -> dict[str, Any]:
    """A table with a paragraph and its questions, as TAT-QA has them."""
    plan = f"Longplan{number}"
    told: dict[str, Any] = {"answer_type": "span", "req_comparison": False}
    return {
        "table": {"table": [["", "2019", "2018"], [f"{plan} sales", f"1,{number}7", "<5"]]},
        "paragraphs": [{"text": f"{plan} is sold by the month."}],
        "questions": [
            {"question": f"What were {plan} sales?", "answer": [f"1,{number}7"], **told},
            {"question": f"Was {plan} larger?", "answer": ["2019"], **told, "req_comparison": True},
            {"question": f"Change of {plan}?", "answer": 3.2, **told, "answer_type": "arithmetic"},
        ],
    }


def test_small_tables_are_asked_what_a_cell_says_and_what_none_does(tmp_path: Path) -> None:
    path = tiny_rows.write(tmp_path / "tables.jsonl", [tat_qa(n) for n in range(100, 120)])
    sets = list(small_tables(path, tmp_path, STRANGE))
    # Every other table is kept for the benchmark.
    assert sorted(one.name for one in sets) == sorted(f"small-table/{n}" for n in range(10))
    assert {one.family for one in sets} == {"small-table"}
    for one in sets:
        document = load(one.document_paths[0] / "report.html", source="report")
        (right,) = [case for case in one.cases if case.texts]
        number = 100 + 2 * int(one.name.partition("/")[2])
        assert right == Case(f"What were Longplan{number} sales?", texts=(f"1,{number}7",))
        assert f"Longplan{number} sales; 2019: 1,{number}7; 2018: <5" in document.text
        wrong = [case.question for case in one.cases if not case.texts]
        assert len(wrong) == 3 and not any(f"Longplan{number}" in text for text in wrong)
        assert sum(text.startswith("What were Longplan") for text in wrong) == 1


def test_small_faqs_are_asked_what_they_answer_and_as_much_that_they_do_not(tmp_path: Path) -> None:
    rows = [(f"question {n} about {intent}", intent) for intent in "abcdef" for n in range(9)]
    intent_of = dict(rows)
    sets = list(small_faq(rows, tmp_path, STRANGE))
    assert [len(one.faq_files[0].read_text().splitlines()) for one in sets[:4]] == [1, 2, 3, 1]
    assert len(sets) == SMALL
    for one in sets:
        text = one.faq_files[0].read_text(encoding="utf-8")
        entries = {row["id"]: row for row in map(json.loads, text.splitlines())}
        right = [case for case in one.cases if case.faq_ids]
        assert len(right) == 4 * len(entries)
        for case in right:
            (entry,) = case.faq_ids
            assert intent_of[case.question] == entry
            assert case.question != entries[entry]["question"]
        wrong = [case.question for case in one.cases if not case.faq_ids]
        near = [question for question in wrong if question in intent_of]
        assert len(near) == len(right)
        assert not {intent_of[question] for question in near} & set(entries)
        assert len(wrong) == len(right) + 2 * SMALL_STRANGERS


def test_entries_are_asked_for_in_another_language(tmp_path: Path) -> None:
    rows = [(f"What does plan {n} cost?", f"套餐{n}要多少钱") for n in range(90)]
    found = parallel("plans", rows, tmp_path, 60)
    text = found.faq_files[0].read_text(encoding="utf-8")
    entries = {row["id"]: row["question"] for row in map(json.loads, text.splitlines())}
    assert len(found.cases) == 60 and len(entries) == 40
    meant = {zh: en for en, zh in rows}
    for case in found.cases:
        known = meant[case.question] in entries.values()
        assert len(case.faq_ids) == known
        assert all(entries[own] == meant[case.question] for own in case.faq_ids)


def test_every_set_is_asked_noise_that_nothing_answers(tmp_path: Path) -> None:
    pairs = [(f"What does plan {n} cost?", f"计划{n}多少钱？") for n in range(80)]
    plain = parallel("plans", pairs, tmp_path, 60)
    found = with_noise(plain)
    assert found.cases[:60] == plain.cases == with_noise(found).cases[:60]
    more = found.cases[60:]
    assert len(more) == 1 + round(NOISE * 60)
    assert not any(case.texts or case.faq_ids for case in more)
    assert found == with_noise(plain)


def test_noise_is_short_and_long_of_few_words_and_many() -> None:
    rng = random.Random(3)
    texts = [noise(rng) for _ in range(400)]
    assert all(0 < len(text) <= LONGEST and text == text.strip(" ") for text in texts)
    short = sum(len(text) < 40 for text in texts)
    assert 100 < short < 300
    words = [Counter(text.split()) for text in texts if " " in text and len(text) > 400]
    assert any(len(counts) <= 2 for counts in words) and any(len(counts) > 50 for counts in words)
    assert any(not text.isascii() for text in texts)
