"""The page in a real Chromium: its language, colours, width and keyboard."""

from __future__ import annotations

import pytest
from page_support import PHONE, QUESTION, WAIT, Open, ask, ready
from playwright.sync_api import Page, expect

# A browser on a busy machine may miss a beat; `visit` names every failed request when it does.
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.flaky(reruns=2)]


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
