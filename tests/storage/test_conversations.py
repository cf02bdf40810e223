"""Conversations, feedback and knowledge gaps."""

from __future__ import annotations

import threading

import pytest

from assistant.errors import InvalidInputError, NotFoundError
from assistant.storage import Storage, conversations
from assistant.types import Answer, AnswerKind, Candidate, Citation, Scope, Turn

SCOPE = Scope(collection="docs")
ANSWER = Answer(
    "You pay 5.",
    AnswerKind.GROUNDED,
    0.75,
    "en",
    citations=(Citation("d", "T", "s.md", "7", 0, 4, "quote"),),
    candidates=(Candidate("c", "Why?", 0.5),),
    conversation_id="c1",
    timings_ms={"search": 1.5},
)


def test_turns_come_back_in_order(storage: Storage) -> None:
    chat = storage.conversations
    assert chat.append(SCOPE, "c1", "What is the fee?", "What is the fee?", ANSWER) == 0
    assert chat.append(SCOPE, "c1", "and abroad?", "What is the fee abroad?", ANSWER) == 1
    first, second = chat.turns("default", "c1")
    assert (first.index, first.question) == (0, "What is the fee?")
    assert (second.index, second.standalone) == (1, "What is the fee abroad?")
    assert first.answer == ANSWER.to_json()
    assert chat.history("default", "c1") == (
        Turn("What is the fee?", "What is the fee?", "You pay 5.", AnswerKind.GROUNDED),
        Turn("and abroad?", "What is the fee abroad?", "You pay 5.", AnswerKind.GROUNDED),
    )
    assert [t.question for t in chat.history("default", "c1", limit=1)] == ["and abroad?"]
    assert chat.history("default", "never") == ()


def test_recent_conversations_come_first_with_their_title(storage: Storage) -> None:
    chat = storage.conversations
    chat.append(SCOPE, "old", "  First\nquestion  ", "", ANSWER)
    chat.append(SCOPE, "new", "问" * 500, "", ANSWER)
    chat.append(SCOPE, "old", "Second", "", ANSWER)
    recent = chat.recent("default")
    assert [c.conversation_id for c in recent] == ["old", "new"]
    assert recent[0].title == "First question"
    assert recent[0].collection == "docs"
    assert len(recent[1].title) == 120
    assert len(chat.recent("default", limit=1)) == 1


def test_the_later_turn_of_one_millisecond_comes_first(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "now", lambda: "2026-01-01T00:00:00.000+00:00")
    for conversation_id in ("b", "a", "c", "b"):
        storage.conversations.append(SCOPE, conversation_id, "q", "", ANSWER)
    recent = storage.conversations.recent("default")
    assert [c.conversation_id for c in recent] == ["b", "c", "a"]


def test_tenants_do_not_meet(storage: Storage) -> None:
    chat = storage.conversations
    chat.append(SCOPE, "c1", "secret", "secret", ANSWER)
    other = Scope(tenant="other")
    assert chat.recent("other") == []
    assert chat.history("other", "c1") == ()
    for attempt in (
        lambda: chat.turns("other", "c1"),
        lambda: chat.append(other, "c1", "q", "q", ANSWER),
        lambda: chat.add_feedback("other", "c1", 0, "up"),
        lambda: chat.delete("other", "c1"),
    ):
        with pytest.raises(NotFoundError):
            attempt()
    assert len(chat.turns("default", "c1")) == 1


def test_the_last_rating_counts(storage: Storage) -> None:
    chat = storage.conversations
    chat.append(SCOPE, "c1", "q", "q", ANSWER)
    chat.append(SCOPE, "c1", "q2", "q2", ANSWER)
    chat.add_feedback("default", "c1", 1, "up")
    chat.add_feedback("default", "c1", 1, "down", "wrong amount")
    unrated, rated = chat.turns("default", "c1")
    assert (unrated.rating, unrated.comment) == (None, "")
    assert (rated.rating, rated.comment) == ("down", "wrong amount")
    (feedback,) = chat.feedback("default")
    assert (feedback.conversation_id, feedback.turn_index) == ("c1", 1)
    assert (feedback.question, feedback.collection) == ("q2", "docs")
    assert feedback.answer["answer"] == "You pay 5."


def test_feedback_that_cannot_be_kept(storage: Storage) -> None:
    chat = storage.conversations
    chat.append(SCOPE, "c1", "q", "q", ANSWER)
    with pytest.raises(NotFoundError, match="no turn 5"):
        chat.add_feedback("default", "c1", 5, "up")
    with pytest.raises(InvalidInputError, match="'up' or 'down'"):
        chat.add_feedback("default", "c1", 0, "sideways")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="5000 characters; at most 4000"):
        chat.add_feedback("default", "c1", 0, "up", "x" * 5000)


@pytest.mark.parametrize("bad", ["", "a b", "../x", "x" * 65, "é", "a\x00"])
def test_conversation_ids_are_checked(storage: Storage, bad: str) -> None:
    with pytest.raises(InvalidInputError, match="conversation id"):
        storage.conversations.append(SCOPE, bad, "q", "q", ANSWER)


def test_deleting_takes_turns_and_feedback(storage: Storage) -> None:
    chat = storage.conversations
    chat.append(SCOPE, "c1", "q", "q", ANSWER)
    chat.add_feedback("default", "c1", 0, "up")
    chat.delete("default", "c1")
    assert chat.feedback("default") == []
    assert chat.append(SCOPE, "c1", "again", "again", ANSWER) == 0


def test_concurrent_turns_get_distinct_positions(storage: Storage) -> None:
    chat = storage.conversations
    positions: list[int] = []
    chat.append(SCOPE, "c1", "first", "first", ANSWER)

    def ask() -> None:
        for _ in range(5):
            positions.append(chat.append(SCOPE, "c1", "q", "q", ANSWER))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(positions) == list(range(1, 21))


def test_odd_text_is_kept_readable(storage: Storage) -> None:
    chat = storage.conversations
    odd = "\x00 \ud800 \u202eabc 😀"
    answer = Answer(odd, AnswerKind.ABSTAIN, 0.0, "en")
    chat.append(SCOPE, "c1", odd, odd, answer)
    (turn,) = chat.turns("default", "c1")
    assert turn.question == "\ufffd \ufffd \u202eabc 😀"
    assert turn.answer["answer"] == turn.question


def test_knowledge_gaps(storage: Storage) -> None:
    candidates = [Candidate("1", "Close?", 0.4), Candidate("2", "Closer?", 0.3)]
    storage.gaps.add(SCOPE, "Do you sell boats?", candidates, "c1")
    storage.gaps.add_many([(Scope(), "Cars?", (), ""), (Scope(tenant="other"), "Hidden?", (), "")])
    storage.gaps.add_many([])
    assert [g.question for g in storage.gaps.recent("default")] == ["Cars?", "Do you sell boats?"]
    (gap,) = storage.gaps.recent("default", "docs")
    assert gap.candidates == tuple(candidates)
    assert (gap.scope, gap.conversation_id) == (SCOPE, "c1")
    with pytest.raises(NotFoundError):
        storage.gaps.delete("other", gap.gap_id)
    storage.gaps.delete("default", gap.gap_id)
    assert storage.gaps.recent("default", "docs") == []
