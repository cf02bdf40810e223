"""HTML of the conversation: answers, the greeting, the list of conversations.

Whatever comes from a person or a document is data: every ASCII punctuation mark of it becomes a
character reference, which neither HTML nor Markdown reads as markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assistant.types import AnswerKind
from assistant.web.ui_strings import Strings

_PUNCTUATION = re.compile(r"[!-/:-@\[-`{-~]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_MARKER = re.compile(r"\s?\[(\d{1,2})\]")
_LINES = re.compile(r"\r\n|\r|\n|\u2028|\u2029")
_BREAKS = re.compile(r"(?:\r\n|\r|\n|\u2028|\u2029)(?:[^\S\r\n]*(?:\r\n|\r|\n))*")
_SENTENCE_END = tuple(".。!！?？;；")

ICONS = {
    "copy": '<path d="M9 9h10v11H9z"/><path d="M5 15V4h10"/>',
    "up": '<path d="M7 11v9H4v-9zM7 11l4-8c1.5 0 2.5 1 2.5 2.5V9H19c1.2 0 2 1 1.8 2.2l-1.2 7.3'
    'c-.2.9-.9 1.5-1.8 1.5H7"/>',
    "down": '<path d="M17 13V4h3v9zM17 13l-4 8c-1.5 0-2.5-1-2.5-2.5V15H5c-1.2 0-2-1-1.8-2.2l1.2-7.3'
    'C4.6 4.6 5.3 4 6.2 4H17"/>',
    "theme": '<circle cx="12" cy="12" r="8.5"/><path d="M12 3.5v17a8.5 8.5 0 0 0 0-17z" '
    'fill="currentColor"/>',
    "menu": '<path d="M4 7h16M4 12h16M4 17h10"/>',
    "close": '<path d="M6 6l12 12M18 6L6 18"/>',
    "trash": '<path d="M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13"/>',
    "file": '<path d="M6 3h8l4 4v14H6z"/><path d="M14 3v4h4"/>',
    "arrow": '<path d="M12 19V5M6 11l6-6 6 6"/>',
    "chat": '<path d="M4 5h16v11H10l-4 4v-4H4z"/>',
}


def icon(name: str) -> str:
    """An inline line icon, 20 by 20, in the colour of the text, hidden from screen readers."""
    return (
        '<svg class="icon" viewBox="0 0 24 24" width="20" height="20" fill="none" '
        'stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" '
        f'aria-hidden="true" focusable="false">{ICONS[name]}</svg>'
    )


def escape(text: str) -> str:
    """Make ``text`` literal in HTML and in Markdown, on one line."""
    return _LINES.sub(" ", escape_lines(text))


def escape_lines(text: str) -> str:
    """As :func:`escape`, but line breaks stay as they are."""
    clean = _CONTROL.sub("", text.replace("\r\n", "\n"))
    clean = clean.encode("utf-8", "replace").decode("utf-8")
    return _PUNCTUATION.sub(lambda match: f"&#{ord(match.group())};", clean)


def paragraphs(escaped: str) -> str:
    """Escaped text with its line breaks as elements: a blank line would end the HTML block."""
    return _BREAKS.sub(_break, escaped.strip("\n"))


def _break(match: re.Match[str]) -> str:
    blank = len(_LINES.findall(match.group())) > 1
    return '<br><span class="gap"></span>' if blank else "<br>"


def user_message(question: str) -> str:
    """What the person asked, literally."""
    return f'<div class="said" dir="auto">{paragraphs(escape_lines(question))}</div>'


def partial_message(text: str) -> str:
    """An answer still being composed."""
    return (
        '<div class="answer pending" dir="auto" aria-busy="true">'
        f'{paragraphs(escape_lines(text))}<span class="caret" aria-hidden="true"></span></div>'
    )


def thinking_message(strings: Strings) -> str:
    """Shown until the first words come."""
    return (
        f'<div class="answer thinking" role="status"><span class="dots" aria-hidden="true">'
        f"<i></i><i></i><i></i></span><span>{escape(strings.thinking)}</span></div>"
    )


def error_message(message: str) -> str:
    """A refused or failed question."""
    return f'<div class="answer failed" role="alert">{paragraphs(escape_lines(message))}</div>'


def answer_message(
    answer: Mapping[str, Any], turn: int, strings: Strings, rating: str | None = None
) -> str:
    """A complete answer: text with citation buttons, candidates, kind, confidence, judgement.

    ``answer`` is the answer contract's JSON; ``turn`` its index in the conversation.
    """
    kind = AnswerKind(answer["kind"])
    instead = kind in (AnswerKind.CLARIFY, AnswerKind.ABSTAIN)
    parts = [
        f'<div class="answer {kind.value}" data-turn="{turn}" lang="{escape(answer["language"])}">',
        f'<div class="text" dir="auto">{_with_citations(answer, turn, strings)}</div>',
        _candidates(answer["candidates"], "") if instead else "",
        _meta(answer, kind, turn, strings, rating),
        "" if instead else _candidates(_beyond(answer), strings.related),
        "</div>",
    ]
    return "".join(parts)


def _with_citations(answer: Mapping[str, Any], turn: int, strings: Strings) -> str:
    pieces: list[str] = []
    spoken = without_listing(answer["answer"], answer["candidates"])
    for text, numbers in cited_pieces(spoken, answer["citations"]):
        # The last character and its markers stay on one line.
        body, tail = (text[:-1], text[-1:]) if numbers and not text[-1:].isspace() else (text, "")
        buttons = "".join(_cite_button(number, turn, strings) for number in numbers)
        pieces.append(escape_lines(body))
        if buttons:
            pieces.append(f'<span class="tail">{escape_lines(tail)}{buttons}</span>')
    return paragraphs("".join(pieces))


def without_listing(text: str, candidates: Sequence[Mapping[str, Any]]) -> str:
    """Leave out the lines that only list the candidates: the page shows those as buttons."""
    listed = {str(candidate["question"]).strip() for candidate in candidates}
    lines = [line for line in text.split("\n") if line.strip().lstrip("-•·* ") not in listed]
    return "\n".join(lines) if any(line.strip() for line in lines) else text


def _cite_button(number: int, turn: int, strings: Strings) -> str:
    label = escape(strings.evidence_open.format(number=number))
    return (
        f'<button type="button" class="cite" data-turn="{turn}" data-cite="{number}" '
        f'aria-label="{label}" title="{label}">{number}</button>'
    )


def cited_pieces(
    text: str, citations: Sequence[Mapping[str, Any]]
) -> list[tuple[str, tuple[int, ...]]]:
    """Cut ``text`` where citations belong: pieces of text, each with the numbers that follow it.

    Numbers count from 1. Markers ``[n]`` in the text are used where there are any; else each
    citation stands after its quote, and one whose quote is not in the text at the end.
    """
    if any(_valid(match, len(citations)) for match in _MARKER.finditer(text)):
        return _split_at_markers(text, len(citations))
    places: dict[int, list[int]] = {}
    for number, citation in enumerate(citations, 1):
        place = _end_of(text, str(citation["quote"]))
        places.setdefault(place, []).append(number)
    pieces: list[tuple[str, tuple[int, ...]]] = []
    last = 0
    for place in sorted(places):
        pieces.append((text[last:place], tuple(places[place])))
        last = place
    if last < len(text) or not pieces:
        pieces.append((text[last:], ()))
    return pieces


def _end_of(text: str, quote: str) -> int:
    """Where ``quote`` ends in ``text``, read with its line breaks as spaces if need be."""
    for wording in (quote.strip(), " ".join(quote.split())):
        found = text.find(wording) if wording else -1
        if found >= 0:
            place = found + len(wording)
            return place + 1 if text[place : place + 1] in _SENTENCE_END else place
    return len(text)


def _valid(match: re.Match[str], count: int) -> bool:
    return 1 <= int(match.group(1)) <= count


def _split_at_markers(text: str, count: int) -> list[tuple[str, tuple[int, ...]]]:
    pieces: list[tuple[str, tuple[int, ...]]] = []
    last = 0
    for match in _MARKER.finditer(text):
        if not _valid(match, count):
            continue
        pieces.append((text[last : match.start()], (int(match.group(1)),)))
        last = match.end()
    pieces.append((text[last:], ()))
    return pieces


def _candidates(candidates: Sequence[Mapping[str, Any]], label: str) -> str:
    """Buttons that ask; with a ``label`` they stand beside an answer and are kept small."""
    if not candidates:
        return ""
    buttons = "".join(ask_button(str(candidate["question"])) for candidate in candidates)
    if not label:
        return f'<div class="candidates">{buttons}</div>'
    return f'<div class="candidates related"><span>{escape(label)}</span>{buttons}</div>'


def _beyond(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Candidates that lead to more than the documents already cited."""
    cited = {citation["title"] for citation in answer["citations"]}
    return [c for c in answer["candidates"] if c["question"] not in cited]


