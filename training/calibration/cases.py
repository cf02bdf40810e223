"""Labelled questions over small knowledge bases, made from public sets and the example bank.

A third of each set's entries is left out of the knowledge base: questions about those must not
be answered, as a customer's question about something the company never wrote about.
"""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 7
LEFT_OUT = 1 / 3


@dataclass(frozen=True, slots=True)
class Case:
    """A question with what counts as right; nothing counts when it must not be answered.

    ``faq_ids`` are entries that answer it, ``texts`` strings of which one must be in the answer.
    """

    question: str
    faq_ids: frozenset[str] = frozenset()
    texts: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True, slots=True)
class CaseSet:
    """A knowledge base as files to ingest, and questions to ask it."""

    name: str
    faq_files: tuple[Path, ...]
    document_paths: tuple[Path, ...]
    cases: tuple[Case, ...]


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a JSON-lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as rows:
        return list(csv.DictReader(rows))


def _write_faq(path: Path, rows: Sequence[tuple[str, str, Sequence[str]]]) -> Path:
    """Write ``(id, question, paraphrases)``; these sets have no answers, so the id stands in."""
    lines = (
        json.dumps({"id": i, "question": q, "answer": f"#{i}", "paraphrases": list(p)})
        for i, q, p in rows
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _split(items: Sequence[str], rng: random.Random) -> set[str]:
    """Return the two thirds that the knowledge base holds."""
    shuffled = sorted(items)
    rng.shuffle(shuffled)
    return set(shuffled[round(LEFT_OUT * len(shuffled)) :])


def intents(name: str, rows: Sequence[tuple[str, str]], out: Path, questions: int) -> CaseSet:
    """Entries from an intent set: three examples word an intent, others ask for it.

    ``rows`` are (text, intent); the intent ``oos`` is asked about but never known.
    """
    rng = random.Random(SEED)
    groups: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        groups[intent].append(text)
    known = _split([g for g in groups if g != "oos"], rng)
    faq, cases = [], []
    for intent, texts in sorted(groups.items()):
        rng.shuffle(texts)
        gold = frozenset({intent}) if intent in known else frozenset()
        if gold:
            faq.append((intent, texts[0], texts[1:3]))
        cases += [Case(t, gold) for t in texts[3:]]
    rng.shuffle(cases)
    return CaseSet(name, (_write_faq(out / f"{name}.jsonl", faq),), (), tuple(cases[:questions]))


def pairs(name: str, rows: Sequence[dict[str, Any]], out: Path, questions: int) -> CaseSet:
    """Entries from question pairs: one side of an equal pair is the entry, the other asks.

    Equal pairs are joined into groups first, so that no entry repeats another.
    """
    rng = random.Random(SEED)
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            text = parent[text]
        return text

    for row in rows:
        if int(row["label"]):
            parent[root(row["sentence1"])] = root(row["sentence2"])
    groups: dict[str, list[str]] = defaultdict(list)
    for text in sorted(parent):
        groups[root(text)].append(text)
    texts = sorted((g for g in groups.values() if len(g) > 1), key=lambda g: g[0])
    rng.shuffle(texts)
    texts = texts[:questions]
    known = _split([str(i) for i in range(len(texts))], rng)
    faq = [(str(i), g[0], ()) for i, g in enumerate(texts) if str(i) in known]
    cases = [
        Case(g[1], frozenset({str(i)}) if str(i) in known else frozenset())
        for i, g in enumerate(texts)
    ]
    return CaseSet(name, (_write_faq(out / f"{name}.jsonl", faq),), (), tuple(cases))


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a reading-comprehension set lies; ``gold`` may come from another language's file."""

    name: str
    paragraphs: Path
    questions: Path
    gold: Path | None = None


def reading(source: Reading, out: Path, questions: int) -> CaseSet:
    """Documents from a reading-comprehension set, one paragraph a file."""
    rng = random.Random(SEED)
    rows = read_jsonl(source.paragraphs)
    known = _split([r["pid"] for r in rows], rng)
    folder = out / source.name
    folder.mkdir()
    for row in rows:
        if row["pid"] in known:
            path = folder / f"{row['pid']}.md"
            path.write_text(f"# {row['title']}\n\n{row['context']}\n", encoding="utf-8")
    gold = {q["id"]: q for q in read_jsonl(source.gold)} if source.gold else {}
    cases = []
    for row in read_jsonl(source.questions):
        if row.get("is_impossible"):
            # Written against the very paragraph: telling these takes a reader, not retrieval.
            continue
        answers = gold.get(row["id"], row)["answers"]
        texts = tuple(dict.fromkeys(a["text"] for a in answers)) if row["pid"] in known else ()
        cases.append(Case(row["question"], texts=texts))
    rng.shuffle(cases)
    return CaseSet(source.name, (), (folder,), tuple(cases[:questions]))


def bank(examples: Path, split: str) -> CaseSet:
    """The example bank with its questions of one split."""
    rows = [r for r in read_jsonl(examples / "questions.jsonl") if r["split"] == split]
    cases = tuple(
        Case(
            r["question"],
            frozenset({r["expected_faq_id"]}) if r.get("expected_faq_id") else frozenset(),
            (r["expected_text"],) if r.get("expected_text") else (),
            tuple(r.get("history") or ()),
            r["expected_kind"],
        )
        for r in rows
    )
    faqs = (examples / "faq_en.csv", examples / "faq_zh.csv")
    return CaseSet(f"bank-{split}", faqs, (examples / "documents",), cases)


def all_sets(data: Path, examples: Path, out: Path, questions: int) -> Iterator[CaseSet]:
    """Yield every set, at most ``questions`` questions each; ``out`` takes the files made."""
    rows = [(r["text"], r["category"]) for r in read_csv(data / "banking77" / "train.csv")]
    yield intents("banking77", rows, out, questions)
    clinc = [(r["text"], r["intent"]) for r in read_jsonl(data / "clinc150" / "valid.jsonl")]
    yield intents("clinc150", clinc, out, questions)
    yield pairs("lcqmc", read_jsonl(data / "lcqmc" / "dev.jsonl"), out, questions)
    squad, cmrc, xquad = data / "squad2", data / "cmrc2018", data / "xquad"
    sources = (
        Reading("squad2", squad / "squad2_paragraphs.jsonl", squad / "squad2_questions.jsonl"),
        Reading("cmrc2018", cmrc / "dev_half_paragraphs.jsonl", cmrc / "dev_half_questions.jsonl"),
        Reading(
            "xquad-zh-en",
            xquad / "en_paragraphs.jsonl",
            xquad / "zh_questions.jsonl",
            xquad / "en_questions.jsonl",
        ),
    )
    for source in sources:
        yield reading(source, out, questions)
    yield bank(examples, "calibration")
