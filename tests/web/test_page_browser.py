"""The page in a real Chromium, over the real service: what a person sees and does."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright
from web_support import Service

from assistant.types import Scope

# A browser on a busy machine may miss a beat; `visit` names every failed request when it does.
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.flaky(reruns=2)]

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
DESK = {"width": 1280, "height": 860}
PHONE = {"width": 390, "height": 844}
QUESTION = "How long does an international transfer take?"
WAIT = 20_000
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        if program is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium on this machine")
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Open]:
    """Open the page in a fresh profile; afterwards nothing may have gone wrong or elsewhere."""
    contexts: list[BrowserContext] = []
    problems: list[str] = []
    hosts: set[str] = set()

    def note_request(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in {"http", "https", "ws", "wss"}:
            hosts.add(parts.netloc)

    def note_failure(response: Response) -> None:
        if response.status >= 400:
            request = response.request
            problems.append(
                f"{response.status} {request.method} {request.url}: {request.post_data}"
            )

    def open_page(
        *, locale: str = "en-US", size: dict = DESK, scheme: str = "light", path: str = "/"
    ) -> Page:
        phone = size is PHONE
        context = browser.new_context(
            viewport=size, locale=locale, color_scheme=scheme, is_mobile=phone, has_touch=phone,
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT)
        context.on("request", lambda request: note_request(request.url))
        page.on("response", note_failure)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.goto(service.url + path)
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert hosts <= {urlsplit(service.url).netloc}
    assert problems == []


def ready(page: Page) -> None:
    page.wait_for_selector("body.ready", timeout=30_000)
    page.wait_for_selector("#chatbot :is(.greeting, .answer)")


def ask(page: Page, question: str) -> None:
    """Type a question, send it, wait for the whole answer."""
    before = page.locator("#chatbot .meta").count()
    page.fill("#question textarea", question)
    page.press("#question textarea", "Enter")
    expect(page.locator("#chatbot .meta")).to_have_count(before + 1, timeout=WAIT)
    expect(page.locator("#send")).to_be_visible()


def stored_turns(page: Page, service: Service) -> list:
    """The turns of the conversation shown as current, as the database has them."""
    identifier = page.locator("#history [aria-current]").get_attribute("data-open")
    assert identifier
    return service.runtime.conversation("default", identifier)


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


def test_the_language_follows_the_browser_and_can_be_chosen(visit: Open) -> None:
    page = visit(locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    expect(page.locator("#send")).to_have_text("发送")
    expect(page.locator("#question textarea")).to_have_attribute("placeholder", "请输入问题……")
    ask(page, "白金卡年费多少？")
    expect(page.locator("#chatbot .badge")).to_have_text("常见问题 · 标准答案")
    page.click("[data-language=en]")
    expect(page.locator("#send")).to_have_text("Send")
    expect(page.locator("#chatbot .badge")).to_have_text("FAQ · approved answer")
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.title() == "Domain assistant"
    page.reload()
    ready(page)
    expect(page.locator("#send")).to_have_text("Send")


def rgb(page: Page, selector: str, what: str = "backgroundColor") -> tuple[int, ...]:
    value = page.evaluate(
        "([selector, what]) => getComputedStyle(document.querySelector(selector))[what]",
        [selector, what],
    )
    return tuple(int(part) for part in value[value.index("(") + 1 : -1].split(",")[:3])


def contrast(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """The contrast ratio of WCAG 2, 1 to 21."""

    def luminance(colour: tuple[int, ...]) -> float:
        parts = [c / 255 for c in colour]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dark_follows_the_system_and_can_be_switched(visit: Open, scheme: str) -> None:
    page = visit(scheme=scheme)
    ask(page, QUESTION)
    page.wait_for_selector("#evidence mark")
    dark = scheme == "dark"
    assert (sum(rgb(page, "#chat-pane")) < 200) == dark
    for text, ground in (
        ("#chatbot .answer .text", "#chat-pane"),
        ("#chatbot .badge", "#chatbot .badge"),
        ("#chatbot .cite", "#chatbot .cite"),
        ("#chatbot .confidence", "#chat-pane"),
        ("#evidence blockquote", "#evidence blockquote"),
        ("#evidence mark", "#evidence mark"),
        ("#send", "#send"),
        ("#evidence .source", "#evidence .card"),
    ):
        assert contrast(rgb(page, text, "color"), rgb(page, ground)) >= 4.5, text
    page.click("[data-theme-switch]")
    assert (sum(rgb(page, "#chat-pane")) < 200) != dark
    page.reload()
    ready(page)
    assert (sum(rgb(page, "#chat-pane")) < 200) != dark


def test_a_phone_shows_everything_within_its_width(visit: Open) -> None:
    page = visit(size=PHONE)
    ask(page, QUESTION)
    for view in ("chat", "documents"):
        page.click(f"#top .views [data-view={view}]")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.click("#top .views [data-view=chat]")
    composer = page.locator("#composer").bounding_box()
    assert composer
    assert composer["y"] + composer["height"] <= PHONE["height"]
    chat, evidence = (page.locator(s).bounding_box() for s in ("#chat-pane", "#evidence-pane"))
    assert chat
    assert evidence
    assert evidence["y"] >= chat["y"] + chat["height"] - 1
    page.locator("#chatbot .cite").first.tap()
    expect(page.locator("#evidence mark").first).to_be_in_viewport()
    page.locator("#evidence [data-back]").tap()
    expect(page.locator("#question")).to_be_in_viewport()
    expect(page.locator("#history-pane")).to_be_hidden()
    page.locator("#top [data-drawer]").tap()
    expect(page.locator("#history .conversation")).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(page.locator("#history-pane")).to_be_hidden()
    for button in page.locator("#top button:visible, #composer button:visible").all():
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 32


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


def test_the_page_can_be_used_by_keyboard(visit: Open) -> None:
    page = visit()
    assert page.evaluate("document.activeElement.closest('#question') !== null")
    page.keyboard.type(QUESTION)
    page.keyboard.press("Shift+Enter")
    assert page.locator("#chatbot .said").count() == 0
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    expect(page.locator("#chatbot .meta")).to_have_count(1, timeout=WAIT)
    page.locator("#chatbot .cite").first.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("#evidence .card.active")).to_be_visible()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.closest('#question') !== null")
    names = page.evaluate(
        """() => [...document.querySelectorAll('button, input:not([type=file]), textarea')]
            .filter(e => e.offsetParent)
            .filter(e => !(e.innerText.trim() || e.getAttribute('aria-label') || e.title
                || e.labels?.length))
            .map(e => e.outerHTML.slice(0, 200))"""
    )
    assert names == []
    spoken = page.locator("#chatbot [data-testid=bot]").last.get_attribute("aria-label")
    assert spoken == "Answer"


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
