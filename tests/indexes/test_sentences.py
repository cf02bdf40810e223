from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indexes.sentences import MAX_SENTENCE, is_table_row, split_long, split_sentences


def split(text: str) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text, 0, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It costs $3.50. Pay now.", ["It costs $3.50.", "Pay now."]),
        ("Dr. Smith met Mr. Li at 5 p.m. today. He left.", 2),
        ("The office closes at 5 p.m. The ATM stays open.", 2),
        ("See No. 5 and Sec. 12 for details. No. Please call us.", 3),
        ("Visit www.bank.com/a?b=1. Then sign in.", 2),
        ("J. R. Smith signed. A. Jones did not.", 2),
        ("Apple Inc. reported growth. Apple Inc. The firm grew.", 3),
        ("U.S. Government bonds rose 2.5%. They fell later.", 2),
        ('He said "Stop." Then he left.', ['He said "Stop."', "Then he left."]),
        ("Wait... what? Yes!", ["Wait... what?", "Yes!"]),
        ("Fees (incl. tax. See below.) apply to all cards.", 1),
        ("Proof of address.Click here for the list.", 2),
        ("We use node.js and Amazon.Com here.", 1),
        ("1. Open the app. 2. Tap Pay.", ["1. Open the app.", "2. Tap Pay."]),
        ("Use e.g. a passport or i.e. an ID. Bring both.", 2),
        ("Version 2.0.1 is out. Upgrade.", 2),
    ],
)
def test_english(text: str, expected: list[str] | int) -> None:
    found = split(text)
    assert (len(found) if isinstance(expected, int) else found) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "年费100元。首年免费！真的吗？是的。",
            ["年费100元。", "首年免费！", "真的吗？", "是的。"],
        ),
        ("他说：“好的。”然后走了。", ["他说：“好的。”", "然后走了。"]),
        ("利率为3.85%；期限12个月。请咨询客服。", ["利率为3.85%；期限12个月。", "请咨询客服。"]),
        ("请访问https://a.cn/b?c=1。谢谢。", ["请访问https://a.cn/b?c=1。", "谢谢。"]),
        ("我……我不知道。", ["我……我不知道。"]),
        ("（节假日除外。）每天营业。", ["（节假日除外。）", "每天营业。"]),
        ("材料（身份证。户口簿。居住证）须齐全。", 1),
        ("1. 登录控制台。", ["1. 登录控制台。"]),
        ("真的!太好了。", ["真的!", "太好了。"]),
        ("支持iOS 15.请升级。", 1),
    ],
)
def test_chinese(text: str, expected: list[str] | int) -> None:
    found = split(text)
    assert (len(found) if isinstance(expected, int) else found) == expected


def test_lines_are_boundaries_and_bullets_are_left_out() -> None:
    text = "要求如下：\n• 年满18周岁\n- 有身份证\n---\n* * *\n1. 申请"
    assert split(text) == ["要求如下：", "年满18周岁", "有身份证", "1. 申请"]


def test_a_table_row_is_one_sentence() -> None:
    row = "参数: Action; 说明: 系统规定参数。取值：Get。; 必选: 是"
    assert is_table_row(row)
    assert split(f"{row}\n{row}") == [row, row]
    assert is_table_row("Total revenue; 2022: 66,608; 2021: 62,286")
    assert not is_table_row("We came; we saw; we won.")


def test_only_the_range_asked_for_is_split() -> None:
    text = "One. Two. Three."
    assert [text[s.start : s.end] for s in split_sentences(text, 5, 9)] == ["Two."]


def test_long_sentences_are_cut_at_clauses() -> None:
    clause = "客户应当按照合同约定的期限和金额归还借款本金及利息，"
    text = clause * 30 + "否则承担违约责任。"
    pieces = split(text)
    assert len(pieces) > 2
    assert all(piece.endswith(("，", "。")) for piece in pieces)
    assert "".join(pieces) == text


def test_cuts_prefer_stronger_marks() -> None:
    text = "a, " * 30 + "b; " + "c, " * 30
    first = next(split_long(text, 0, len(text), 120))
    assert text[first.start : first.end].endswith("b;")


TEXTS = st.text(
    alphabet=st.one_of(
        st.sampled_from("abcXYZ 0129.,;:!?\"'()[]\n\t。，；：！？“”（）…—•-银行卡费率转账的"),
        st.characters(),
    ),
    max_size=900,
)


@given(TEXTS)
@example("a" * 1000)
@example("。" * 50 + "a")
def test_spans_are_exact_ordered_bounded_and_lose_no_word(text: str) -> None:
    spans = split_sentences(text, 0, len(text))
    position = 0
    for span in spans:
        assert position <= span.start < span.end <= len(text)
        piece = text[span.start : span.end]
        assert piece == piece.strip() and len(piece) <= MAX_SENTENCE and "\n" not in piece
        assert not any(character.isalnum() for character in text[position : span.start])
        position = span.end
    assert not any(character.isalnum() for character in text[position:])


@given(TEXTS, st.integers(1, 60))
def test_split_long_keeps_every_letter(text: str, limit: int) -> None:
    pieces = [text[s.start : s.end] for s in split_long(text, 0, len(text), limit)]
    assert all(len(piece) <= limit for piece in pieces)
    kept = [c for piece in pieces for c in piece if c.isalnum()]
    assert kept == [c for c in text if c.isalnum()]
