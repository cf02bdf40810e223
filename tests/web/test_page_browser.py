"""The page in a real Chromium, over the real service: what a person sees and does."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from page_support import QUESTION, WAIT, Open, ask, ready, stored_turns
from playwright.sync_api import expect
from web_support import Service

from assistant.types import Scope

# A browser on a busy machine may miss a beat; `visit` names every failed request when it does.
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.flaky(reruns=2)]


def test_a_question_is_answered_with_marked_evidence(visit: Open) -> None:
    page = visit()
    expect(page.locator("#chatbot .samples .ask")).to_have_count(4)
    ask(page, QUESTION)
    answer = page.locator("#chatbot .answer").last
    assert answer.get_attribute("class") == "answer faq"
    expect(answer.locator(".badge")).to_have_text("FAQ · approved answer")
    expect(answer.locator(".confidence")).to_contain_text("% sure")
    answer.locator(".cite").first.click()
    card = page.locator("#evidence .card.active")
    expect(card).to_be_visible()
    marked = card.locator("mark").inner_text()
    assert marked in answer.locator(".text").inner_text()
    expect(card.locator(".source")).to_have_text("faq_en.csv")
    assert card.evaluate("card => card === document.activeElement")


def test_the_text_streams_in_before_the_answer_is_complete(
    visit: Open, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.runtime.stream

    def slowly(question):
        for piece in real(question):
            yield piece
            time.sleep(0.7)

    monkeypatch.setattr(service.runtime, "stream", slowly)
    page = visit()
    page.fill("#question textarea", QUESTION)
    page.press("#question textarea", "Enter")
    expect(page.locator("#chatbot .thinking, #chatbot .pending")).to_be_visible()
    expect(page.locator("#chatbot .pending")).to_contain_text("working days.")
    expect(page.locator("#stop")).to_be_visible()
    assert page.locator("#chatbot .meta").count() == 0
    expect(page.locator("#chatbot .meta")).to_have_count(1, timeout=WAIT)
    expect(page.locator("#chatbot .pending")).to_have_count(0)


def test_an_answer_can_be_stopped(
    visit: Open, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = service.runtime.stream

    def slowly(question):
        for piece in real(question):
            yield piece
            time.sleep(1.5)

    monkeypatch.setattr(service.runtime, "stream", slowly)
    page = visit()
    page.fill("#question textarea", QUESTION)
    page.press("#question textarea", "Enter")
    expect(page.locator("#chatbot .pending")).to_be_visible()
    with page.expect_response("**/cancel"):
        page.click("#stop")
    expect(page.locator("#send")).to_be_visible()
    expect(page.locator("#chatbot .failed")).to_have_text("Stopped.")
    monkeypatch.undo()
    ask(page, QUESTION)


def test_a_candidate_asks_itself(visit: Open) -> None:
    page = visit()
    ask(page, "What does an international transfer cost?")
    candidates = page.locator("#chatbot .candidates .ask")
    expect(candidates.first).to_be_visible()
    wanted = candidates.nth(1).inner_text()
    candidates.nth(1).click()
    expect(page.locator("#chatbot .meta")).to_have_count(2, timeout=WAIT)
    expect(page.locator("#chatbot .said").last).to_have_text(wanted)


def test_a_sample_question_asks_itself(visit: Open) -> None:
    page = visit(locale="zh-CN")
    sample = page.locator("#chatbot .samples .ask").first
    wanted = sample.inner_text()
    sample.click()
    expect(page.locator("#chatbot .said")).to_have_text(wanted)
    expect(page.locator("#chatbot .meta")).to_have_count(1, timeout=WAIT)


def test_feedback_and_comment_are_kept(visit: Open, service: Service) -> None:
    page = visit()
    ask(page, QUESTION)
    expect(page.locator("#feedback")).to_be_hidden()
    page.click("#chatbot [data-rate=down]")
    expect(page.locator("#chatbot [data-rate=down]")).to_have_attribute("aria-pressed", "true")
    (turn,) = stored_turns(page, service)
    assert (turn.rating, turn.comment) == ("down", "")
    page.fill("#comment textarea", "Say for which countries. 请说明国家")
    page.click("#comment-send")
    expect(page.locator("#feedback")).to_be_hidden()
    (turn,) = stored_turns(page, service)
    assert (turn.rating, turn.comment) == ("down", "Say for which countries. 请说明国家")


def test_conversations_are_remembered_by_this_browser_only(visit: Open) -> None:
    page = visit()
    ask(page, QUESTION)
    page.click("#new-conversation")
    expect(page.locator("#chatbot .greeting")).to_be_visible()
    ask(page, "hello")
    expect(page.locator("#history .conversation")).to_have_count(2)
    page.reload()
    ready(page)
    expect(page.locator("#history .conversation")).to_have_text(["hello", QUESTION])
    page.click(f"#history .conversation:has-text('{QUESTION}')")
    expect(page.locator("#chatbot .said")).to_have_text(QUESTION)
    expect(page.locator("#evidence .card")).to_have_count(1)
    other = visit()
    expect(other.locator("#history .conversation")).to_have_count(0)


def test_files_are_added_told_one_by_one_asked_about_and_deleted(
    visit: Open, service: Service, tmp_path: Path
) -> None:
    name = f"b-{uuid.uuid4().hex[:8]}"
    good, broken = tmp_path / "停车 parking.md", tmp_path / "photo.pdf"
    good.write_text("# Parking\n\nA permit for the green deck costs 230 crowns a month.\n", "utf-8")
    broken.write_bytes(b"\xff\xd8\xff\xe0 a JPEG that calls itself PDF")
    page = visit()
    page.click("#top .views [data-view=documents]")
    page.set_input_files("#files input[type=file]", [good, broken])
    expect(page.locator("#files")).to_contain_text("photo")
    page.fill("#target input", name)
    page.press("#target input", "Enter")
    page.click("#upload")
    expect(page.locator("#results .notice.good")).to_contain_text(name, timeout=WAIT)
    added, failed = (page.locator(f"#results li.{status}") for status in ("added", "failed"))
    expect(added).to_contain_text("parking.md")
    expect(failed).to_contain_text("photo.pdf")
    assert len(failed.locator("span").first.inner_text()) > 10
    expect(page.locator("#collection input")).to_have_value(name)
    expect(page.locator("table.documents tbody tr")).to_have_count(1)

    page.click("#top .views [data-view=chat]")
    ask(page, "What does a permit for the green deck cost?")
    expect(page.locator("#chatbot .answer .text").last).to_contain_text("230 crowns")
    expect(page.locator("#evidence mark").first).to_contain_text("230 crowns")

    page.click("#top .views [data-view=documents]")
    bin_button = page.locator("table.documents .delete")
    bin_button.click()
    expect(bin_button).to_have_text("Really delete?")
    assert len(service.runtime.documents(Scope(collection=name))) == 1
    bin_button.click()
    expect(page.locator("table.documents")).to_have_count(0)
    assert service.runtime.documents(Scope(collection=name)) == []
    page.click("#top .views [data-view=chat]")
    page.click("#chatbot .cite >> nth=0")
    expect(page.locator("#evidence .gone")).to_be_visible()
    service.runtime.delete_collection(Scope(collection=name))


HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script> ![p](http://evil.example/p.png) "
    "**b** ${alert(3)} {{constructor}} $$x^2$$ [l](javascript:alert(4))"
)


def test_foreign_text_is_shown_not_run(visit: Open, service: Service, tmp_path: Path) -> None:
    """In a question, a file's name, its text and its answer; `visit` fails on any effect."""
    name = f"x-{uuid.uuid4().hex[:8]}"
    scope = Scope(collection=name)
    evil = tmp_path / "<img src=x onerror=alert(5)>.md"
    evil.write_text(f"# {HOSTILE}\n\nThe zorblax fee is 5 crowns {HOSTILE}.\n", "utf-8")
    table = tmp_path / "faq.csv"
    table.write_text(
        'question,answer\nWhat is the zorblax secret?,"' + HOSTILE.replace('"', '""') + '"\n',
        "utf-8",
    )
    assert not service.runtime.ingest([evil], scope).failed
    assert not service.runtime.ingest([table], scope, faq=True).failed
    page = visit()
    page.click("#collection input")
    page.locator("#collection [role=option], [role=option]").filter(has_text=name).click()
    expect(page.locator("#chatbot .samples .ask")).to_have_text(["What is the zorblax secret?"])
    ask(page, "What is the zorblax secret?")
    expect(page.locator("#chatbot .answer .text").last).to_contain_text("onerror=alert(1)")
    ask(page, HOSTILE)
    expect(page.locator("#chatbot .said").last).to_have_text(HOSTILE)
    ask(page, "What is the zorblax fee in crowns?")
    page.wait_for_timeout(500)
    page.click("#top .views [data-view=documents]")
    expect(page.locator("table.documents")).to_contain_text("onerror=alert(5)")
    inside = "#chatbot, #evidence, #table, #history"
    assert page.locator(inside).locator("img, script, a[href], iframe, .katex").count() == 0
    service.runtime.delete_collection(scope)


