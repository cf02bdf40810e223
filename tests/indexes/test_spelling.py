"""Mistyped words become words that the texts use; nothing else changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes.search import HybridIndex
from indexes.spelling import LONGEST, SHORTEST, mended, one_slip
from indexes.types import IndexItem, VectorSpace

USED = {"card": 9, "cord": 1, "account": 7, "transfer": 5, "refunds": 4, "what": 50, "blocked": 3}
COMMON = {*USED, "lost", "cart", "phone", "refund"}


def known(words: Sequence[str]) -> list[bool]:
    return [word in COMMON for word in words]


def frequencies(words: Sequence[str]) -> list[int]:
    return [USED.get(word, 0) for word in words]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my crad is blcoked", "my card is blocked"),
        ("Trasnfer to my acount?", "transfer to my account?"),
        ("whta about refnds", "what about refunds"),
        ("我的crad丢了", "我的card丢了"),
        ("cabd", "card"),  # card and cord are as near; more texts have card
        ("lost phone", "lost phone"),  # not in the texts, but words
        ("my zzyzx", "my zzyzx"),  # nothing near it
        ("the Acount of Mr Trasnfer", "the Acount of Mr Trasnfer"),  # names
        ("ACOUNT", "ACOUNT"),
        ("acount@bank.com, #acount, acount_1, acount2, co-acount", None),
        ("acc", "acc"),
        ("", ""),
        ("转账 123 ！", "转账 123 ！"),
    ],
)
def test_what_is_mended_and_what_is_left(text: str, expected: str | None) -> None:
    assert mended(text, known, frequencies) == (text if expected is None else expected)


@given(st.text(max_size=60))
def test_any_text_comes_back_with_the_same_words_but_for_letters(text: str) -> None:
    once = mended(text, known, frequencies)
    assert len(once.split()) == len(text.split())
    assert mended(once, known, frequencies) == once
    assert mended(text, lambda words: [True] * len(words), frequencies) == text
    assert mended(text, known, lambda words: [0] * len(words)) == text


@given(st.sampled_from(sorted(USED)), st.data())
def test_every_slip_in_a_word_that_is_used_leads_to_a_word_that_is_used(
    word: str, data: st.DataObject
) -> None:
    slip = data.draw(st.sampled_from(sorted(set(one_slip(word)))))
    found = mended(slip, known, frequencies)
    if SHORTEST <= len(slip) <= LONGEST and slip not in COMMON:
        assert found in USED
    else:
        assert found == slip


def test_what_is_all_strange_is_not_looked_into() -> None:
    looked: list[int] = []

    def counted(words: Sequence[str]) -> list[int]:
        looked.append(len(words))
        return frequencies(words)

    noise = [f"crad{letters}" for letters in ("xq", "qx", "zx", "xz", "jq", "qj", "vx", "xv")]
    assert mended(" ".join([*noise, "crad"]), known, counted) == " ".join([*noise, "crad"])
    assert not looked
    assert mended(" ".join([*noise[1:], "crad", "crad"]), known, counted).endswith("card card")


def test_slips_are_the_words_one_edit_away() -> None:
    slips = set(one_slip("to"))
    assert {"o", "t", "ot", "too", "tro", "ato", "ta", "do", "to"} <= slips
    # Norvig's count of distinct edits, for two letters that differ: 54 n + 25, some alike.
    assert len(slips) <= 54 * 2 + 25
    assert all(abs(len(slip) - 2) <= 1 for slip in slips)


def test_the_index_counts_a_word_in_all_its_forms(tmp_path: Path) -> None:
    index = HybridIndex.open(tmp_path, VectorSpace("test", 2, 0.0))
    vector = np.float32([1, 0])
    texts = ["The refund was paid.", "Refunds take days; refunded later.", "A card."]
    index.add([IndexItem(n, text, vector) for n, text in enumerate(texts, start=1)])
    words = ["refund", "refunds", "refunding", "card", "refnd", "the"]
    assert index.frequencies(words) == [2, 2, 2, 1, 0, 3]
    index.delete([1], last_deletion_id=1)
    assert index.frequencies(["refund", "the"]) == [1, 2]
    assert mended("refnds of the crad", known, index.frequencies) == "refunds of the card"
