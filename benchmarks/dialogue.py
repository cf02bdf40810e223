"""Decisions on the example bank's test questions: kinds expected and taken, answers right.

    python benchmarks/dialogue.py [--split test] [--errors] [--parts] [--elsewhere]

Each question is asked through the runtime; earlier questions of a conversation are asked first.
``--parts`` measures retrieval alone, with the reranker, and with reranker and reader.
``--elsewhere`` follows each conversation up with things that the bank has nothing about.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Answer, Question, Scope

BANK = Path(__file__).parents[1] / "examples" / "bank"
ANSWERS = {"faq", "grounded"}
DECLINES = {"clarify", "abstain"}
PARTS: dict[str, dict] = {
    "retrieval": {"rerank": 0},
    "and reranker": {"reader": False},
    "and reader": {"reader": True},
}
ELSEWHERE = {
    "en": (
        "and the diamond card?",
        "what about bitcoin?",
        "and for my dog?",
        "what about a passport?",
        "and the weather?",
        "what about an iPhone?",
        "and for pilots?",
        "what about gold bars?",
    ),
    "zh": (
        "那钻石卡呢？",
        "那比特币呢？",
        "那我的狗呢？",
        "那护照呢？",
        "那天气呢？",
        "那苹果手机呢？",
        "那黑卡呢？",
        "那飞机票呢？",
    ),
}


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


def decisions(settings: Settings, rows: list[dict], *, tell: bool = False) -> dict:
    """Ask every row of the example bank in a data folder of its own; return what came out.

    ``tell`` prints what went wrong.
    """
    runtime = Runtime.open(settings)
    runtime.ingest([BANK / "faq_en.csv", BANK / "faq_zh.csv"], Scope(), faq=True)
    runtime.ingest([BANK / "documents"], Scope())
    runtime.warm_up()
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    answered = right = unsure = offered = held = 0
    took: list[Mapping[str, float]] = []
    for row in rows:
        answer = ask(runtime, row)
        kind = answer.kind.value
        taken[row["expected_kind"]][kind] += 1
        took.append(answer.timings_ms)
        good = is_right(row, answer)
        if kind in ANSWERS:
            answered += 1
            right += good
        elif row["expected_kind"] in ANSWERS:
            unsure += 1
            offered += row.get("expected_faq_id") in {c.id for c in answer.candidates}
        elif row["expected_kind"] in DECLINES:
            held += 1
        if tell and (kind not in ANSWERS or not good) and kind != row["expected_kind"]:
            _tell(row, answer)
    runtime.close()
    answerable = sum(r["expected_kind"] in ANSWERS for r in rows)
    names = sorted({name for one in took for name in one})
    return {
        "questions": len(rows),
        "answerable": answerable,
        "answered": answered,
        "answered_right": right,
        "risk": round(1 - right / answered, 3) if answered else None,
        "answerable_answered_right": round(right / answerable, 3) if answerable else None,
        "not_answered_though_answerable": unsure,
        "of_those_right_entry_offered": offered,
        "unanswerable": sum(r["expected_kind"] in DECLINES for r in rows),
        "unanswerable_declined": held,
        "kinds": {k: dict(v) for k, v in sorted(taken.items())},
        "ms_median": {
            name: round(statistics.median(one.get(name, 0.0) for one in took), 2) for name in names
        },
    }


def elsewhere(rows: list[dict]) -> list[dict]:
    """Return the conversations of ``rows``, each followed up with what the bank has nothing of."""
    return [
        {"history": row["history"], "question": text, "expected_kind": "abstain"}
        for row in rows
        if row.get("history")
        for text in ELSEWHERE[row["language"]]
    ]


def questions(split: str) -> list[dict]:
    with (BANK / "questions.jsonl").open(encoding="utf-8") as lines:
        return [r for r in map(json.loads, lines) if r["split"] == split]


def _tell(row: dict, answer: Answer) -> None:
    tops = [c.question for c in answer.candidates]
    want = row.get("expected_faq_id") or row.get("expected_text")
    print(
        f"{row['expected_kind']:>9} {answer.kind.value:<9} {answer.confidence:.2f} "
        f"{row['question']!r} want {want!r}"
        f" got {answer.faq_id or answer.answer[:80]!r} {tops}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="test", choices=("test", "calibration"))
    parser.add_argument("--error-rate", type=float, default=Settings().error_rate)
    parser.add_argument("--errors", action="store_true", help="list what went wrong")
    parser.add_argument("--parts", action="store_true", help="without and with each model")
    parser.add_argument("--elsewhere", action="store_true", help="follow-ups without an answer")
    options = parser.parse_args()
    rows, found = questions(options.split), {}
    if options.elsewhere:
        rows = elsewhere(rows)
    for name, own in PARTS.items() if options.parts else {"as set": {}}.items():
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(data_dir=Path(folder), error_rate=options.error_rate, **own)
            found[name] = decisions(settings, rows, tell=options.errors)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
