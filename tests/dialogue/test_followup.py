"""Follow-ups become standalone questions."""

import pytest

from assistant.dialogue.followup import is_follow_up, is_fragment, rewrites
from assistant.types import AnswerKind, Turn


def after(question: str) -> tuple[Turn, ...]:
    return (Turn(question, question, "", AnswerKind.FAQ),)


@pytest.mark.parametrize(
    ("before", "text", "words"),
    [
        ("What is the fee for a transfer?", "and for business accounts?", "fee transfer business"),
        ("How long does a transfer take?", "what about weekends?", "transfer weekends"),
        ("How do I report a lost card?", "How much does it cost?", "lost card cost"),
        ("国际汇款要多久到账？", "那手续费呢？", "国际汇款 手续费"),
        ("信用卡年费多少？", "金卡呢？", "信用卡 年费 金卡"),
        ("如何开通手机银行", "需要什么材料", "手机银行 材料"),
    ],
)
def test_rewrite_keeps_the_words_of_both(before: str, text: str, words: str) -> None:
    assert is_follow_up(text, after(before))
    for word in words.split():
        assert any(word in form for form in rewrites(text, after(before)))


def test_an_aspect_is_replaced_not_added() -> None:
    assert "跨行转账限额" in rewrites("那限额呢", after("跨行转账手续费是多少？"))


@pytest.mark.parametrize(
    "text",
    [
        "What documents do I need for a mortgage?",
        "银行的周末营业时间是几点到几点",
        "How do I open an account?",
    ],
)
def test_a_full_question_stands_alone(text: str) -> None:
    assert not is_follow_up(text, after("What is the fee?"))


def test_without_history_nothing_is_a_follow_up() -> None:
    assert not is_follow_up("what about weekends?", ())


def test_fragments() -> None:
    assert is_fragment("abroad?")
    assert is_fragment("境外")
    assert not is_fragment("how do I send money abroad")
