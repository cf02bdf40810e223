"""The page's components and where they stand. No behaviour here."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from assistant.types import DEFAULT_COLLECTION
from assistant.web.ui_evidence import empty_panel
from assistant.web.ui_render import top_bar
from assistant.web.ui_strings import Strings
from indexes.loaders import SUPPORTED_SUFFIXES

# Conversations are listed per browser: there is no sign-in yet, and one visitor must not read
# another's. The "secret" only obscures the list in the visitor's own browser.
_HISTORY_KEY = "assistant.conversations"
_HISTORY_SECRET = "conversations-of-this-browser"  # noqa: S105

# Page script → Python: what a click means, with its data, as an `input` event.
_BRIDGE = "(window.assistantBridges ??= {{}})['{name}'] = (data) => trigger('input', data);"


@dataclass(frozen=True, slots=True)
class Bridges:
    """Invisible components through which the page script reports clicks inside HTML."""

    ask: gr.HTML
    open: gr.HTML
    evidence: gr.HTML
    rate: gr.HTML
    language: gr.HTML
    delete: gr.HTML
    view: gr.HTML


@dataclass(frozen=True, slots=True)
class ChatParts:
    """The chat view."""

    new: gr.Button
    history: gr.HTML
    history_title: gr.HTML
    chatbot: gr.Chatbot
    question: gr.Textbox
    send: gr.Button
    stop: gr.Button
    feedback: gr.Row
    comment: gr.Textbox
    comment_send: gr.Button
    evidence: gr.HTML


@dataclass(frozen=True, slots=True)
class DocumentParts:
    """The documents view."""

    upload_title: gr.HTML
    files: gr.File
    target: gr.Dropdown
    faq: gr.Checkbox
    upload: gr.Button
    results: gr.HTML
    table: gr.HTML


@dataclass(frozen=True, slots=True)
class Parts:
    """Every component that has behaviour."""

    top: gr.HTML
    collection: gr.Dropdown
    chat: ChatParts
    documents: DocumentParts
    bridges: Bridges
    session: gr.State
    browser: gr.BrowserState


def build_layout(strings: Strings) -> Parts:
    """Create the components in the current Blocks, labelled in one language to begin with."""
    with gr.Row(elem_id="topbar", equal_height=True):
        top = gr.HTML(top_bar(strings), elem_id="top", apply_default_css=False)
        collection = gr.Dropdown(
            [DEFAULT_COLLECTION],
            value=DEFAULT_COLLECTION,
            label=strings.collection,
            elem_id="collection",
            interactive=True,
            container=False,
            min_width=120,
        )
    with gr.Row(elem_id="chat-view", equal_height=False):
        chat = _chat(strings)
    with gr.Row(elem_id="documents-view", equal_height=False):
        documents = _documents(strings)
    return Parts(
        top=top,
        collection=collection,
        chat=chat,
        documents=documents,
        bridges=Bridges(*(_bridge(name) for name in Bridges.__dataclass_fields__)),
        session=gr.State({}),
        browser=gr.BrowserState([], storage_key=_HISTORY_KEY, secret=_HISTORY_SECRET),
    )


def _bridge(name: str) -> gr.HTML:
    return gr.HTML(
        "", js_on_load=_BRIDGE.format(name=name), elem_classes="bridge", elem_id=f"bridge-{name}"
    )


def _chat(strings: Strings) -> ChatParts:
    with gr.Column(elem_id="history-pane", scale=0, min_width=0):
        history_title = gr.HTML("", elem_id="history-title", apply_default_css=False)
        new = gr.Button(strings.new_conversation, elem_id="new-conversation", size="md")
        history = gr.HTML("", elem_id="history", apply_default_css=False)
    with gr.Column(elem_id="chat-pane", scale=1, min_width=0):
        chatbot = gr.Chatbot(
            [],
            label=strings.chat_label,
            show_label=False,
            container=False,
            elem_id="chatbot",
            height="100%",
            buttons=[],
            feedback_options=None,
            # The sanitiser would strip the data and ARIA attributes of our own markup; all foreign
            # text in a message is escaped by ui_render.
            sanitize_html=False,
            latex_delimiters=[],
            layout="bubble",
            group_consecutive_messages=False,
            allow_file_downloads=False,
        )
        with gr.Row(elem_id="feedback", visible=False) as feedback:
            comment = gr.Textbox(
                label=strings.feedback_prompt,
                placeholder=strings.feedback_placeholder,
                max_length=2000,
                lines=1,
                max_lines=4,
                scale=1,
                elem_id="comment",
            )
            comment_send = gr.Button(
                strings.feedback_send, scale=0, min_width=110, elem_id="comment-send"
            )
        with gr.Row(elem_id="composer", equal_height=False):
            question = gr.Textbox(
                label=strings.placeholder,
                placeholder=strings.placeholder,
                show_label=False,
                container=False,
                lines=1,
                max_lines=6,
                scale=1,
                elem_id="question",
            )
            send = gr.Button(strings.send, variant="primary", scale=0, min_width=84, elem_id="send")
            stop = gr.Button(
                strings.stop, variant="secondary", scale=0, min_width=84, elem_id="stop",
                visible=False,
            )  # fmt: skip
    with gr.Column(elem_id="evidence-pane", scale=0, min_width=0):
        evidence = gr.HTML(empty_panel(strings), elem_id="evidence", apply_default_css=False)
    return ChatParts(
        new, history, history_title, chatbot, question, send, stop, feedback, comment,
        comment_send, evidence,
    )  # fmt: skip


def _documents(strings: Strings) -> DocumentParts:
    with gr.Column(elem_id="upload-pane", scale=0, min_width=0):
        upload_title = gr.HTML("", elem_id="upload-title", apply_default_css=False)
        files = gr.File(
            label=strings.upload_title,
            show_label=False,
            file_count="multiple",
            file_types=sorted(SUPPORTED_SUFFIXES),
            elem_id="files",
            height=180,
        )
        target = gr.Dropdown(
            [DEFAULT_COLLECTION],
            value=DEFAULT_COLLECTION,
            label=strings.upload_target,
            info=strings.upload_target_hint,
            allow_custom_value=True,
            elem_id="target",
            interactive=True,
        )
        faq = gr.Checkbox(
            label=strings.upload_faq, info=strings.upload_faq_hint, elem_id="faq", container=False
        )
        upload = gr.Button(strings.upload_button, variant="primary", elem_id="upload")
        results = gr.HTML("", elem_id="results", apply_default_css=False)
    with gr.Column(elem_id="table-pane", scale=1, min_width=0):
        table = gr.HTML("", elem_id="table", apply_default_css=False)
    return DocumentParts(upload_title, files, target, faq, upload, results, table)
