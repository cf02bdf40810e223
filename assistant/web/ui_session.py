"""One visitor's place on the page: language, collection and the open conversation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from assistant.types import DEFAULT_COLLECTION, Answer, Scope
from assistant.web.security import scope_of
from assistant.web.ui_strings import Strings, strings_for

if TYPE_CHECKING:
    import gradio as gr

    from assistant.storage.values import StoredTurn

MAX_REMEMBERED = 50
MAX_TITLE = 80


@dataclass(slots=True)
class Session:
    """Kept by Gradio between events as a plain dict; ``judged`` is the turn rated last."""

    language: str = "en"
    collection: str = DEFAULT_COLLECTION
    conversation_id: str | None = None
    turns: list[dict[str, Any]] = field(default_factory=list)
    judged: int | None = None

    @classmethod
    def load(cls, stored: dict[str, Any] | None) -> Session:
        """Read what :meth:`dump` gave; an empty dict is a new visitor."""
        return cls(
            **{**(stored or {}), "turns": [dict(t) for t in (stored or {}).get("turns", ())]}
        )

    def dump(self) -> dict[str, Any]:
        """The session as a plain dict."""
        return asdict(self)

    @property
    def strings(self) -> Strings:
        """The page's texts in this visitor's language."""
        return strings_for(self.language)

    def add(self, question: str, answer: Answer) -> None:
        """Append a turn; the first one names the conversation."""
        self.conversation_id = answer.conversation_id or self.conversation_id
        self.turns.append({"question": question, "answer": answer.to_json(), "rating": None})

    def choose(self, collection: str) -> None:
        """Ask ``collection`` from now on; another one is another conversation.

        Read from the component at every question: one asked right after choosing may come before
        the choice itself.
        """
        if collection and collection != self.collection:
            self.collection = collection
            self.clear()

    def clear(self) -> None:
        """Begin a new conversation."""
        self.conversation_id, self.turns, self.judged = None, [], None

    def open(self, conversation_id: str, collection: str, turns: Iterable[StoredTurn]) -> None:
        """Show a stored conversation."""
        self.clear()
        self.conversation_id, self.collection = conversation_id, collection
        self.turns = [
            {"question": turn.question, "answer": dict(turn.answer), "rating": turn.rating}
            for turn in turns
        ]


def visitor_scope(request: gr.Request) -> Scope:
    """What the visitor behind a page event may see: as for any other request."""
    if request.request is None:
        raise RuntimeError("a page event came without its request")
    return scope_of(request.request)


def remember(browser: Any, session: Session) -> list[dict[str, str]]:
    """Put the open conversation first in the browser's list (at most 50 are kept)."""
    entries = history_entries(browser)
    if session.conversation_id is None or not session.turns:
        return entries
    title = " ".join(session.turns[0]["question"].split())
    entry = {
        "id": session.conversation_id,
        "title": title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1] + "…",
        "collection": session.collection,
    }
    others = [e for e in entries if e["id"] != session.conversation_id]
    return [entry, *others][:MAX_REMEMBERED]


def history_entries(browser: Any) -> list[dict[str, str]]:
    """The browser's list of conversations; what is unreadable in it is dropped."""
    if not isinstance(browser, list):
        return []
    return [
        entry
        for entry in browser
        if isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("id", "title", "collection"))
    ]
