"""Rows from a company's own bank of knowledge: a FAQ of each language, documents, questions.

The layout is that of ``examples/bank``: ``faq_LANGUAGE.csv`` (id, question, answer, paraphrases),
``documents/LANGUAGE/*`` and ``questions.jsonl`` with a ``split``. Questions of the split ``test``
and the FAQ entries they expect are never trained on.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from assistant.dialogue.figures import figures
from indexes.chunking import chunk_document
from indexes.loaders import load
from indexes.sentences import split_sentences
from training.generator.followups import FollowUp, swaps
from training.generator.ranking import Ranking
from training.generator.rows import Language, Row, answer_row, refusal_row, rewrite_row

LANGUAGES: tuple[Language, ...] = ("en", "zh")
CHUNK_TOKENS = 90
SOURCE = "bank"


@dataclass(frozen=True, slots=True)
class Entry:
    """A FAQ entry."""

    id: str
    question: str
    answer: str
    paraphrases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bank:
    """Everything of one language; ``chunks`` are (document, text)."""

    language: Language
    entries: tuple[Entry, ...]
    chunks: tuple[tuple[str, str], ...]
    questions: tuple[dict[str, Any], ...]

    def held_out(self) -> frozenset[str]:
        """FAQ entries that only test questions may use."""
        return frozenset(
            q["expected_faq_id"]
            for q in self.questions
            if q["split"] == "test" and q["expected_faq_id"]
        )


def read_bank(folder: Path, language: Language) -> Bank:
    """Load FAQ, documents (cut to short chunks) and questions of one language."""
    with (folder / f"faq_{language}.csv").open(encoding="utf-8-sig", newline="") as file:
        entries = tuple(
            Entry(r["id"], r["question"], r["answer"], _parts(r["paraphrases"]))
            for r in csv.DictReader(file)
        )
    chunks: list[tuple[str, str]] = []
    for path in sorted((folder / "documents" / language).iterdir()):
        document = load(path, source=path.name)
        for chunk in chunk_document(document, _about_tokens, CHUNK_TOKENS):
            chunks.append((path.name, chunk.text))
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines if line.strip()]
    own = tuple(q for q in questions if q["language"] == language)
    return Bank(language, entries, tuple(chunks), own)


def company_text(folder: Path) -> list[str]:
    """Return every chunk of every document and every approved answer: text to pre-train on."""
    texts: list[str] = []
    for language in LANGUAGES:
        bank = read_bank(folder, language)
        texts.extend(text for _, text in bank.chunks)
        texts.extend(f"{e.question}\n{e.answer}" for e in bank.entries)
    return texts


@dataclass(frozen=True, slots=True)
class Ranked:
    """Everything that could be evidence, and its order for a question."""

    passages: Sequence[str]
    ranking: Ranking

    def best(self, question: str) -> list[str]:
        """Return all passages, the likeliest evidence first."""
        return [self.passages[i] for i in self.ranking.best(question)]


def bank_rows(bank: Bank, split: str, random: Random) -> list[Row]:
    """Return the rows of ``split``: ``train`` (from the questions for calibration) or ``test``."""
    wanted = "test" if split == "test" else "calibration"
    asked = [q for q in bank.questions if q["split"] == wanted]
    passages = [e.answer for e in bank.entries] + [text for _, text in bank.chunks]
    ranked = Ranked(passages, Ranking(passages))
    rows = [*_document_rows(bank, asked, ranked, random)]
    rows += _faq_rows(bank, _faq_pairs(bank, split, asked, random), ranked, random)
    rows += _abstain_rows(bank, asked, ranked)
    rows += _rewrite_rows(bank, split, asked, random)
    return rows


def _document_rows(
    bank: Bank, asked: Sequence[dict[str, Any]], ranked: Ranked, random: Random
) -> Iterator[Row]:
    """A question on a document: the answer is the sentence that states the expected fact."""
    for q in asked:
        if q["expected_kind"] != "grounded" or q["history"]:
            continue
        holding = [t for d, t in bank.chunks if _holds(t, d, q)]
        order = ranked.best(q["question"])
        right = next((p for p in order if p in holding), None)
        if right is None:
            continue
        wrong = next(p for p in order if p not in holding)
        answer = _sentence(right, q["expected_text"])
        yield _cited(q["question"], (right, wrong), answer, bank.language, random)


def _faq_pairs(
    bank: Bank, split: str, asked: Sequence[dict[str, Any]], random: Random
) -> list[tuple[str, Entry]]:
    """Questions and the FAQ entries that answer them."""
    if split == "test":
        by_id = {e.id: e for e in bank.entries}
        found = [q for q in asked if q["expected_faq_id"] and not q["history"]]
        return [(q["question"], by_id[q["expected_faq_id"]]) for q in found]
    held_out = bank.held_out()
    own = [e for e in bank.entries if e.id not in held_out]
    return [(random.choice((e.question, *e.paraphrases)), e) for e in own]


def _faq_rows(
    bank: Bank, pairs: Sequence[tuple[str, Entry]], ranked: Ranked, random: Random
) -> Iterator[Row]:
    """A FAQ entry as evidence: the approved answer is the answer; without it, a refusal."""
    for question, entry in pairs:
        others = [p for p in ranked.best(question) if p != entry.answer]
        evidence = (entry.answer, others[0])
        yield _cited(question, evidence, entry.answer, bank.language, random)
        facts = figures(entry.answer)
        # A passage without any of the answer's figures does not hold it.
        wrong = [p for p in others[:12] if facts and not facts & figures(p)]
        if len(wrong) > 1:
            group = f"bank:{entry.id}"
            yield refusal_row(question, wrong[:2], bank.language, group=group, source=SOURCE)


def _abstain_rows(bank: Bank, asked: Sequence[dict[str, Any]], ranked: Ranked) -> Iterator[Row]:
    for q in asked:
        if q["expected_kind"] == "abstain":
            near = ranked.best(q["question"])[:2]
            group = f"bank:{q['id']}"
            yield refusal_row(q["question"], near, bank.language, group=group, source=SOURCE)


def _rewrite_rows(
    bank: Bank, split: str, asked: Sequence[dict[str, Any]], random: Random
) -> Iterator[Row]:
    by_id = {e.id: e for e in bank.entries}
    for q in asked:
        if q["history"] and q["expected_faq_id"]:
            standalone = by_id[q["expected_faq_id"]].question
            item = FollowUp(tuple(q["history"]), q["question"], standalone)
            yield rewrite_row(item, bank.language, group=f"bank:{q['id']}", source=SOURCE)
    if split == "test":
        return
    held_out = bank.held_out()
    own = [e.question for e in bank.entries if e.id not in held_out]
    for item in swaps(own, bank.language, random):
        yield rewrite_row(item, bank.language, group=f"bank:{item.standalone}", source=SOURCE)


def _cited(
    question: str, evidence: tuple[str, str], answer: str, language: Language, random: Random
) -> Row:
    """The right and a wrong passage in either order; the answer cites the right one."""
    place = random.randrange(2)
    passages = evidence if place == 0 else evidence[::-1]
    group = f"bank:{question}"
    return answer_row(
        question, passages, [answer], [place + 1], language, group=group, source=SOURCE
    )


def _holds(text: str, document: str, q: dict[str, Any]) -> bool:
    return document == q["expected_document"] and q["expected_text"] in text


def _sentence(text: str, fact: str) -> str:
    for span in split_sentences(text, 0, len(text)):
        if fact in text[span.start : span.end]:
            return text[span.start : span.end]
    return text


def _parts(cell: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in cell.split("|") if part.strip())


def _about_tokens(texts: Sequence[str]) -> list[int]:
    """Tokens of a text, estimated: a Han character about 0.7, other text about 4 a token."""
    counts = []
    for text in texts:
        han = sum("㐀" <= c <= "鿿" for c in text)
        counts.append(1 + round(0.7 * han + (len(text) - han) / 3.5))
    return counts
