"""HTML made from foreign text: nothing in it may become markup, and none of it may be lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from web_support import read

from assistant.types import AnswerKind
from assistant.web import ui_render as render
from assistant.web.ui_strings import EN, ZH

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \"' onmouseover=x &lt;b&gt; "
    "![p](http://evil.example/p.png) [l](javascript:alert(1)) **b** `c` $$x$$ ${alert(1)} {{x}}"
)


def answer(text: str, kind: str = "grounded", citations=(), candidates=()) -> dict:
    return {
        "answer": text, "kind": kind, "confidence": 0.914, "language": "en", "faq_id": None,
        "citations": list(citations), "candidates": list(candidates), "conversation_id": "c",
    }  # fmt: skip


def cite(quote: str) -> dict:
    return {
        "document_id": "d", "title": "T", "source": "s", "chunk_id": "1", "start": 0,
        "end": len(quote), "quote": quote,
    }  # fmt: skip


@given(st.text())
def test_escaped_text_reads_back_as_itself(text: str) -> None:
    reader = read(f"<p>{render.escape_lines(text)}</p>")
    assert [tag for tag, _ in reader.tags] == ["p"]
    kept = "".join(
        c for c in text.replace("\r\n", "\n") if c in "\t\n" or (c >= " " and c != "\x7f")
    )
    assert reader.text.replace("\r", "") == kept.replace("\r", "")


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\u2028\u2029")))
def test_markdown_leaves_escaped_text_alone(text: str) -> None:
    """Gradio runs messages through Markdown: a message must come out as it went in."""
    html = MarkdownIt("commonmark", {"html": True}).render(render.user_message(text))
    tags = {tag for tag, _ in read(html).tags}
    assert tags <= {"div", "br", "span"}


def test_hostile_text_stays_text_everywhere() -> None:
    shown = [
        render.user_message(HOSTILE),
        render.partial_message(HOSTILE),
        render.error_message(HOSTILE),
        render.answer_message(
            answer(
                HOSTILE,
                citations=[cite(HOSTILE)],
                candidates=[{"id": "1", "question": HOSTILE, "score": 0.5}],
            ),
            0,
            EN,
        ),
        render.history_list([{"id": HOSTILE, "title": HOSTILE}], None, EN),
        render.greeting(EN, [HOSTILE], empty=False),
    ]
    for html in shown:
        reader = read(html)
        assert {tag for tag, _ in reader.tags} <= {
            "div", "span", "button", "br", "svg", "path", "i", "ul", "li", "h2", "p",
        }  # fmt: skip
        for _tag, attributes in reader.tags:
            assert not [name for name in attributes if name.startswith("on")]
            assert "src" not in attributes
            assert "href" not in attributes
        assert "<script>alert(1)</script>" in reader.text
        assert "http://evil" not in html  # not even as a link for Markdown to find


def test_a_citation_stands_after_its_quote() -> None:
    text = "Fees are 5 crowns. Arrival takes 2 days."
    pieces = render.cited_pieces(text, [cite("Arrival takes 2 days."), cite("Fees are 5 crowns.")])
    assert pieces == [("Fees are 5 crowns.", (2,)), (" Arrival takes 2 days.", (1,))]


def test_a_quote_over_lines_is_found_in_the_answer_that_joins_them() -> None:
    pieces = render.cited_pieces("One two three. Four.", [cite("One\n two  three.")])
    assert pieces == [("One two three.", (1,)), (" Four.", ())]


def test_a_quote_without_its_full_stop_still_stands_after_it() -> None:
    assert render.cited_pieces("年费300元。", [cite("年费300元")]) == [("年费300元。", (1,))]


def test_a_quote_that_is_not_in_the_answer_is_cited_at_the_end() -> None:
    assert render.cited_pieces("Yes.", [cite("It is permitted.")]) == [("Yes.", (1,))]


def test_markers_in_the_text_are_used() -> None:
    pieces = render.cited_pieces("A is so [1]. B is [2], see [9].", [cite("x"), cite("y")])
    assert pieces == [("A is so", (1,)), (". B is", (2,)), (", see [9].", ())]


@given(st.text(), st.lists(st.text(), max_size=5))
def test_pieces_make_up_the_text_and_cite_everything_once(text: str, quotes: list[str]) -> None:
    text = text.replace("[", "(")
    pieces = render.cited_pieces(text, [cite(quote) for quote in quotes])
    assert "".join(piece for piece, _ in pieces) == text
    numbers = [number for _, cited in pieces for number in cited]
    assert sorted(numbers) == list(range(1, len(quotes) + 1))


def test_candidates_are_buttons_and_not_also_lines_of_text() -> None:
    listed = answer(
        "Which of these?\n- How long?\n- How much?",
        "clarify",
        candidates=[
            {"id": "1", "question": "How long?", "score": 0.5},
            {"id": "2", "question": "How much?", "score": 0.4},
        ],
    )
    reader = read(render.answer_message(listed, 3, EN))
    asks = [attributes["data-ask"] for _, attributes in reader.tags if "data-ask" in attributes]
    assert asks == ["How long?", "How much?"]
    assert reader.text.count("How long?") == 1


@pytest.mark.parametrize("kind", list(AnswerKind))
def test_every_kind_has_its_badge_and_only_found_answers_a_confidence(kind: AnswerKind) -> None:
    for strings in (EN, ZH):
        text = read(render.answer_message(answer("Yes.", kind.value), 0, strings)).text
        assert strings.kinds[kind] in text
        assert ("91%" in text) == (kind in (AnswerKind.FAQ, AnswerKind.GROUNDED))


def test_what_is_related_leads_beyond_the_documents_cited() -> None:
    related = [{"id": str(i), "question": q, "score": 0.3} for i, q in enumerate(["T", "How?"])]
    html = render.answer_message(
        answer("Yes.", citations=[cite("Yes.")], candidates=related), 0, EN
    )
    assert [a["data-ask"] for _, a in read(html).tags if "data-ask" in a] == ["How?"]


def test_no_answer_is_called_certain() -> None:
    sure = {**answer("Yes."), "confidence": 0.9996}
    assert "99%" in read(render.answer_message(sure, 0, EN)).text


def test_the_answer_reads_whole_with_its_markers_between() -> None:
    text = "One is so. Two 也是。"
    html = render.answer_message(
        answer(text, citations=[cite("One is so."), cite("Two 也是")]), 0, EN
    )
    assert read(html).text.startswith("One is so.1 Two 也是。2")


def test_a_judgement_is_shown_as_pressed() -> None:
    reader = read(render.answer_message(answer("Yes."), 2, EN, "down"))
    pressed = {a["data-rate"]: a["aria-pressed"] for _, a in reader.tags if "data-rate" in a}
    assert pressed == {"up": "false", "down": "true"}


def test_every_button_of_the_bar_has_a_name() -> None:
    for strings in (EN, ZH):
        reader = read(render.top_bar(strings))
        for tag, attributes in reader.tags:
            if tag == "button" and "data-view" not in attributes:
                assert attributes.get("aria-label")
