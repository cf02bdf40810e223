"""Readers on real tables: questions of TAT-QA that one cell of an annual report's table answers.

    python -m benchmarks.table_reading DATA [--reader NAME ...]

DATA holds the public set ``tatqa``; the reader in use is measured where none is named. Tables are
written as ingest writes them, one line a row; the confidence is fitted on every other one, so those
are left out. A question is put to the row that answers it with its
neighbours, and to the same lines without that row, where it
must say that there is no answer. No reader has been trained on any of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from assistant.evaluation import reading_report
from assistant.models.loading import open_reader
from assistant.settings import Settings
from indexes.loaders.tables import render_table

NEIGHBOURS = 2


@dataclass(frozen=True)
class Asked:
    """A question, the cell that answers it, and the lines with and without its row."""

    question: str
    answer: str
    with_row: str
    without_row: str


def questions(path: Path) -> Iterator[Asked]:
    """Yield the questions of one cell that stands in just one row of its table."""
    for line in path.read_text("utf-8").splitlines()[1::2]:
        item = json.loads(line)
        lines = render_table(item["table"]["table"])
        for one in item["questions"]:
            own = one["answer_type"] == "span" and one["answer_from"].startswith("table")
            if not own or one["req_comparison"] or len(one["answer"]) != 1:
                continue
            answer = one["answer"][0]
            rows = [place for place, text in enumerate(lines) if answer in text]
            if len(rows) == 1 and f"{lines[rows[0]]}; ".count(f"{answer};") == 1:
                yield _asked(one["question"], answer, lines, rows[0])


def _asked(question: str, answer: str, lines: list[str], row: int) -> Asked:
    near = range(max(0, row - NEIGHBOURS), min(len(lines), row + NEIGHBOURS + 1))
    return Asked(
        question,
        answer,
        "\n".join(lines[place] for place in near),
        "\n".join(lines[place] for place in near if place != row),
    )


def measured(settings: Settings, name: str | None, asked: list[Asked]) -> dict[str, str | float]:
    """Return how often the cell is found, and how often a table without it is left alone."""
    alone = [one for one in asked if one.without_row]
    with closing(open_reader(settings, name)) as reader:
        found = reader.read_pairs([(one.question, one.with_row) for one in asked])
        bare = reader.read_pairs([(one.question, one.without_row) for one in alone])
    report = reading_report(
        ["" if one.no_answer else one.text for one in found], [[one.answer] for one in asked]
    )
    told = {key: f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for key, m in report.metrics.items()}
    left = round(sum(one.no_answer for one in bare) / len(bare), 3)
    return {"questions": len(asked), **told, "left alone": left, "of": len(alone)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reader", action="append", help="a version (wiki, wiki@v1) or a folder")
    options = parser.parse_args()
    asked = list(questions(options.data / "tatqa" / "dev.jsonl"))
    names = options.reader or [None]
    print(json.dumps({str(n): measured(Settings(), n, asked) for n in names}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
