"""Languages, the visitor's session, the remembered conversations, sample questions."""

from __future__ import annotations

from dataclasses import fields
from string import Formatter

import pytest

from assistant.runtime import Runtime
from assistant.types import Answer, AnswerKind, Scope
from assistant.web.ui_chat import sample_questions
from assistant.web.ui_session import MAX_REMEMBERED, Session, history_entries, remember
from assistant.web.ui_strings import EN, ZH, preferred_language


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_say_the_same_things_with_the_same_values() -> None:
    for field in fields(EN):
        english, chinese = getattr(EN, field.name), getattr(ZH, field.name)
        if isinstance(english, str):
            assert names_in(english) == names_in(chinese), field.name
            assert chinese.strip()
            assert english.strip()
        else:
            assert english.keys() == chinese.keys()
    assert set(EN.kinds) == set(AnswerKind)


@pytest.mark.parametrize(
    ("header", "cookie", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", None, "zh"),
        ("en-GB,en;q=0.9,zh;q=0.8", None, "en"),
        ("en;q=0.4, zh-Hant-TW;q=0.7", None, "zh"),
        ("fr-FR, zh;q=0.2", None, "zh"),
        ("fr-FR", None, "en"),
        ("", None, "en"),
        ("*", None, "en"),
        ("zh;q=0", None, "en"),
        ("zh;q=banana, en;q=0.1", None, "en"),
        ("zh-CN", "en", "en"),
        ("en", "zh", "zh"),
        ("en", "klingon", "en"),
    ],
)
def test_the_language_follows_the_browser_unless_chosen(
    header: str, cookie: str | None, language: str
) -> None:
    assert preferred_language(header, cookie) == language


def test_a_session_survives_being_stored() -> None:
    session = Session.load({})
    session.add("How?", Answer("So.", AnswerKind.SMALLTALK, 1.0, "en", conversation_id="c1"))
    session.judged = 0
    again = Session.load(session.dump())
    assert again == session
    again.turns[0]["rating"] = "up"
    assert session.turns[0]["rating"] is None


def talk(identifier: str) -> Session:
    session = Session(conversation_id=identifier)
    session.add(
        f"question\n {identifier}",
        Answer("So.", AnswerKind.SMALLTALK, 1.0, "en", conversation_id=identifier),
    )
    return session


def test_another_collection_begins_another_conversation() -> None:
    session = talk("c1")
    session.choose("default")
    assert session.conversation_id == "c1"
    session.choose("cards")
    assert (session.collection, session.conversation_id, session.turns) == ("cards", None, [])


def test_the_latest_conversation_is_first_once_and_the_list_is_bounded() -> None:
    browser: list[dict[str, str]] = []
    for index in range(MAX_REMEMBERED + 5):
        browser = remember(browser, talk(f"c{index}"))
    assert len(browser) == MAX_REMEMBERED
    browser = remember(browser, talk("c20"))
    assert browser[0] == {"id": "c20", "title": "question c20", "collection": "default"}
    assert [entry["id"] for entry in browser].count("c20") == 1


@pytest.mark.parametrize("broken", [None, "x", {}, [1, None, {"id": 3}], [{"id": "a", "title": 5}]])
def test_an_unreadable_list_of_the_browser_counts_as_none(broken: object) -> None:
    assert history_entries(broken) == []


@pytest.mark.parametrize("strings", [EN, ZH])
def test_samples_are_questions_of_the_own_faq_in_the_language(runtime: Runtime, strings) -> None:
    scope = Scope(collection="bank")
    samples, empty = sample_questions(runtime, scope, strings)
    assert len(samples) == 4 == len(set(samples))
    assert not empty
    headings = {
        heading.title
        for info in runtime.documents(scope)
        if info.faq_entries and info.language == strings.language
        for heading in runtime.document(scope, info.document_id).headings
    }
    assert set(samples) <= headings


def test_a_collection_that_is_not_there_counts_as_empty(runtime: Runtime) -> None:
    assert sample_questions(runtime, Scope(collection="nothing"), EN) == ((), True)
