from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from assistant.models.plain import plain_question
from benchmarks.robustness import (
    PERTURBATIONS,
    Points,
    Subject,
    code_switch,
    measure,
    no_diacritics,
    no_punctuation,
    perturbed,
    ratio,
)
from indexes.language import simplified

EN = "How long does an international transfer to my savings account take, and what's the fee?"
ZH = "我的信用卡丢了，挂失以后多久能拿到新卡？手续费是3.5元吗"
TEXTS = [
    EN,
    ZH,
    "",
    " ",
    "？",
    "a",
    "卡",
    "AAPL beats Q3 estimates, shares up 4.1%",
    "余额 balance",
]


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_every_perturbation_takes_any_text_and_repeats_itself(name: str) -> None:
    once = [perturbed(name, text) for text in TEXTS]
    again = [perturbed(name, text) for text in reversed(TEXTS)]
    assert once == again[::-1]


@pytest.mark.parametrize("name", ["typing errors", "emoji"])
def test_chance_differs_between_texts(name: str) -> None:
    texts = [f"{EN} {n}" for n in range(40)]
    changed = [perturbed(name, text) for text in texts]
    places = {
        next((n for n, (a, b) in enumerate(zip(text, given, strict=False)) if a != b), None)
        for text, given in zip(texts, changed, strict=True)
    }
    assert len(places) > 10


def test_one_latin_word_in_eight_gets_one_slip() -> None:
    words = ["transfer"] * 4000
    given = perturbed("typing errors", " ".join(words)).split()
    slips = [word for word in given if word != "transfer"]
    assert len(given) == len(words)
    assert 0.11 < len(slips) / len(words) < 0.14
    kinds = {len(word) - 8 if sorted(word) != sorted("transfer") else "swapped" for word in slips}
    assert kinds == {-1, 0, "swapped"}
    replaced = [w for w in slips if len(w) == 8 and sorted(w) != sorted("transfer")]
    assert all(sum(a != b for a, b in zip(w, "transfer", strict=True)) == 1 for w in replaced)


def test_a_slip_hits_the_key_beside_and_keeps_the_case() -> None:
    given = perturbed("typing errors", " ".join(["QQQQ"] * 400)).split()
    assert {"QQQQ", "QQQ"} <= set(given)
    assert {letter for word in given for letter in word} == {"Q", "W"}


def test_short_words_and_numbers_are_typed_right() -> None:
    text = " ".join(["to 42 of £9,99 A1"] * 200)
    assert perturbed("typing errors", text) == text


def test_one_han_character_in_twelve_is_lost_or_swapped() -> None:
    # Every character occurs once, so that each slip can be counted.
    text = "".join(chr(0x4E00 + n) for n in range(6000))
    given = perturbed("typing errors", text)
    lost = len(text) - len(given)
    swapped = sum(a > b for a, b in pairwise(given))
    assert set(given) < set(text)
    assert 0.07 < (lost + swapped) / len(text) < 0.095
    assert 0.8 < lost / swapped < 1.25


def test_marks_leave_letters_and_han_stay() -> None:
    assert no_diacritics("Crédit à la Société Générale, Zürich 余额") == (
        "Credit a la Societe Generale, Zurich 余额"
    )
    assert no_diacritics(ZH) == ZH


def test_punctuation_goes_but_numbers_stay_whole() -> None:
    assert no_punctuation("What's my card's limit - $1,000.50?") == "Whats my cards limit $1,000.50"
    assert no_punctuation("余额是3.5元，对吗？") == "余额是3.5元 对吗"
    assert no_punctuation("rock'n'roll (live)") == "rocknroll live"
    assert no_punctuation("...") == ""


def test_case() -> None:
    assert perturbed("upper case", "My Karte 卡") == "MY KARTE 卡"
    assert perturbed("lower case", "My IBAN 卡") == "my iban 卡"


def test_traditional_is_what_is_read_as_simplified() -> None:
    given = perturbed("traditional", ZH)
    assert given == "我的信用卡丟了，掛失以後多久能拿到新卡？手續費是3.5元嗎"
    assert simplified(given) == ZH
    assert perturbed("traditional", EN) == EN


def test_full_width_is_what_nfkc_undoes() -> None:
    given = perturbed("full width", "Fee: 3.5 EUR，卡")
    assert given == "Ｆｅｅ：　３．５　ＥＵＲ，卡"
    ascii_text = "".join(map(chr, range(0x20, 0x7F)))
    wide = perturbed("full width", ascii_text)
    assert not set(wide) & set(ascii_text)
    assert unicodedata.normalize("NFKC", wide) == ascii_text


@pytest.mark.parametrize(
    ("text", "switched"),
    [
        ("What are the fees of my credit cards?", "What are the 手续费 of my 信用卡?"),
        ("Transfer money to my account", "转账 money to my 账户"),
        ("The scorecard is fundamental", "The scorecard is fundamental"),
        ("信用卡余额怎么查", "credit cardbalance怎么查"),
        ("我想提现但忘了密码", "我想withdraw但忘了password"),
        ("你好", "你好"),
    ],
)
def test_terms_change_language(text: str, switched: str) -> None:
    assert code_switch(text) == switched


def test_double_spaces() -> None:
    assert perturbed("double spaces", "where is it") == "where  is  it"
    assert perturbed("double spaces", "在哪里") == "在哪里"


@pytest.mark.parametrize("text", [EN, ZH, "卡", ""])
def test_emoji_are_put_in_and_taken_out(text: str) -> None:
    given = perturbed("emoji", text)
    assert len(given) == len(text) + 2
    assert given[-1] not in text
    if text:  # of nothing but emoji, they stay
        told, clean = (plain_question(one).split() for one in (given, text))
        assert "".join(told) == "".join(clean)
    # Words stay whole.
    assert re.findall("[A-Za-z']+", given) == re.findall("[A-Za-z']+", text)


def test_ratio_is_points_won_of_those_to_be_won() -> None:
    columns = np.array([[2.0, 3.0], [0.0, 1.0]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    assert ratio(columns, weights).tolist() == [0.5, 2 / 3]


class Cased:
    """Reads capital letters only where they are few; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def judge(self, right: Sequence[Any], texts: Sequence[str]) -> Points:
        self.asked.append(list(texts))
        return [(0 if text.isupper() else one, 1) for one, text in zip(right, texts, strict=True)]


def test_a_loss_is_clean_less_perturbed_on_the_rows_that_changed() -> None:
    model = Cased()
    rows = [(f"where is card number {n}", n % 2) for n in range(20)]
    rows += [("WHERE IS MY CARD", 1)] * 10
    found = measure(Subject("cased", rows, model.judge), 100)
    assert found["clean"]["n"] == 30
    assert math.isclose(found["clean"]["value"], 10 / 30, abs_tol=1e-6)
    upper = found["perturbed"]["upper case"]
    assert upper["changed"] == 20
    assert math.isclose(upper["loss"]["value"], 10 / 30, abs_tol=1e-6)
    assert 0 < upper["loss"]["low"] < 10 / 30 < upper["loss"]["high"] < 1
    assert found["perturbed"]["traditional"] == {"changed": 0}
    # Rows that stay as they were are not asked again.
    assert [len(texts) for texts in model.asked if all(map(str.isupper, texts))] == [20]


def test_rows_are_limited_and_the_same_each_time() -> None:
    rows = [(f"question {n}", 1) for n in range(50)]
    first, second = Cased(), Cased()
    assert measure(Subject("some", rows, first.judge), 10)["clean"]["n"] == 10
    measure(Subject("some", rows, second.judge), 10)
    assert first.asked == second.asked
    assert len(first.asked[0]) == 10
