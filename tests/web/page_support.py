"""What tests of the page share: how it is opened, asked and looked into."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect, sync_playwright
from web_support import Service

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
