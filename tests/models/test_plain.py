"""What is made plain before a model reads it, and what is left alone."""

from __future__ import annotations

import pytest

from assistant.models.plain import plain_question, plain_text, unshouted


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


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("信用卡丟了怎麼掛失？", "信用卡丢了怎么挂失？"),
        ("WHERE IS 我的帳單", "WHERE IS 我的帐单"),
        ("已是简体", "已是简体"),
        ("WHERE IS MY CARD", "where is my card"),
        ("半个\ud800字帳", "半个\ud800字帳"),
        ("", ""),
    ],
)
def test_traditional_characters_are_read_as_simplified(text: str, plain: str) -> None:
    assert plain_text(text) == plain
    assert plain_question(text) == plain
