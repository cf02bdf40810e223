"""Smalltalk and handoff by rule."""

import time

import pytest

from assistant.dialogue.rules import Rules
from indexes.language import simplified


@pytest.fixture(scope="module")
def rules() -> Rules:
    return Rules.load(simplified)


@pytest.mark.parametrize(
    "text",
    ["hi", "Hello there!", "thanks, bye", "OK", "who are you?", "你好", "您好！", "謝謝！"]
    + ["你是谁？", "您能做什么？", "好的，谢谢你", "再见", "你好😀", "Are you a robot?"],
)
def test_smalltalk_is_recognised(rules: Rules, text: str) -> None:
    assert rules.smalltalk(text) is not None
    assert not rules.wants_person(text)


@pytest.mark.parametrize(
    "text",
    [
        "hi, what is the fee for a transfer?",
        "你好，请问手续费多少",
        "thanks but how do I pay",
        "card",
    ]
    + ["who can open an account?", "你们几点关门", "", "?!", "早上几点开门", "good credit score"],
)
def test_a_real_question_is_no_smalltalk(rules: Rules, text: str) -> None:
    assert rules.smalltalk(text) is None


@pytest.mark.parametrize(
    "text",
    ["转人工", "轉人工", "I want to talk to a real person", "let me speak to your manager"]
    + ["帮我找客服", "connect me with an agent please", "i need a human", "我想跟真人说话"]
    + ["get me a supervisor", "I don't want a bot, get me a human", "可以转接人工客服吗"]
    + ["Can I speak to someone about a mortgage?", "agent", "我要投诉，找你们经理"],
)
def test_the_wish_for_a_person_is_recognised(rules: Rules, text: str) -> None:
    assert rules.wants_person(text)


@pytest.mark.parametrize(
    "text",
    [
        "can I transfer to someone abroad?",
        "人工客服电话是多少",
        "How do I transfer money to a person",
    ]
    + ["is there a limit for a transfer to another person", "人工客服几点上班", "你是机器人吗"]
    + ["How do I add a person to my account?", "客户经理是做什么的", "what is the agent bank fee"],
)
def test_a_question_about_people_is_no_handoff(rules: Rules, text: str) -> None:
    assert not rules.wants_person(text)


def test_contact_is_added_when_configured(rules: Rules) -> None:
    assert "800 123" in rules.handoff_reply("en", "800 123")
    assert "800 123" in rules.handoff_reply("zh", "800 123")
    assert "{" not in rules.handoff_reply("en", "")


def test_hostile_input_does_not_stall_the_patterns(rules: Rules) -> None:
    """A pattern that backtracks exponentially would take hours, not a second."""
    start = time.process_time()
    for text in ("thanks " * 10 + "x", "你" * 79 + "x", "ok " * 25, "talk to " * 70 + "z"):
        rules.smalltalk(text[:80])
        rules.wants_person(text[:600])
    assert time.process_time() - start < 20
