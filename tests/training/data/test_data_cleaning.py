from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import InvalidInputError
from assistant.evaluation.sentences import joined
from training.data.cleaning import Cleaner
from training.data.ledger import Ledger, RowProblem
from training.data.masking import mask_personal_data
from training.data.mojibake import mend_mojibake
from training.data.rows import (
    ChatExample,
    ChatMessage,
    LabelledText,
    PlainText,
    ReadingAnswer,
    ReadingExample,
    TaggedText,
)
from training.data.spans import cut_tokens
from training.data.spec import Normalise


def cleaner(kind="classify", **rules):
    ledger = Ledger()
    return Cleaner(Normalise(**rules), kind, ledger), ledger


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  how \t do\u00a0I\n pay ", "how do I pay"),
        ("AT&amp;T &#39;card&#39; &lt;fee&gt;", "AT&T 'card' <fee>"),
        ("R&D; A&B", "R&D; A&B"),
        ("zero\u200bwidth\ufeff and \x07bell", "zerowidth and bell"),
        ("cafe\u0301", "café"),
        ("wait\r\nhere", "wait here"),
        ("👨‍👩‍👧 family", "👨‍👩‍👧 family"),
        ("ＡＢＣ１２３", "ＡＢＣ１２３"),
    ],
)
def test_text_is_cleaned_by_default(raw, clean):
    assert cleaner()[0].text(raw) == clean


def test_options_change_what_is_cleaned():
    assert cleaner(unicode="NFKC")[0].text("ＡＢＣ①㈱") == "ABC1(株)"
    assert cleaner(simplify=True)[0].text("請問開戶的資訊") == "请问开户的资讯"
    assert cleaner(html=False)[0].text("a &amp; b") == "a &amp; b"
    assert cleaner(control=False, whitespace="keep")[0].text("a\u200b  b ") == "a\u200b  b "


def test_plain_text_keeps_paragraphs():
    text, _ = cleaner("text")
    assert text.text("one  two\n\n\n\nthree\n four") == "one two\n\nthree\n four"


def test_changes_are_counted():
    clean, ledger = cleaner(simplify=True, mask=("email",))
    clean.text("&amp; weâ€™ve \u200b 開 a@b.com")
    assert ledger.repairs == {
        "HTML entities": 1,
        "garbled characters": 1,
        "control and zero-width characters": 1,
        "texts brought to simplified characters": 1,
        "masked: email": 1,
    }


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text):
    clean = cleaner(html=False, mojibake=False)[0]  # one cleaning may uncover more of these
    once = clean.text(text)
    assert clean.text(once) == once
    assert unicodedata.is_normalized("NFC", once)


def garble(text):
    """Read UTF-8 as browsers read Windows-1252: its five open bytes are control characters."""
    opened = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
    return "".join(
        chr(b) if b in opened else bytes([b]).decode("cp1252") for b in text.encode("utf-8")
    )


@given(
    st.text(st.characters(min_codepoint=0x250, max_codepoint=0x2FFFF, exclude_categories=["Cs"]))
)
def test_mojibake_of_any_text_is_mended(text):
    """Text read as Windows-1252 by mistake comes back, character by character."""
    garbled = garble(text)
    assert mend_mojibake(garbled)[0] == text
    assert mend_mojibake(garble(garbled))[0] == text


@pytest.mark.parametrize(
    "text",
    [
        "São Paulo’s café",
        "naïve — Ünïcödé",
        "£5 ± 2 °C",
        "Grüße aus Köln",
        "价格â",
        "Ångström © 2024",
    ],
)
def test_right_text_is_left_alone(text):
    assert mend_mojibake(text) == (text, 0)


def test_the_usual_garbled_marks():
    raw = "weâ€™ve â€œBestâ€ bank â€“ Â£5 cafÃ©"
    assert mend_mojibake(raw) == ("we’ve “Best” bank – £5 café", 6)


ALL = ("phone", "email", "card", "id")


@pytest.mark.parametrize(
    ("raw", "masked"),
    [
        ("call 13812345678 now", "call [PHONE] now"),
        ("电话：010-62771234。", "电话：[PHONE]。"),
        ("+86 138 1234 5678", "[PHONE]"),
        ("ring (415) 555-2671 or +44 20 7946 0958", "ring [PHONE] or [PHONE]"),
        ("mail jane.doe+x@mail.example.co.uk!", "mail [EMAIL]!"),
        ("我的邮箱是zhang@example.cn谢谢", "我的邮箱是[EMAIL]谢谢"),
        ("card 4111 1111 1111 1111 ok", "card [CARD] ok"),
        (
            "card 4111-1111-1111-1112 wrong check digit",
            "card 4111-1111-1111-1112 wrong check digit",
        ),
        ("身份证11010519491231002X", "身份证[ID]"),
        ("身份证110105194912310021", "身份证110105194912310021"),
        ("ssn 219-09-9999", "ssn [ID]"),
        ("order 20240101123456 costs 12,345.00 on 2024-01-02", None),
        ("0000 0000 0000 0000 all zeros", None),
        ("rate 3.14159265358979", None),
    ],
)
def test_personal_data_is_masked(raw, masked):
    assert mask_personal_data(raw, ALL)[0] == (raw if masked is None else masked)