def ask_button(question: str) -> str:
    """A button that asks its own text."""
    text = escape(question)
    return f'<button type="button" class="ask" dir="auto" data-ask="{text}">{text}</button>'


def _meta(
    answer: Mapping[str, Any], kind: AnswerKind, turn: int, strings: Strings, rating: str | None
) -> str:
    # "100% sure" would claim what no calibration can.
    percent = min(99, round(100 * float(answer["confidence"])))
    shown = strings.confidence.format(percent=percent)
    confidence = ""
    if kind in (AnswerKind.FAQ, AnswerKind.GROUNDED):
        confidence = (
            f'<span class="confidence" title="{escape(strings.confidence_hint)}">'
            f'<span class="meter" aria-hidden="true"><i style="width:{percent}%"></i></span>'
            f"{escape(shown)}</span>"
        )
    return (
        f'<div class="meta"><span class="badge">{escape(strings.kinds[kind])}</span>{confidence}'
        f'<span class="tools">{_tool("copy", "copy", turn, strings.copy)}'
        f"{_tool('up', 'rate', turn, strings.good, rating == 'up')}"
        f"{_tool('down', 'rate', turn, strings.bad, rating == 'down')}</span></div>"
    )


def _tool(name: str, action: str, turn: int, label: str, pressed: bool | None = None) -> str:
    state = "" if pressed is None else f' aria-pressed="{str(pressed).lower()}"'
    text = escape(label)
    return (
        f'<button type="button" class="tool" data-{action}="{name}" data-turn="{turn}"{state} '
        f'aria-label="{text}" title="{text}">{icon(name)}</button>'
    )


