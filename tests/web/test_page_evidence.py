"""Passages and the evidence panel: the right words, marked, in their place."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from web_support import read

from assistant.errors import InvalidInputError, NotFoundError
from assistant.runtime import Runtime
from assistant.types import Question, Scope
from assistant.web.passages import heading_path_at, page_at, passage_of
from assistant.web.ui_evidence import evidence_panel
from assistant.web.ui_strings import EN
from indexes.types import Heading, Language, Page

BANK = Scope(collection="bank")


@dataclass(frozen=True)
class Text:
    """A document as far as passages need it."""

    text: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    kind: str = "document"
    language: Language = "en"
    document_id: str = "d1"
    title: str = "Guide"
    source: str = "guide.md"


@given(st.text(), st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_the_quote_is_where_the_passage_says(text: str, a: int, b: int, context: int) -> None:
    start, end = sorted((min(a, len(text)), min(b, len(text))))
    passage = passage_of(Text(text), start, end, context)
    assert passage.text[passage.quote_start : passage.quote_end] == text[start:end]
    assert text[passage.start : passage.start + len(passage.text)] == passage.text
    assert passage.cut_before == (passage.start > 0)
    assert passage.cut_after == (passage.start + len(passage.text) < len(text))


@pytest.mark.parametrize(("start", "end"), [(-1, 2), (3, 2), (0, 99)])
def test_a_range_outside_is_refused_with_the_size(start: int, end: int) -> None:
    with pytest.raises(InvalidInputError, match="5 characters"):
        passage_of(Text("abcde"), start, end)


def test_a_passage_begins_and_ends_at_sentences() -> None:
    text = "A rate of 0.5 applies. " * 3 + "The quote is here. " + "Another one follows it. " * 3
    start = text.index("The quote")
    passage = passage_of(Text(text), start, start + 18, context=30)
    assert passage.text.strip().startswith("A rate")
    assert passage.text.strip().endswith("it.")


def test_headings_and_pages_are_found_by_position() -> None:
    headings = [
        Heading(1, "Guide", 0), Heading(2, "One", 10), Heading(3, "Deep", 20),
        Heading(2, "Two", 30), Heading(1, "Annex", 40),
    ]  # fmt: skip
    assert heading_path_at(headings, 25) == ("Guide", "One", "Deep")
    assert heading_path_at(headings, 30) == ("Guide", "Two")
    assert heading_path_at(headings, 99) == ("Annex",)
    assert heading_path_at([], 3) == ()
    pages = [Page(1, 0, 10), Page(2, 10, 20)]
    assert [page_at(pages, offset) for offset in (0, 9, 10, 19)] == [1, 1, 2, 2]
    assert page_at([], 5) is None


def test_of_an_faq_only_the_entry_is_shown() -> None:
    text = "First?\nOne.\n\nSecond?\nTwo.\n\nThird?\nThree.\n"
    headings = [Heading(2, q, text.index(q)) for q in ("First?", "Second?", "Third?")]
    start = text.index("Two.")
    passage = passage_of(Text(text, tuple(headings), kind="faq"), start, start + 4)
    assert passage.text.strip() == "Second?\nTwo."
    assert not passage.cut_before
    assert not passage.cut_after


def marks(html: str) -> list[str]:
    return [read(mark).text for mark in re.findall(r"<mark[^>]*>.*?</mark>", html)]


def panel_for(runtime: Runtime, question: str) -> tuple[dict, str]:
    answer = runtime.answer(Question(question, BANK)).to_json()
    asked = {"question": question, "answer": answer}
    return answer, evidence_panel(runtime, BANK, 0, asked, EN)


def test_real_evidence_marks_exactly_what_is_quoted(runtime: Runtime) -> None:
    answer, html = panel_for(runtime, "How long does an international transfer take?")
    assert answer["citations"]
    assert marks(html) == [" ".join(c["quote"].split("\n")) for c in answer["citations"]]
    assert 'data-evidence="1"' in html


class Library:
    """Stands in for the runtime's one call: documents by id."""

    def __init__(self, *documents: Text) -> None:
        self._documents = {d.document_id: d for d in documents}

    def document(self, _scope: Scope, document_id: str) -> Text:
        if document_id not in self._documents:
            raise NotFoundError(f"There is no document {document_id!r}.")
        return self._documents[document_id]


def citation(text: str, quote: str) -> dict:
    start = text.index(quote)
    return {
        "document_id": "d1", "title": "Guide", "source": "guide.md", "chunk_id": "1",
        "start": start, "end": start + len(quote), "quote": quote,
    }  # fmt: skip


def shown(library: Library, citations: list[dict]) -> str:
    asked = {"question": "q?", "answer": {"citations": citations}}
    return evidence_panel(library, BANK, 0, asked, EN)  # type: ignore[arg-type]


def test_quotes_close_together_share_a_card_in_reading_order() -> None:
    text = "Alpha costs one. Beta costs two. Gamma costs three."
    html = shown(
        Library(Text(text)), [citation(text, "Beta costs two."), citation(text, "Alpha costs one.")]
    )
    assert html.count("<article") == 1
    assert 'data-evidence="1 2"' in html
    assert marks(html) == ["Alpha costs one.", "Beta costs two."]


def test_overlapping_quotes_are_marked_once() -> None:
    text = "Alpha costs one crown today."
    html = shown(
        Library(Text(text)), [citation(text, "costs one crown"), citation(text, "one crown today.")]
    )
    assert "".join(marks(html)) == "costs one crown today."
    assert read(html).text.count("crown") == 1


def test_quotes_far_apart_have_their_own_cards() -> None:
    text = "Alpha costs one. " + "Filler is here. " * 60 + "Omega costs nine."
    html = shown(
        Library(Text(text)),
        [citation(text, "Omega costs nine."), citation(text, "Alpha costs one.")],
    )
    assert re.findall(r'data-evidence="([^"]*)"', html) == ["1", "2"]
    assert marks(html) == ["Omega costs nine.", "Alpha costs one."]


@pytest.mark.parametrize("library", [Library(), Library(Text("All is new in here now."))])
def test_a_document_gone_or_changed_leaves_the_quote_and_says_so(library: Library) -> None:
    html = shown(library, [citation("It said this once.", "It said this once.")])
    assert marks(html) == ["It said this once."]
    assert EN.evidence_gone in read(html).text


def test_hostile_documents_stay_text() -> None:
    evil = '</blockquote><script>alert(1)</script><img src="http://evil.example/x">'
    stored = Text(evil, (Heading(1, evil, 0),))
    html = shown(Library(stored), [citation(evil, evil)])
    reader = read(html)
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert marks(html) == [evil]
