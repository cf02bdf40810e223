from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indexes.chunking import chunk_document
from indexes.loaders.limits import LoadLimits
from indexes.loaders.text import TextBuilder
from indexes.sentences import split_sentences
from indexes.types import Document, Page

TOKEN = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")


def count(texts: Sequence[str]) -> list[int]:
    """A word or a character that is no letter is a token: additive over spaces."""
    return [len(TOKEN.findall(text)) for text in texts]


def document(*blocks: tuple[int, str], title: str = "Guide") -> Document:
    """Blocks of (heading level or 0 for a paragraph or -1 for a row, text)."""
    builder = TextBuilder(LoadLimits())
    for level, text in blocks:
        if level > 0:
            builder.heading(level, text)
        elif level == 0:
            builder.paragraph(text)
        else:
            builder.line(text)
    return Document("s", title, builder.text, "en", "text/plain", tuple(builder.headings))


def words(number: int, name: str = "W") -> str:
    return " ".join(f"{name}{index}" for index in range(number - 1)) + "."


def test_a_short_document_is_one_chunk() -> None:
    chunk, *rest = chunk_document(document((1, "Guide"), (0, "First. Second.")), count, 64)
    assert not rest
    assert chunk.text == "First. Second."
    assert chunk.context == "Guide" and chunk.heading_path == ("Guide",)
    assert [chunk.text[s.start - chunk.start : s.end - chunk.start] for s in chunk.sentences] == [
        "First.",
        "Second.",
    ]


def test_top_level_sections_are_kept_apart() -> None:
    doc = document((1, "Loans"), (0, words(20)), (1, "Cards"), (0, words(20)))
    paths = [chunk.heading_path for chunk in chunk_document(doc, count, 64)]
    assert paths == [("Loans",), ("Cards",)]


def test_tiny_sections_go_together_with_their_headings_in_the_text() -> None:
    doc = document(
        (1, "Guide"), (2, "Hours"), (0, "Nine to five."), (2, "Phone"), (0, "Call 95588.")
    )
    chunk, *rest = chunk_document(doc, count, 64)
    assert not rest
    assert chunk.text == "Hours\n\nNine to five.\n\nPhone\n\nCall 95588."
    assert chunk.heading_path == ("Guide",)
    assert len(chunk.sentences) == 2


def test_long_sections_are_cut_evenly_between_paragraphs() -> None:
    doc = document((1, "Guide"), *[(0, words(30, f"p{number}x")) for number in range(5)])
    chunks = chunk_document(doc, count, 100)
    assert [chunk.text.count("\n\n") + 1 for chunk in chunks] in ([2, 3], [3, 2])


def test_sentences_are_not_cut_unless_alone_too_long() -> None:
    doc = document((0, f"{words(20)} {words(20, 'V')} {words(60, 'U')}"))
    chunks = chunk_document(doc, count, 32)
    assert [chunk.token_count <= 32 for chunk in chunks] == [True] * len(chunks)
    pieces = [doc.text[s.start : s.end] for chunk in chunks for s in chunk.sentences]
    assert pieces[0] == words(20) and pieces[1] == words(20, "V")
    assert " ".join(pieces[2:]) == words(60, "U") and len(pieces) > 3


def test_a_list_stays_with_the_line_that_introduces_it() -> None:
    intro = "You need these papers for your application, please bring originals and copies:"
    items = [(-1, f"• {words(9, name)}") for name in "abcd"]
    doc = document((0, words(40)), (0, intro), *items)
    chunks = chunk_document(doc, count, 64)
    holder = next(chunk for chunk in chunks if intro in chunk.text)
    assert not holder.text.endswith(":")


def test_a_chunk_may_begin_with_its_bullet() -> None:
    doc = document(*[(-1, f"• {words(20, name)}") for name in "abcdef"])
    for chunk in chunk_document(doc, count, 48):
        assert chunk.text.startswith("• ")
        assert not doc.text[chunk.sentences[0].start :].startswith("•")


def test_a_document_of_headings_alone_is_found_too() -> None:
    doc = document((1, "Open today"), (1, "Closed on Sunday"))
    sentences = [
        doc.text[s.start : s.end] for c in chunk_document(doc, count, 64) for s in c.sentences
    ]
    assert sentences == ["Open today", "Closed on Sunday"]


def test_pages_and_counting_once() -> None:
    text = f"{words(30)}\n\n{words(30, 'V')}"
    half = text.index("\n\n") + 2
    pages = (Page(1, 0, half), Page(2, half, len(text)))
    calls = []

    def counting(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return count(texts)

    chunks = chunk_document(Document("s", "t", text, "en", "text/plain", pages=pages), counting, 40)
    assert [chunk.page for chunk in chunks] == [1, 2]
    assert len(calls) == 1


def test_context_is_bounded() -> None:
    deep = [(level, f"Part {level} " + "x" * 150) for level in range(1, 7)]
    chunk = chunk_document(document(*deep, (0, "Text."), title="T" * 300), count, 64)[0]
    assert len(chunk.context) <= 240
    assert chunk.context.startswith("TTT") and "Part 6" in chunk.context


def test_silly_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="max_tokens is 0"):
        chunk_document(document((0, "Text.")), count, 0)


def test_an_empty_document_has_no_chunks() -> None:
    assert chunk_document(document(), count, 64) == []


BLOCKS = st.lists(
    st.tuples(
        st.integers(-1, 4),
        st.text(
            alphabet=st.sampled_from("abc de 12.;:?!\n银行卡费。，！？• Header: value; "),
            max_size=240,
        ),
    ),
    max_size=25,
)


@given(BLOCKS, st.integers(8, 260))
@example([(0, "1::1• 1:1:")], 8)
@settings(max_examples=200)
def test_any_document_is_covered_exactly(blocks: list[tuple[int, str]], bound: int) -> None:
    doc = document(*blocks)
    chunks = chunk_document(doc, count, bound)
    position = 0
    covered: set[int] = set()
    for chunk in chunks:
        assert chunk.text == doc.text[chunk.start : chunk.end]
        assert position <= chunk.start < chunk.end
        assert count([chunk.text])[0] <= chunk.token_count <= bound
        assert chunk.sentences
        for span in chunk.sentences:
            assert position <= span.start < span.end <= chunk.end and chunk.start <= span.start
            position = span.end
            covered.update(range(span.start, span.end))
        position = chunk.end
    headings = {i for h in doc.headings for i in range(h.start, h.start + len(h.title))}
    for index, character in enumerate(doc.text):
        if character.isalnum() and index not in headings:
            assert index in covered
    cuts = {0, len(doc.text), *(h.start for h in doc.headings)}
    cuts |= {h.start + len(h.title) for h in doc.headings}
    edges = sorted(cuts)
    whole = {
        (s.start, s.end)
        for start, end in pairwise(edges)
        for s in split_sentences(doc.text, start, end)
        if start not in headings and count([doc.text[s.start : s.end]])[0] <= bound
    }
    assert whole <= {(s.start, s.end) for chunk in chunks for s in chunk.sentences}