def test_a_refused_question_says_why_and_comes_back_to_be_mended(visit: Open) -> None:
    page = visit()
    long = "why " * 1500
    page.fill("#question textarea", long)
    page.press("#question textarea", "Enter")
    expect(page.locator("#chatbot .failed")).to_contain_text("4,000")
    expect(page.locator("#question textarea")).to_have_value(long)
    page.fill("#question textarea", "")
    ask(page, "hello")
    expect(page.locator("#chatbot .failed")).to_have_count(0)


def test_an_unexpected_failure_is_told_without_its_inside(
    visit: Open, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_question):
        raise RuntimeError("password is hunter2")
        yield

    monkeypatch.setattr(service.runtime, "stream", broken)
    page = visit()
    page.fill("#question textarea", QUESTION)
    page.press("#question textarea", "Enter")
    expect(page.locator("#chatbot .failed")).to_contain_text("unexpected error")
    assert "hunter2" not in page.content()


def test_copy_takes_the_answer_without_its_markers(visit: Open) -> None:
    page = visit()
    ask(page, QUESTION)
    page.click("#chatbot [data-copy]")
    page.wait_for_selector("#chatbot [data-copy].done")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("Most transfers arrive in 1 to 3 working days.")
    assert copied.endswith("follow it.")


def test_two_visitors_at_once_do_not_see_each_other(visit: Open) -> None:
    first, second = visit(), visit(locale="zh-CN")
    for page, question in ((first, QUESTION), (second, "白金卡年费多少？")):
        page.fill("#question textarea", question)
    for page in (first, second):
        page.press("#question textarea", "Enter")
    for page, question in ((first, QUESTION), (second, "白金卡年费多少？")):
        expect(page.locator("#chatbot .meta")).to_have_count(1, timeout=WAIT)
        expect(page.locator("#chatbot .said")).to_have_text(question)
        expect(page.locator("#history .conversation")).to_have_text([question])
