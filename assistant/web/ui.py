"""The Gradio page, put together. Imported only when the page is built: Gradio takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI
from gradio.themes.utils.fonts import Font

from assistant.web.ui_chat import ChatView
from assistant.web.ui_documents import DocumentsView
from assistant.web.ui_labels import relabel
from assistant.web.ui_layout import Parts, build_layout
from assistant.web.ui_session import Session, visitor_scope
from assistant.web.ui_strings import EN, LANGUAGE_COOKIE, preferred_language

if TYPE_CHECKING:
    from assistant.runtime import Runtime

_STATIC = Path(__file__).parent / "static"
_STYLES = (
    "page.css", "bar.css", "conversation.css", "composer.css", "evidence.css", "documents.css",
    "phone.css",
)  # fmt: skip
_CONCURRENT_EVENTS = 16
_WAITING_EVENTS = 256
_KEEP_UPLOADS_SECONDS = 3600
# System fonts only: a font from another host would be a request to another host.
_FONTS = (
    "Inter", "system-ui", "-apple-system", "Segoe UI", "Roboto", "PingFang SC", "Noto Sans SC",
    "Noto Sans CJK SC", "Microsoft YaHei", "Hiragino Sans GB", "sans-serif",
)  # fmt: skip
_MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

Updates = dict[Any, Any]


def build_page(runtime: Runtime) -> FastAPI:
    """Return the page as an application to mount at ``/``; its lifespan must be run."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    blocks = gr.Blocks(
        title=EN.title,
        analytics_enabled=False,
        fill_width=True,
        # Files chosen but never added; those added are removed at once.
        delete_cache=(_KEEP_UPLOADS_SECONDS, _KEEP_UPLOADS_SECONDS),
    )
    with blocks:
        parts = build_layout(EN)
        _Wiring(runtime, parts).connect(blocks)
    blocks.queue(
        default_concurrency_limit=_CONCURRENT_EVENTS, max_size=_WAITING_EVENTS, api_open=False
    )
    gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=f"{runtime.settings.max_file_mb}mb",
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        favicon_path=str(_STATIC / "icon.svg"),
        theme=_theme(),
        head=_head(),
    )
    return app


def _head() -> str:
    # Not by `css=`: Gradio confines that to its own container, and the theme's colours are set on
    # the body.
    styles = "".join((_STATIC / name).read_text("utf-8") for name in _STYLES)
    script = (_STATIC / "page.js").read_text("utf-8")
    return f"<style>{styles}</style><script>{script}</script>"


def _theme() -> gr.themes.Base:
    return gr.themes.Base(
        font=[Font(name) for name in _FONTS], font_mono=[Font(name) for name in _MONO_FONTS]
    )


