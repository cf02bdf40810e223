"""The example bank is complete, parses, and says the same everywhere."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from indexes.loaders import load
from indexes.types import Document

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
BANK = EXAMPLES / "bank"
LANGUAGES = ("en", "zh")
FORMATS = {".md", ".txt", ".html", ".pdf", ".docx", ".pptx", ".xlsx", ".csv", ".jsonl", ".eml"}
NUMBER = re.compile(r"(\d[\d,]*(?:\.\d+)?)([万亿])?")
HAN = re.compile(r"[一-鿿]")


@cache
def faq(language: str) -> tuple[dict[str, str], ...]:
    with (BANK / f"faq_{language}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def questions() -> tuple[dict[str, Any], ...]:
    lines = (BANK / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line) for line in lines)


@cache
def documents() -> dict[str, Document]:
    paths = sorted((BANK / "documents").glob("*/*"))
    return {path.name: load(path, source=f"{path.parent.name}/{path.name}") for path in paths}


def answers() -> dict[str, str]:
    return {row["id"]: row["answer"] for language in LANGUAGES for row in faq(language)}


def wordings(row: dict[str, str]) -> list[str]:
    return [row["question"], *row["paraphrases"].split(" | ")]


def plain(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def figures(text: str) -> set[float]:
    """The numbers in a text; 5万 is 50,000."""
    scale = {"": 1.0, "万": 1e4, "亿": 1e8}
    return {round(float(n.replace(",", "")) * scale[unit], 6) for n, unit in NUMBER.findall(text)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_documents_cover_every_format_and_load_without_warnings(language: str) -> None:
    paths = list((BANK / "documents" / language).iterdir())
    assert len(paths) >= 15
    assert {path.suffix for path in paths} == FORMATS
    for path in paths:
        document = documents()[path.name]
        assert document.language == language, path.name
        assert len(document.text) > 500, path.name
        assert "�" not in document.text, path.name
        assert "**" not in document.text, path.name
        assert not document.metadata.get("warnings"), path.name


def test_document_names_are_unique_and_pdfs_have_pages() -> None:
    assert len(documents()) == len(list((BANK / "documents").glob("*/*")))
    pdfs = [document for name, document in documents().items() if name.endswith(".pdf")]
    assert len(pdfs) >= 3
    assert all(len(document.pages) >= 2 for document in pdfs)


@pytest.mark.parametrize("language", LANGUAGES)
def test_faq_is_complete(language: str) -> None:
    rows = faq(language)
    assert len(rows) >= 155
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert set(row) == {"id", "question", "answer", "paraphrases", "category"}
        assert all(row.values()), row["id"]
        assert row["id"].startswith(f"{language}-")
        assert 2 <= len(wordings(row)) <= 4, row["id"]
        assert bool(HAN.search(row["answer"])) == (language == "zh"), row["id"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_wording_belongs_to_two_entries(language: str) -> None:
    seen = Counter(plain(wording) for row in faq(language) for wording in wordings(row))
    assert [wording for wording, count in seen.items() if count > 1] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_loader_reads_every_faq_entry(language: str) -> None:
    path = BANK / f"faq_{language}.csv"
    document = load(path, source=path.name, faq=True)
    assert [entry.faq_id for entry in document.faq] == [row["id"] for row in faq(language)]
    for entry, row in zip(document.faq, faq(language), strict=True):
        assert [entry.question, *entry.paraphrases] == wordings(row)
        span = entry.answer_span
        assert document.text[span.start : span.end] == row["answer"]


def test_both_languages_give_the_same_figures() -> None:
    chinese = {row["id"].removeprefix("zh-"): row["answer"] for row in faq("zh")}
    shared = {
        row["id"]: (row["answer"], chinese[row["id"].removeprefix("en-")])
        for row in faq("en")
        if row["id"].removeprefix("en-") in chinese
    }
    assert len(shared) >= 150
    differing = {id_ for id_, (en, zh) in shared.items() if figures(en) != figures(zh)}
    assert differing == set()


def test_questions_have_the_promised_mix() -> None:
    rows = questions()
    assert len(rows) >= 360
    assert len({row["id"] for row in rows}) == len(rows)
    assert sum(bool(row["history"]) for row in rows) >= 40
    assert sum(row["expected_kind"] == "abstain" for row in rows) >= 60
    kinds = {"smalltalk", "handoff", "faq", "grounded", "clarify", "abstain"}
    for language in LANGUAGES:
        for split in ("calibration", "test"):
            part = [r for r in rows if r["language"] == language and r["split"] == split]
            assert {row["expected_kind"] for row in part} == kinds
            assert abs(len(part) - len(rows) / 4) < len(rows) * 0.05


def test_expected_answers_exist_and_contain_the_expected_text() -> None:
    known = answers()
    for row in questions():
        if row["expected_kind"] == "faq":
            assert row["expected_text"] in known[row["expected_faq_id"]], row["id"]
            assert row["expected_document"] is None
        elif row["expected_kind"] == "grounded":
            assert row["expected_text"] in documents()[row["expected_document"]].text, row["id"]
            assert row["expected_faq_id"] is None
        else:
            assert (
                row["expected_faq_id"] is row["expected_document"] is row["expected_text"] is None
            )


def test_test_questions_are_not_in_the_faq_and_targets_stay_in_one_split() -> None:
    known = {plain(w) for language in LANGUAGES for row in faq(language) for w in wordings(row)}
    asked = [(plain(r["question"]), tuple(map(plain, r["history"]))) for r in questions()]
    assert len(set(asked)) == len(asked)
    standalone = {question for question, history in asked if not history}
    assert standalone & known == set()
    splits: dict[str, set[str]] = {}
    for row in questions():
        if row["expected_faq_id"]:
            splits.setdefault(row["expected_faq_id"][3:], set()).add(row["split"])
    assert all(len(found) == 1 for found in splits.values())


def test_tickets_news_and_clicks_parse_and_refer_to_what_exists() -> None:
    with (BANK / "tickets.csv").open(encoding="utf-8", newline="") as file:
        tickets = list(csv.DictReader(file))
    assert len(tickets) >= 120
    assert len({ticket["id"] for ticket in tickets}) == len(tickets)
    assert min(Counter((t["intent"], t["language"]) for t in tickets).values()) >= 3
    with (BANK / "clicks.csv").open(encoding="utf-8", newline="") as file:
        clicks = list(csv.DictReader(file))
    items = set(answers()) | {path.name for path in (BANK / "documents").glob("*/*")}
    assert {click["item_id"] for click in clicks} <= items
    for row in tickets:
        datetime.fromisoformat(row["created_at"])
    for row in clicks:
        datetime.fromisoformat(row["clicked_at"])


def test_bad_news_about_one_company_surges() -> None:
    lines = (BANK / "news.jsonl").read_text(encoding="utf-8").splitlines()
    items = [json.loads(line) for line in lines]
    assert len(items) >= 80
    assert len({item["id"] for item in items}) == len(items)
    bad = [item for item in items if item["sentiment"] == "negative"]
    weeks: Counter[tuple[str, int]] = Counter()
    for item in bad:
        company = "Norvane" if item["company"] in {"Norvane Motors", "诺帆汽车"} else "other"
        weeks[company, datetime.fromisoformat(item["published_at"]).isocalendar().week] += 1
    assert weeks.most_common(1)[0][0][0] == "Norvane"
    assert max(n for (company, _), n in weeks.items() if company == "Norvane") >= 15
    assert max(n for (company, _), n in weeks.items() if company == "other") <= 3
