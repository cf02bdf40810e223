"""What is made plain before a model reads it, and what is left alone."""

from __future__ import annotations

import pytest

from assistant.models.plain import plain_question, unshouted


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("WHERE IS MY CARD?", "where is my card?"),
        ("MY £500 HAS NOT ARRIVED", "my £500 has not arrived"),
        ("IBM UP", "IBM UP"),
        ("ATM", "ATM"),
        ("Where is MY CARD now", "Where is MY CARD now"),
        ("ATM APP VIP 怎么用", "ATM APP VIP 怎么用"),
        ("银行卡丢了", "银行卡丢了"),
        ("12 34 56", "12 34 56"),
        ("", ""),
    ],
)
def test_only_a_text_wholly_in_capitals_is_lowered(text: str, plain: str) -> None:
    assert unshouted(text) == plain


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("my card is lost 😭😭", "my card is lost"),
        ("卡丢了❤️怎么办🙏🏽", "卡丢了 怎么办"),
        ("HELP ME NOW PLEASE 🚨", "help me now please"),
        ("👍", "👍"),
        ("two  blanks stay", "two  blanks stay"),
        ("5 < 6 → ok ™", "5 < 6 → ok ™"),
    ],
)
def test_a_question_loses_its_emoji_but_nothing_else(text: str, plain: str) -> None:
    assert plain_question(text) == plain
