"""Labelled questions over small knowledge bases, made from public sets and the example bank.

A third of each set's entries is left out of the knowledge base: questions about those must not
be answered, as a customer's question about something the company never wrote about. Documents are
asked about things out of every day as well (strangers), in both languages, and every set noise.
"""

from __future__ import annotations

import csv
import html
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training.calibration.noise import noise

SEED = 7
LEFT_OUT = 1 / 3
STRANGERS = 0.25
"""Strangers in each language that documents are asked, as a share of the questions about them."""
NOISE = 0.05
"""Noise that every set is asked, as a share of its questions: long gibberish was answered at 0.53
by confidence that had never met any."""
SMALL = 12
"""Collections of one paragraph or of one to three entries, as on somebody's first day."""
SMALL_STRANGERS = 6
TABLES = 40
CALIBRATED_TABLES = slice(0, None, 2)
"""Collections of one table, and which of the public tables they are made of."""


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

    @property
    def family(self) -> str:
        """The set that it is part of to the fit: its name up to a slash."""
        return self.name.partition("/")[0]


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


def _by_intent(rows: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = defaultdict(list)
    for text, intent in rows:
        groups[intent].append(text)
    return groups


def _strange(rng: random.Random, strangers: Sequence[Sequence[str]], each: int) -> list[Case]:
    """Return ``each`` questions of every pool, none of which must be answered."""
    return [Case(text) for pool in strangers for text in rng.sample(pool, each)]


def _asked_for(
    name: str, rows: Sequence[tuple[str, str]], out: Path, rng: random.Random
) -> CaseSet:
    """Two thirds of ``rows`` (wording, question for it) as entries, and all of the questions."""
    known = _split([str(n) for n in range(len(rows))], rng)
    faq = [(str(n), wording, ()) for n, (wording, _) in enumerate(rows) if str(n) in known]
    cases = [Case(asked, frozenset({str(n)} & known)) for n, (_, asked) in enumerate(rows)]
    return CaseSet(name, (_write_faq(out / f"{name}.jsonl", faq),), (), tuple(cases))


def intents(name: str, rows: Sequence[tuple[str, str]], out: Path, questions: int) -> CaseSet:
    """Entries from an intent set: three examples word an intent, others ask for it.

    ``rows`` are (text, intent); the intent ``oos`` is asked about but never known.
    """
    rng, groups = random.Random(SEED), _by_intent(rows)
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


def small_faq(
    rows: Sequence[tuple[str, str]], out: Path, strangers: Sequence[Sequence[str]]
) -> Iterator[CaseSet]:
    """Yield collections of one to three entries, worded by one text an intent.

    Asked are other texts of these intents, as many of the other intents, and strangers.
    """
    rng, groups = random.Random(SEED), _by_intent(rows)
    for number in range(SMALL):
        known = rng.sample(sorted(groups), 1 + number % 3)
        worded = {intent: rng.sample(groups[intent], 5) for intent in known}
        faq = [(intent, texts[0], ()) for intent, texts in worded.items()]
        cases = [Case(t, frozenset({i})) for i, texts in worded.items() for t in texts[1:]]
        others = rng.sample([text for text, intent in rows if intent not in known], len(cases))
        cases += [Case(text) for text in others] + _strange(rng, strangers, SMALL_STRANGERS)
        files = (_write_faq(out / f"small-faq-{number}.jsonl", faq),)
        yield CaseSet(f"small-faq/{number}", files, (), tuple(cases))


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
    return _asked_for(name, [(g[0], g[1]) for g in texts[:questions]], out, rng)


def parallel(name: str, rows: Sequence[tuple[str, str]], out: Path, questions: int) -> CaseSet:
    """Entries in one language, asked for in another: ``rows`` are (wording, its translation)."""
    rng = random.Random(SEED)
    distinct = list(dict(rows).items())
    return _asked_for(name, rng.sample(distinct, min(questions, len(distinct))), out, rng)


@dataclass(frozen=True, slots=True)
class Reading:
    """Where a reading-comprehension set lies; ``gold`` may come from another language's file."""

    name: str
    paragraphs: Path
    questions: Path
    gold: Path | None = None


def reading(
    source: Reading, out: Path, questions: int, strangers: Sequence[Sequence[str]]
) -> CaseSet:
    """Documents from a reading-comprehension set, one paragraph a file.

    ``strangers`` are questions by language that no paragraph answers.
    """
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
    cases = cases[:questions]
    cases += _strange(rng, strangers, round(STRANGERS * len(cases)))
    return CaseSet(source.name, (), (folder,), tuple(cases))


def small(
    paragraphs: Path, questions: Sequence[Path], out: Path, strangers: Sequence[Sequence[str]]
) -> Iterator[CaseSet]:
    """Yield collections of a single paragraph, asked what it says and what it does not.

    ``questions`` are files of the same questions in several languages, the first of them in the
    language of the paragraphs, so that its answers are what an answer must hold.
    """
    rng = random.Random(SEED)
    first, *others = (read_jsonl(path) for path in questions)
    gold = {row["id"]: tuple(answer["text"] for answer in row["answers"]) for row in first}
    for row in rng.sample(read_jsonl(paragraphs), SMALL):
        folder = out / f"small-{row['pid']}"
        folder.mkdir()
        path = folder / f"{row['pid']}.md"
        path.write_text(f"{row['context']}\n", encoding="utf-8")
        asked = [q for rows in (first, *others) for q in rows if q["pid"] == row["pid"]]
        cases = [Case(q["question"], texts=gold[q["id"]]) for q in asked]
        cases += _strange(rng, strangers, SMALL_STRANGERS)
        yield CaseSet(f"small/{row['pid']}", (), (folder,), tuple(cases))


def small_tables(path: Path, out: Path, strangers: Sequence[Sequence[str]]) -> Iterator[CaseSet]:
    """Yield collections of one table with its paragraphs, of an annual report (TAT-QA).

    Asked are what a cell or a phrase answers, other tables' questions that name something this one
    never does, and strangers. Every other table is left to ``benchmarks.table_reading``.
    """
    rng = random.Random(SEED)
    items = read_jsonl(path)[CALIBRATED_TABLES]
    asked = [
        # Which of some years it was is told by any line that names the year.
        [q for q in item["questions"] if q["answer_type"] == "span" and not q["req_comparison"]]
        for item in items
    ]
    everything = [q["question"] for one in asked for q in one]
    some = [number for number, one in enumerate(asked) if one]
    for number in rng.sample(some, min(TABLES, len(some))):
        folder = out / f"table-{number}"
        folder.mkdir()
        text = _as_html(items[number])
        (folder / "report.html").write_text(text, encoding="utf-8")
        cases = [Case(q["question"], texts=(str(q["answer"][0]),)) for q in asked[number]]
        others = [one for one in everything if not _words_of(one) <= _words_of(text)]
        cases += [Case(one) for one in rng.sample(others, len(cases))]
        cases += _strange(rng, strangers, 1)
        yield CaseSet(f"small-table/{number}", (), (folder,), tuple(cases))


def _words_of(text: str) -> set[str]:
    return {word for word in re.findall(r"\w+", text.casefold()) if len(word) > 4}


def _as_html(item: dict[str, Any]) -> str:
    cells = [[f"<td>{html.escape(cell)}</td>" for cell in row] for row in item["table"]["table"]]
    rows = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    told = "".join(f"<p>{html.escape(one['text'])}</p>" for one in item["paragraphs"])
    return f"<html><body>{told}<table>{rows}</table></body></html>"


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


def with_noise(cases: CaseSet) -> CaseSet:
    """Return the set with noise among its questions, one at least."""
    rng = random.Random(f"{SEED} {cases.name}")
    share = (1 + round(NOISE * len(cases.cases))) if cases.cases else 0
    return replace(cases, cases=(*cases.cases, *(Case(noise(rng)) for _ in range(share))))


def all_sets(data: Path, examples: Path, out: Path, questions: int) -> Iterator[CaseSet]:
    """Yield every set, at most ``questions`` questions each and some noise; ``out`` takes the files
    made."""
    yield from map(with_noise, _sets(data, examples, out, questions))


def _sets(data: Path, examples: Path, out: Path, questions: int) -> Iterator[CaseSet]:
    rows = [(r["text"], r["category"]) for r in read_csv(data / "banking77" / "train.csv")]
    yield intents("banking77", rows, out, questions)
    clinc = read_jsonl(data / "clinc150" / "valid.jsonl")
    yield intents("clinc150", [(r["text"], r["intent"]) for r in clinc], out, questions)
    lcqmc = read_jsonl(data / "lcqmc" / "dev.jsonl")
    yield pairs("lcqmc", lcqmc, out, questions)
    insurance = read_jsonl(data / "insuranceqa_questions" / "valid.jsonl")
    half = questions // 2
    yield parallel("insurance-zh-en", [(r["en"], r["zh"]) for r in insurance], out, half)
    yield parallel("insurance-en-zh", [(r["zh"], r["en"]) for r in insurance], out, half)
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
    # An entry of a bank's may answer questions on money.
    everyday = [r["text"] for r in clinc if r["domain"] not in ("banking", "credit_cards")]
    strangers = (everyday, [r["sentence1"] for r in lcqmc])
    for source in sources:
        yield reading(source, out, questions, strangers)
    asked = (xquad / "en_questions.jsonl", xquad / "zh_questions.jsonl")
    yield from small_faq(rows, out, strangers)
    yield from small(xquad / "en_paragraphs.jsonl", asked, out, strangers)
    yield from small_tables(data / "tatqa" / "dev.jsonl", out, strangers)
    yield bank(examples, "calibration")
