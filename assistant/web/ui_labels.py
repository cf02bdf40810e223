"""The page's labels in the visitor's language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from assistant.web.ui_render import escape, icon, top_bar
from assistant.web.ui_strings import Strings

if TYPE_CHECKING:
    from assistant.web.ui_layout import Parts


def relabel(
    parts: Parts, strings: Strings, max_file_mb: int, updates: dict[Any, Any]
) -> dict[Any, Any]:
    """Return ``updates`` with every label added; a component's own update keeps its values."""
    chat, documents = parts.chat, parts.documents
    labels: dict[Any, dict[str, Any]] = {
        parts.top: {"value": top_bar(strings)},
        parts.collection: {"label": strings.collection},
        chat.history_title: {"value": _history_title(strings)},
        chat.new: {"value": strings.new_conversation},
        chat.chatbot: {"label": strings.chat_label},
        chat.question: {"label": strings.placeholder, "placeholder": strings.placeholder},
        chat.send: {"value": strings.send},
        chat.stop: {"value": strings.stop},
        chat.comment: {
            "label": strings.feedback_prompt,
            "placeholder": strings.feedback_placeholder,
        },
        chat.comment_send: {"value": strings.feedback_send},
        documents.upload_title: {"value": _upload_title(strings, max_file_mb)},
        documents.files: {"label": strings.upload_title},
        documents.target: {
            "label": strings.upload_target,
            "info": strings.upload_target_hint,
        },
        documents.faq: {"label": strings.upload_faq, "info": strings.upload_faq_hint},
        documents.upload: {"value": strings.upload_button},
    }
    merged = dict(updates)
    for component, label in labels.items():
        own = updates.get(component, {})
        merged[component] = gr.update(**{**label, **_plain(own)})
    return merged


def _plain(update: Any) -> dict[str, Any]:
    if not isinstance(update, dict):
        return {"value": update}
    return {key: value for key, value in update.items() if key != "__type__"}


def _history_title(strings: Strings) -> str:
    return (
        f'<header class="pane-head"><h2>{escape(strings.history)}</h2>'
        f'<button type="button" class="square" data-drawer="close" '
        f'aria-label="{escape(strings.close)}">{icon("close")}</button></header>'
    )


def _upload_title(strings: Strings, max_file_mb: int) -> str:
    hint = escape(strings.upload_hint.format(megabytes=max_file_mb))
    return (
        f'<header class="list-head"><h2>{escape(strings.upload_title)}</h2><p>{hint}</p></header>'
    )
