"""Which questions of a public set the benchmark of readers on tables puts, and to what lines."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.table_reading import NEIGHBOURS, questions

ROWS = [["", "2019", "2018"], *([f"Item {n}", f"{n}00", f"{n}50"] for n in range(1, 8))]
SPAN = {"answer_type": "span", "answer_from": "table-text", "req_comparison": False}


def item(*asked: dict[str, object]) -> str:
    found = [{"question": f"q{n}", **SPAN, **one} for n, one in enumerate(asked)]
    return json.dumps({"table": {"table": ROWS}, "paragraphs": [], "questions": found})


def test_only_questions_of_one_cell_are_put_to_its_row_and_to_the_lines_without_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "dev.jsonl"
    asked = item(
        {"answer": ["450"]},
        {"answer": ["2019"], "req_comparison": True},
        {"answer": ["200", "250"]},
        {"answer": ["Item 9"]},
        {"answer": ["Item"]},
        {"answer": ["100"], "answer_from": "text"},
        {"answer": 3.5, "answer_type": "arithmetic"},
    )
    path.write_text("\n".join([item({"answer": ["100"]}), asked]), encoding="utf-8")
    # Every other table fits the confidence.
    (one,) = questions(path)
    assert (one.question, one.answer) == ("q0", "450")
    lines = [f"Item {n}; 2019: {n}00; 2018: {n}50" for n in range(2, 7)]
    assert one.with_row.split("\n") == lines
    assert len(lines) == 2 * NEIGHBOURS + 1
    assert one.without_row.split("\n") == [line for line in lines if "450" not in line]
