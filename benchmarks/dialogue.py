"""Decisions on the example bank's test questions: kinds expected and taken, answers right.

    python benchmarks/dialogue.py [--split test] [--errors]

Each question is asked through the runtime; earlier questions of a conversation are asked first.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Answer, Question, Scope

BANK = Path(__file__).parents[1] / "examples" / "bank"
ANSWERS = {"faq", "grounded"}


def fold(text: str) -> str:
    return "".join(text.casefold().split())


def ask(runtime: Runtime, row: dict) -> Answer:
    conversation = None
    for text in (*(row.get("history") or ()), row["question"]):
        answer = runtime.answer(Question(text, Scope(), conversation))
        conversation = answer.conversation_id
    return answer


def is_right(row: dict, answer: Answer) -> bool:
    """An answer is right when it is the approved entry, or states the expected text."""
    if row.get("expected_faq_id") and answer.faq_id == row["expected_faq_id"]:
        return True
    expected = row.get("expected_text")
    return bool(expected) and fold(expected) in fold(answer.answer)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=("test", "calibration"))
    parser.add_argument("--error-rate", type=float, default=Settings().error_rate)
    parser.add_argument("--errors", action="store_true", help="list what went wrong")
    options = parser.parse_args()
    with (BANK / "questions.jsonl").open(encoding="utf-8") as lines:
        rows = [r for r in map(json.loads, lines) if r["split"] == options.split]
    with tempfile.TemporaryDirectory() as folder:
        runtime = Runtime.open(Settings(data_dir=Path(folder), error_rate=options.error_rate))
        runtime.ingest([BANK / "faq_en.csv", BANK / "faq_zh.csv"], Scope(), faq=True)
        runtime.ingest([BANK / "documents"], Scope())
        taken: dict[str, Counter[str]] = defaultdict(Counter)
        answered = right = unsure = offered = 0
        for row in rows:
            answer = ask(runtime, row)
            kind = answer.kind.value
            taken[row["expected_kind"]][kind] += 1
            good = is_right(row, answer)
            if kind in ANSWERS:
                answered += 1
                right += good
            elif row["expected_kind"] in ANSWERS:
                unsure += 1
                offered += row.get("expected_faq_id") in {c.id for c in answer.candidates}
            if (
                options.errors
                and (kind not in ANSWERS or not good)
                and kind != row["expected_kind"]
            ):
                tops = [c.question for c in answer.candidates]
                want = row.get("expected_faq_id") or row.get("expected_text")
                print(
                    f"{row['expected_kind']:>9} {kind:<9} {answer.confidence:.2f} "
                    f"{row['question']!r} want {want!r}"
                    f" got {answer.faq_id or answer.answer[:80]!r} {tops}"
                )
        runtime.close()
    answerable = sum(r["expected_kind"] in ANSWERS for r in rows)
    print(
        json.dumps(
            {
                "questions": len(rows),
                "answerable": answerable,
                "answered": answered,
                "answered_right": right,
                "risk": round(1 - right / answered, 3) if answered else None,
                "answerable_answered_right": round(right / answerable, 3),
                "not_answered_though_answerable": unsure,
                "of_those_right_entry_offered": offered,
                "kinds": {k: dict(v) for k, v in sorted(taken.items())},
            },
            indent=1,
            ensure_ascii=False,
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