class _Wiring:
    """Connects the components to the callbacks of the views."""

    def __init__(self, runtime: Runtime, parts: Parts) -> None:
        self._runtime = runtime
        self._parts = parts
        self._chat = ChatView(runtime, parts)
        self._documents = DocumentsView(runtime, parts)

    def connect(self, blocks: gr.Blocks) -> None:
        """Register every event. None of them is offered as an API of its own."""
        self._connect_page(blocks)
        self._connect_chat()
        self._connect_documents()

    def _connect_page(self, blocks: gr.Blocks) -> None:
        p = self._parts
        outputs = self._everything()
        blocks.load(self._loaded, [p.session, p.browser], outputs, **_quiet())
        p.bridges.language.input(self._language_chosen, [p.session, p.browser], outputs, **_quiet())

    def _connect_chat(self) -> None:
        p, chat = self._parts, self._parts.chat
        talking = [
            chat.chatbot, chat.question, chat.send, chat.stop, chat.feedback, chat.evidence,
            chat.history, p.session, p.browser,
        ]  # fmt: skip
        asked = [
            gr.on(
                [chat.question.submit, chat.send.click],
                self._chat.ask_typed,
                [chat.question, p.collection, p.session, p.browser],
                talking,
                trigger_mode="once",
                **_quiet(),
            ),
            p.bridges.ask.input(
                self._chat.ask_clicked,
                [p.collection, p.session, p.browser],
                talking,
                trigger_mode="once",
                **_quiet(),
            ),
        ]
        chat.stop.click(self._chat.stopped, p.session, talking, cancels=asked, **_quiet())
        p.bridges.evidence.input(self._chat.show_evidence, p.session, chat.evidence, **_quiet())
        judging = [chat.chatbot, chat.feedback, chat.comment, p.session]
        p.bridges.rate.input(self._chat.rate, p.session, judging, **_quiet())
        gr.on(
            [chat.comment.submit, chat.comment_send.click],
            self._chat.comment,
            [chat.comment, p.session],
            [chat.feedback, chat.comment],
            **_quiet(),
        )
        drawn = [*talking, p.collection]
        chat.new.click(
            self._chat.new_conversation, [p.session, p.browser], drawn, cancels=asked, **_quiet()
        )
        p.bridges.open.input(
            self._chat.open_conversation, [p.session, p.browser], drawn, cancels=asked, **_quiet()
        )
        p.collection.input(
            self._collection_chosen,
            [p.collection, p.session, p.browser],
            self._everything(),
            cancels=asked,
            **_quiet(),
        )

    def _connect_documents(self) -> None:
        p, view = self._parts, self._parts.documents
        listed = [p.collection, view.target, view.table, p.session]
        view.upload.click(
            self._documents.upload,
            [view.files, view.target, view.faq, p.session],
            [*listed, view.results, view.files, view.faq, view.upload],
            trigger_mode="once",
            **_quiet(),
        ).then(self._changed, [p.session, p.browser], self._everything(), **_quiet())
        p.bridges.delete.input(self._documents.delete, p.session, listed, **_quiet()).then(
            self._changed, [p.session, p.browser], self._everything(), **_quiet()
        )
        p.bridges.view.input(self._documents.refresh, p.session, listed, **_quiet())

    def _everything(self) -> list[Any]:
        p = self._parts
        parts = [p.top, p.collection, p.session, p.browser]
        for group in (p.chat, p.documents):
            parts += [getattr(group, name) for name in group.__dataclass_fields__]
        return parts

    def _loaded(self, stored: dict[str, Any], browser: Any, request: gr.Request) -> Updates:
        """A visitor opens the page: their language, their conversations, what can be asked."""
        session = Session.load(stored)
        session.language = preferred_language(
            request.headers.get("accept-language", ""), request.cookies.get(LANGUAGE_COOKIE)
        )
        if not session.turns:
            session.collection = self._documents.first_collection(visitor_scope(request).tenant)
        return self._redraw_all(session, browser, request)

    def _language_chosen(
        self, stored: dict[str, Any], browser: Any, event: gr.EventData, request: gr.Request
    ) -> Updates:
        session = Session.load(stored)
        session.language = "zh" if event.language == "zh" else "en"
        return self._redraw_all(session, browser, request)

    def _collection_chosen(
        self, name: str, stored: dict[str, Any], browser: Any, request: gr.Request
    ) -> Updates:
        session = Session.load(stored)
        session.choose(name)
        return self._redraw_all(session, browser, request)

    def _changed(self, stored: dict[str, Any], browser: Any, request: gr.Request) -> Updates:
        """Documents came or went: the greeting and the evidence shown must follow."""
        return self._chat.redrawn(Session.load(stored), browser, request)

    def _redraw_all(self, session: Session, browser: Any, request: gr.Request) -> Updates:
        documents = self._documents.redrawn(session, request)
        chat = self._chat.redrawn(session, browser, request)
        return relabel(self._parts, session.strings, self._runtime.settings.max_file_mb, {
            **documents, **chat,
        })  # fmt: skip


def _quiet() -> dict[str, Any]:
    """Options of every event: no spinner over the page, no public API endpoint."""
    return {"show_progress": "hidden", "api_visibility": "private"}