def test_only_the_kinds_asked_for_are_masked():
    text, counts = mask_personal_data("13812345678 a@b.com", ("email",))
    assert text == "13812345678 [EMAIL]"
    assert counts == {"email": 1}


def test_masks_and_tags_do_not_go_together():
    with pytest.raises(InvalidInputError, match=r"normalise\.mask"):
        cleaner("tag", mask=("phone",))


# --- rows


def test_empty_short_and_long_texts_are_problems():
    clean, _ = cleaner(min_chars=3, max_chars=20)
    with pytest.raises(RowProblem, match="empty text"):
        clean.row(LabelledText(" \u200b\n", ("a",)))
    with pytest.raises(RowProblem, match="text too short"):
        clean.row(LabelledText("ok", ("a",)))
    with pytest.raises(RowProblem, match="text too long") as caught:
        clean.row(LabelledText("x" * 21, ("a",)))
    assert "21 characters" in caught.value.detail and "20" in caught.value.detail


def test_long_text_may_be_cut_or_fail_the_run():
    clean, ledger = cleaner(max_chars=5, too_long="cut")
    assert clean.row(PlainText("abcdefgh")).text == "abcde"
    assert ledger.repairs["texts cut at 5 characters"] == 1
    with pytest.raises(InvalidInputError, match=r"8 characters.*normalise\.max_chars is 5"):
        cleaner(max_chars=5, too_long="fail")[0].row(PlainText("abcdefgh"))


def test_chat_is_cleaned_message_by_message():
    row = ChatExample(
        (ChatMessage("user", " hi &amp; bye "), ChatMessage("assistant", "ok\n\n\nyes"))
    )
    clean = cleaner("chat")[0].row(row)
    assert [m.content for m in clean.messages] == ["hi & bye", "ok\n\nyes"]


def test_answers_are_found_again_after_cleaning():
    context = "  The&nbsp;fee  is 5&nbsp;EUR. A fee is  5 EUR too. "
    start = context.rindex("5 EUR")
    row = ReadingExample("1", "What?", context, (ReadingAnswer("5 EUR", start),))
    clean = cleaner("read")[0].row(row)
    (answer,) = clean.answers
    assert clean.context == "The fee is 5 EUR. A fee is 5 EUR too."
    assert clean.context[answer.start :].startswith("5 EUR too")


def test_an_answer_that_cleaning_removed_drops_the_row():
    row = ReadingExample("1", "What?", "a text here", (ReadingAnswer("\u200b", 0),))
    with pytest.raises(RowProblem, match="answer not in context"):
        cleaner("read")[0].row(row)


def test_no_answer_stays_no_answer():
    row = ReadingExample("1", "What?", "a text here", ())
    assert cleaner("read")[0].row(row).answers == ()


def test_tagged_text_keeps_its_offsets():
    tokens = ("Bank", "\u200b", "of\ufeff", "China", ".")
    text, spans = joined(tokens)
    tags = ("O", "B-ORG", "I-ORG", "I-ORG", "O")
    clean = cleaner("tag")[0].row(TaggedText(tokens, tags, text, tuple(spans)))
    assert clean.tokens == ("Bank", "of", "China", ".")
    assert clean.tags == ("O", "B-ORG", "I-ORG", "O")
    assert [clean.text[a:b] for a, b in clean.offsets] == list(clean.tokens)


@given(st.lists(st.text("ab中文1.,\"'() \u200b", min_size=1, max_size=4), min_size=1, max_size=12))
def test_offsets_always_cover_their_tokens(tokens):
    text, spans = joined(tokens)
    assert [text[a:b] for a, b in spans] == tokens
    row = TaggedText(tuple(tokens), ("O",) * len(tokens), text, tuple(spans))
    try:
        clean = cleaner("tag")[0].row(row)
    except RowProblem:
        assert not "".join(tokens).replace("\u200b", "").strip()
        return
    assert [clean.text[a:b] for a, b in clean.offsets] == list(clean.tokens)


def test_tokens_are_put_together_as_people_write():
    assert joined(["He", "said", '"', "no", '"', ",", "(", "twice", ")", "."])[0] == (
        'He said "no", (twice).'
    )
    assert joined(["我", "在", "IBM", "工", "作", "。"])[0] == "我在IBM工作。"
    assert joined(["do", "n't", "pay", "$", "5"])[0] == "don't pay $5"


def test_tokens_end_where_entities_end():
    text = "IBM公司2024年profit"
    spans = cut_tokens(text, [10, 11])
    assert [text[a:b] for a, b in spans] == ["IBM", "公", "司", "2024", "年", "p", "rofit"]
