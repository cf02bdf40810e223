"""What the chat view does: ask, show evidence, judge, open and begin conversations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from assistant.errors import AssistantError
from assistant.types import Answer, Question, Scope
from assistant.web import ui_render as render
from assistant.web.problems import describe
from assistant.web.ui_evidence import empty_panel, evidence_panel
from assistant.web.ui_session import Session, history_entries, remember, visitor_scope
from assistant.web.ui_strings import Strings

if TYPE_CHECKING:
    from assistant.runtime import Runtime
    from assistant.web.ui_layout import Parts

_SAMPLES = 4
_SAMPLE_CHARS = 60

Updates = dict[Any, Any]


class ChatView:
    """Callbacks of the chat view; a callback returns the new values by component."""

    def __init__(self, runtime: Runtime, parts: Parts) -> None:
        self._runtime = runtime
        self._parts = parts

    # --- asking ------------------------------------------------------------------------------

    def ask_typed(
        self, text: str, collection: str, stored: dict[str, Any], browser: Any, request: gr.Request
    ) -> Iterator[Updates]:
        """The person sent what is in the box."""
        session = Session.load(stored)
        session.choose(collection)
        yield from self._ask(text, session, browser, request)

    def ask_clicked(
        self,
        collection: str,
        stored: dict[str, Any],
        browser: Any,
        event: gr.EventData,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """The person clicked a question."""
        session = Session.load(stored)
        session.choose(collection)
        yield from self._ask(str(event.question), session, browser, request)

    def _ask(
        self, text: str, session: Session, browser: Any, request: gr.Request
    ) -> Iterator[Updates]:
        chat, strings = self._parts.chat, session.strings
        if not text.strip():
            yield {chat.question: gr.update()}
            return
        shown = self.messages(session)
        shown.append(_message("user", render.user_message(text)))
        busy: Updates = {
            chat.question: gr.update(value=""),
            chat.send: gr.update(visible=False),
            chat.stop: gr.update(visible=True),
            chat.feedback: gr.update(visible=False),
        }
        yield {**busy, chat.chatbot: [*shown, _bot(render.thinking_message(strings))]}
        question = Question(text, self._scope(session, request), session.conversation_id)
        written = ""
        try:
            for piece in self._runtime.stream(question):
                if isinstance(piece, Answer):
                    session.add(text, piece)
                else:
                    written += piece
                    yield {chat.chatbot: [*shown, _bot(render.partial_message(written))]}
        except Exception as error:
            # Shown in the conversation; what was typed goes back to the box to be mended.
            message = describe(error)[2]
            failed = [*shown, _bot(render.error_message(message))]
            yield {**self._ready(), chat.chatbot: failed, chat.question: gr.update(value=text)}
            return
        browser = remember(browser, session)
        yield {
            **self._ready(),
            **self._turn_shown(session, len(session.turns) - 1, request),
            chat.chatbot: self.messages(session),
            chat.history: render.history_list(browser, session.conversation_id, strings),
            self._parts.session: session.dump(),
            self._parts.browser: browser,
        }

    def stopped(self, stored: dict[str, Any]) -> Updates:
        """The person stopped an answer: show the conversation as it was before."""
        session = Session.load(stored)
        shown = self.messages(session)
        shown.append(_bot(render.error_message(session.strings.stopped)))
        return {**self._ready(), self._parts.chat.chatbot: shown}

    def _ready(self) -> Updates:
        chat = self._parts.chat
        return {chat.send: gr.update(visible=True), chat.stop: gr.update(visible=False)}

    # --- evidence and judgement --------------------------------------------------------------

    def show_evidence(
        self, stored: dict[str, Any], event: gr.EventData, request: gr.Request
    ) -> Updates:
        """The person asked for the evidence of an earlier answer."""
        session = Session.load(stored)
        turn = int(event.turn)
        if not 0 <= turn < len(session.turns):
            return {self._parts.chat.evidence: gr.update()}
        return self._turn_shown(session, turn, request)

    def _turn_shown(self, session: Session, turn: int, request: gr.Request) -> Updates:
        panel = evidence_panel(
            self._runtime,
            self._scope(session, request),
            turn,
            session.turns[turn],
            session.strings,
        )
        return {self._parts.chat.evidence: panel}

    def rate(self, stored: dict[str, Any], event: gr.EventData, request: gr.Request) -> Updates:
        """A thumb was pressed: keep it at once, then offer to say more."""
        session, chat = Session.load(stored), self._parts.chat
        turn, rating = int(event.turn), "up" if event.rating == "up" else "down"
        if session.conversation_id is None or not 0 <= turn < len(session.turns):
            return {chat.feedback: gr.update()}
        self._judge(session, turn, rating, "", request)
        session.turns[turn]["rating"] = rating
        session.judged = turn
        return {
            chat.chatbot: self.messages(session),
            chat.feedback: gr.update(visible=True),
            chat.comment: gr.update(value=""),
            self._parts.session: session.dump(),
        }

    def comment(self, text: str, stored: dict[str, Any], request: gr.Request) -> Updates:
        """What the person has to say about the answer they judged last."""
        session, chat = Session.load(stored), self._parts.chat
        turn = session.judged
        if turn is not None and turn < len(session.turns) and text.strip():
            rating = session.turns[turn]["rating"] or "down"
            self._judge(session, turn, rating, text.strip(), request)
            gr.Info(session.strings.feedback_sent, duration=4)
        return {chat.feedback: gr.update(visible=False), chat.comment: gr.update(value="")}

    def _judge(
        self, session: Session, turn: int, rating: str, comment: str, request: gr.Request
    ) -> None:
        try:
            self._runtime.add_feedback(
                visitor_scope(request).tenant,
                session.conversation_id or "",
                turn,
                "up" if rating == "up" else "down",
                comment,
            )
        except Exception as error:
            raise gr.Error(describe(error)[2], print_exception=False) from None

    # --- conversations -----------------------------------------------------------------------

    def new_conversation(
        self, stored: dict[str, Any], browser: Any, request: gr.Request
    ) -> Updates:
        """Begin again with an empty conversation."""
        session = Session.load(stored)
        session.clear()
        return self.redrawn(session, browser, request)

    def open_conversation(
        self, stored: dict[str, Any], browser: Any, event: gr.EventData, request: gr.Request
    ) -> Updates:
        """Open one of this browser's conversations."""
        session = Session.load(stored)
        wanted = str(event.id)
        # Only ids this browser holds: the list is the visitor's own.
        entries = {entry["id"]: entry for entry in history_entries(browser)}
        try:
            if wanted not in entries:
                raise AssistantError(session.strings.conversation_gone)
            turns = self._runtime.conversation(visitor_scope(request).tenant, wanted)
        except AssistantError:
            gr.Warning(session.strings.conversation_gone, duration=5)
            browser = [entry for entry in history_entries(browser) if entry["id"] != wanted]
            return {**self.redrawn(session, browser, request), self._parts.browser: browser}
        session.open(wanted, entries[wanted].get("collection", session.collection), turns)
        return {
            **self.redrawn(session, browser, request),
            self._parts.collection: gr.update(value=session.collection),
        }

    def redrawn(self, session: Session, browser: Any, request: gr.Request) -> Updates:
        """Everything of the chat view that depends on the conversation or the language."""
        chat, strings = self._parts.chat, session.strings
        last = len(session.turns) - 1
        evidence = (
            self._turn_shown(session, last, request)
            if session.turns
            else {chat.evidence: empty_panel(strings)}
        )
        return {
            **self._ready(),
            **evidence,
            chat.chatbot: gr.update(
                value=self.messages(session), placeholder=self._greeting(session, request)
            ),
            chat.history: render.history_list(
                history_entries(browser), session.conversation_id, strings
            ),
            chat.feedback: gr.update(visible=False),
            self._parts.session: session.dump(),
        }

    def messages(self, session: Session) -> list[dict[str, Any]]:
        """The conversation in the chat component's form."""
        shown: list[dict[str, Any]] = []
        for index, turn in enumerate(session.turns):
            shown.append(_message("user", render.user_message(turn["question"])))
            html = render.answer_message(turn["answer"], index, session.strings, turn["rating"])
            shown.append(_bot(html))
        return shown

    # --- greeting ----------------------------------------------------------------------------

    def _greeting(self, session: Session, request: gr.Request) -> str:
        scope = self._scope(session, request)
        samples, empty = sample_questions(self._runtime, scope, session.strings)
        return render.greeting(session.strings, samples, empty=empty)

    def _scope(self, session: Session, request: gr.Request) -> Scope:
        return replace(visitor_scope(request), collection=session.collection)


def sample_questions(
    runtime: Runtime, scope: Scope, strings: Strings
) -> tuple[Sequence[str], bool]:
    """Up to four questions of the collection's own FAQ in the page's language, spread over it.

    Also returns whether the collection holds nothing at all.
    """
    try:
        documents = runtime.documents(scope)
        tables = [d for d in documents if d.faq_entries and d.language == strings.language]
        questions: list[str] = []
        for table in tables[:2]:
            headings = runtime.document(scope, table.document_id).headings
            questions += [h.title for h in headings if h.title.endswith(("?", "？"))]
    except AssistantError:
        return (), True
    short = [question for question in questions if len(question) <= _SAMPLE_CHARS]
    if len(short) > _SAMPLES:
        short = [short[index * len(short) // _SAMPLES] for index in range(_SAMPLES)]
    return short, not documents


def _bot(html: str) -> dict[str, Any]:
    return _message("assistant", html)


def _message(role: str, html: str) -> dict[str, Any]:
    return {"role": role, "content": html}