def greeting(strings: Strings, samples: Sequence[str], *, empty: bool) -> str:
    """What an empty conversation shows: a greeting and questions to begin with."""
    if empty:
        body = (
            f'<p class="lead">{escape(strings.no_documents)}</p>'
            f'<button type="button" class="primary to-documents">'
            f"{escape(strings.add_documents)}</button>"
        )
    else:
        buttons = "".join(ask_button(question) for question in samples)
        label = escape(strings.samples_label) if samples else ""
        body = (
            f'<p class="lead">{escape(strings.greeting_more)}</p>'
            f'<div class="samples" role="group" aria-label="{label}">{buttons}</div>'
        )
    return f'<div class="greeting"><h2>{escape(strings.greeting)}</h2>{body}</div>'


def history_list(
    entries: Sequence[Mapping[str, str]], current: str | None, strings: Strings
) -> str:
    """The conversations held in this browser, latest first."""
    if not entries:
        return f'<p class="hint">{escape(strings.history_empty)}</p>'
    items = []
    for entry in entries:
        here = ' aria-current="true"' if entry["id"] == current else ""
        items.append(
            f'<li><button type="button" class="conversation" data-open="{escape(entry["id"])}"'
            f'{here} dir="auto">{escape(entry["title"])}</button></li>'
        )
    return f'<ul class="history-list">{"".join(items)}</ul>'


def top_bar(strings: Strings) -> str:
    """Brand, the two views, and the switches for language and theme."""
    other = "en" if strings.language == "zh" else "zh"
    return (
        f'<a class="skip" href="#question" data-focus="question">{escape(strings.skip)}</a>'
        f'<button type="button" class="square menu" data-drawer="toggle" '
        f'aria-label="{escape(strings.history_toggle)}">{icon("menu")}</button>'
        f'<span class="brand"><span class="mark" aria-hidden="true">{icon("chat")}</span>'
        f"<h1>{escape(strings.title)}</h1></span>"
        f'<nav class="views" aria-label="{escape(strings.nav_label)}">'
        f'<button type="button" data-view="chat">{escape(strings.nav_chat)}</button>'
        f'<button type="button" data-view="documents">{escape(strings.nav_documents)}</button>'
        "</nav>"
        f'<span class="switches"><button type="button" class="square text" data-language="{other}" '
        f'lang="{other}" aria-label="{escape(strings.language_switch_label)}">'
        f"{escape(strings.language_switch)}</button>"
        f'<button type="button" class="square" data-theme-switch '
        f'aria-label="{escape(strings.theme_switch)}" title="{escape(strings.theme_switch)}">'
        f"{icon('theme')}</button></span>"
        f'<span class="state" data-page-language="{strings.html_language}" '
        f'data-title="{escape(strings.title)}" data-copied="{escape(strings.copied)}" '
        f'data-confirm="{escape(strings.delete_confirm)}" '
        f'data-drop="{escape(strings.upload_drop)}" data-said="{escape(strings.said)}" '
        f'data-answered="{escape(strings.answered)}" hidden></span>'
    )
