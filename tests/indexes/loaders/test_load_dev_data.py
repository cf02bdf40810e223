"""Real documents: every one is read, and no mark of its format is left in what is quoted."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import pypdf
import pytest

from indexes.chunking import chunk_document
from indexes.loaders import SkippedFile, discover, load
from indexes.types import Document

pytestmark = pytest.mark.slow

MARKS = re.compile(
    r"\*\*|\{#|\]\(|</?(?:p|td|tr|div|span|br|font|table)\b|&(?:nbsp|amp|lt|gt|quot);"
)
CODE = re.compile(r"^(?:\W*<|[{}\[\]]|[A-Za-z]+://|&|\$|curl|#)")


def count(texts: Sequence[str]) -> list[int]:
    return [max(1, len(text) // 3) for text in texts]


@pytest.fixture(scope="module")
def documents(dev_data: Path) -> list[tuple[Path, Document]]:
    items = list(discover([dev_data / "docs_enterprise"]))
    assert not [item for item in items if isinstance(item, SkippedFile)]
    return [
        (item[0], load(item[0], source=item[1]))
        for item in items
        if not isinstance(item, SkippedFile)
    ]


def test_every_document_of_the_manifest_is_read(
    dev_data: Path, documents: list[tuple[Path, Document]]
) -> None:
    manifest = (dev_data / "docs_enterprise" / "manifest.jsonl").read_text("utf-8").splitlines()
    named = {record["file"]: record["lang"] for record in map(json.loads, manifest)}
    loaded = {document.source: document for _, document in documents}
    assert named.keys() <= loaded.keys()
    wrong = [file for file, language in named.items() if loaded[file].language != language]
    assert len(wrong) <= 0.02 * len(named), wrong


def test_quotes_carry_no_marks(documents: list[tuple[Path, Document]]) -> None:
    quotes = marked = 0
    for path, document in documents:
        if path.suffix not in (".md", ".html", ".docx"):
            continue
        for chunk in chunk_document(document, count, 200):
            assert chunk.text == document.text[chunk.start : chunk.end]
            for span in chunk.sentences:
                quote = document.text[span.start : span.end]
                quotes += 1
                marked += MARKS.search(quote) is not None and CODE.match(quote) is None
    assert quotes > 20_000
    assert marked <= 0.002 * quotes


def test_titles_and_headings_are_found(documents: list[tuple[Path, Document]]) -> None:
    checked = 0
    for path, document in documents:
        first = re.match(r"# ([^\n{*\[<`]+)", path.read_text("utf-8", errors="replace"))
        if path.suffix == ".md" and first is not None:
            assert document.title == re.sub(r"\s+", " ", first.group(1)).strip()
            checked += 1
    assert checked > 150
    for _, document in documents:
        for heading in document.headings:
            assert document.text.startswith(heading.title, heading.start)


def test_pdf_words_agree_with_another_reader(dev_data: Path) -> None:
    pdfs = [
        *sorted((dev_data / "financebench" / "pdfs").glob("*8K*.pdf")),
        *sorted((dev_data / "docs_enterprise").rglob("*.pdf")),
    ]
    assert pdfs
    for path in pdfs:
        data = path.read_bytes()
        reader = pypdf.PdfReader(io.BytesIO(data))
        words = set(re.findall(r"[A-Za-z]{4,}", " ".join(p.extract_text() for p in reader.pages)))
        ours = set(re.findall(r"[A-Za-z]{4,}", load(path, source=path.name).text))
        assert len(words & ours) >= 0.97 * len(words), path.name


def test_annual_report_figures_keep_their_columns(dev_data: Path) -> None:
    path = dev_data / "financebench" / "pdfs" / "BOEING_2022_10K.pdf"
    document = load(path, source=path.name)
    assert len(document.pages) == 190
    period = "Years ended December 31, 20"
    row = f"Total revenues; {period}22: 66,608; {period}21: 62,286; {period}20: 58,158"
    place = document.text.find(row)
    assert place > 0
    page = next(page for page in document.pages if page.start <= place < page.end)
    assert page.number == 55


def test_real_faq_lists(dev_data: Path) -> None:
    for name, least in (
        ("bank_faq_en", 700),
        ("cloud_faq_zh", 140),
        ("ecommerce_faq_en", 40),
        ("finance_concept_faq_zh", 130),
    ):
        document = load(dev_data / name / "faq.jsonl", source="faq.jsonl", faq=True)
        assert len(document.faq) >= least
        for entry in document.faq:
            span = entry.answer_span
            assert document.text[span.start : span.end] == entry.answer
