"""The evidence panel: each cited passage in its document, with the quote marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assistant.errors import AssistantError
from assistant.types import Scope
from assistant.web.passages import Passage, SourceText, passage_of
from assistant.web.ui_render import escape, escape_lines, icon, paragraphs
from assistant.web.ui_strings import Strings

if TYPE_CHECKING:
    from assistant.runtime import Runtime


def empty_panel(strings: Strings) -> str:
    """Before the first answer."""
    return _panel(strings, None, f'<p class="hint">{escape(strings.evidence_hint)}</p>')


def evidence_panel(
    runtime: Runtime, scope: Scope, turn: int, question: str, answer: Mapping[str, Any],
    strings: Strings,
) -> str:  # fmt: skip
    """The passages that turn ``turn`` cites, numbered as in the answer."""
    cards = []
    documents: dict[str, SourceText | None] = {}
    for number, citation in enumerate(answer["citations"], 1):
        document_id = citation["document_id"]
        if document_id not in documents:
            documents[document_id] = _document(runtime, scope, document_id)
        cards.append(_card(number, citation, _passage(documents[document_id], citation), strings))
    body = "".join(cards) or f'<p class="hint">{escape(strings.evidence_none)}</p>'
    heading = f'<p class="about" dir="auto">{escape(strings.evidence_for.format(question="")).strip()} <b>{escape(question[:200])}</b></p>'  # noqa: E501
    return _panel(strings, turn, heading + body)


def _panel(strings: Strings, turn: int | None, body: str) -> str:
    shown = "" if turn is None else f' data-turn="{turn}"'
    return (
        f'<section class="evidence"{shown} aria-label="{escape(strings.evidence)}">'
        f'<header><h2>{escape(strings.evidence)}</h2><button type="button" class="square back" '
        f'data-back aria-label="{escape(strings.back_to_chat)}">{icon("arrow")}</button></header>'
        f'<div class="cards">{body}</div></section>'
    )


def _document(runtime: Runtime, scope: Scope, document_id: str) -> SourceText | None:
    try:
        return runtime.document(scope, document_id)
    except AssistantError:
        # Deleted since: the quote itself is still in the answer.
        return None


def _passage(document: SourceText | None, citation: Mapping[str, Any]) -> Passage | None:
    """The passage, or None when the document no longer reads as it was quoted."""
    start, end = int(citation["start"]), int(citation["end"])
    if document is None or document.text[start:end] != citation["quote"]:
        return None
    return passage_of(document, start, end)


def _card(
    number: int, citation: Mapping[str, Any], passage: Passage | None, strings: Strings
) -> str:
    if passage is None:
        where: Sequence[str] = ()
        page = None
        text = (
            f"<mark>{escape_lines(citation['quote'])}</mark>"
            f'<p class="gone">{escape(strings.evidence_gone)}</p>'
        )
    else:
        where = [part for part in passage.heading_path if part != citation["title"]]
        page = passage.page
        text = _marked(passage)
    path = "".join(f"<span>{escape(part)}</span>" for part in where)
    pages = (
        f'<span class="page">{escape(strings.page_number.format(number=page))}</span>'
        if page is not None
        else ""
    )
    crumbs = f'<p class="path" dir="auto">{path}{pages}</p>' if path or pages else ""
    return (
        f'<article class="card" id="evidence-{number}" data-evidence="{number}" tabindex="-1">'
        f'<h3><span class="number">{number}</span><span dir="auto">{escape(citation["title"])}'
        f'</span></h3><p class="source" dir="auto">{icon("file")}{escape(citation["source"])}</p>'
        f'{crumbs}<blockquote dir="auto">{paragraphs(text)}</blockquote></article>'
    )


def _marked(passage: Passage) -> str:
    before = passage.text[: passage.quote_start].lstrip()
    quote = passage.text[passage.quote_start : passage.quote_end]
    after = passage.text[passage.quote_end :].rstrip()
    lead = "… " if passage.cut_before else ""
    tail = " …" if passage.cut_after else ""
    return (
        f"{lead}{escape_lines(before)}<mark>{escape_lines(quote)}</mark>{escape_lines(after)}{tail}"
    )
