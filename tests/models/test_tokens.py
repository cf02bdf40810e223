"""Texts, pairs and windows as the graph sees them."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import strategies as st

from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.heads import HeadSpec
from assistant.models.tokens import ModelTokenizer, probabilities

BOS, EOS = 0, 2
TOKENIZER = build_tokenizer(tiny.vocabulary())


def ready(limit: int = 40, pooling: str = "mean") -> ModelTokenizer:
    return ModelTokenizer(TOKENIZER, limit, "query: ", "passage: ", pooling)


def test_a_text_stands_between_the_marks_after_its_prefix() -> None:
    found = ready().text("lost card")
    plain = TOKENIZER.encode("query: lost card")
    assert found.tokens.ids.tolist() == plain.ids
    assert found.tokens.ids.dtype == np.int32
    covered = ["lost card"[a:b].strip() for a, b in found.offsets.tolist()]
    assert "".join(covered) == "lostcard"
    assert covered[0] == covered[-1] == ""
    assert not found.cut
    np.testing.assert_allclose(found.tokens.pool, 1 / len(found.tokens.ids))


def test_a_pair_is_two_texts_with_a_mark_between() -> None:
    found = ready().pair("lost card", "bank fee")
    first = TOKENIZER.encode("query: lost card", add_special_tokens=False).ids
    second = TOKENIZER.encode("passage: bank fee", add_special_tokens=False).ids
    assert found.tokens.ids.tolist() == [BOS, *first, EOS, *second, EOS]
    own = found.offsets[len(first) + 2 :]
    assert not found.offsets[: len(first) + 2].any()
    assert "bank fee"[own[own[:, 1] > 0][0][0] : own[-2][1]].strip() == "bank fee"


def test_first_token_pooling() -> None:
    pool = ready(pooling="first").text("card").tokens.pool
    assert pool[0, 0] == 1 and pool[0, 1:].sum() == 0


def test_the_second_text_is_cut_first_and_the_first_keeps_half_at_most() -> None:
    short_first = ready(40).pair("a", "b" * 99)
    assert short_first.cut and len(short_first.tokens.ids) == 40
    a = TOKENIZER.encode("query: a", add_special_tokens=False).ids
    assert short_first.tokens.ids.tolist()[1 : len(a) + 2] == [*a, EOS]
    both_long = ready(21).pair("a" * 99, "b" * 99).tokens.ids.tolist()
    assert both_long.index(EOS) == 1 + (21 - 3) // 2
    short_second = ready(40).pair("a" * 99, "").tokens.ids.tolist()
    p = TOKENIZER.encode("passage: ", add_special_tokens=False).ids
    assert short_second[-len(p) - 2 :] == [EOS, *p, EOS]
    assert len(short_second) == 40


@pytest.mark.parametrize("words", [0, 1, 8, 40, 41, 500])
def test_windows_cover_every_token_and_overlap(words: int) -> None:
    text = " ".join("abcdefgh"[i % 8] for i in range(words))
    maker = ready(30)
    item = maker.windows([text], overlap=6)[0]
    whole = TOKENIZER.encode(f"query: {text}", add_special_tokens=False).ids
    prefix = len(whole) - len(item.offsets)
    assert whole[:prefix] == TOKENIZER.encode("query: ", add_special_tokens=False).ids or words
    covered = 0
    for window in item.windows:
        ids = window.tokens.ids.tolist()
        assert len(ids) <= 30 and ids[0] == BOS and ids[-1] == EOS
        assert ids[1 : window.lead] == whole[:prefix]
        own = ids[window.lead : -1]
        assert own == whole[prefix + window.start : prefix + window.start + window.count]
        assert window.start <= covered
        if window.start:
            assert covered - window.start == min(6, (30 - window.lead - 1) // 4)
        covered = window.start + window.count
    assert covered == len(item.offsets)


def test_one_window_is_the_text_itself() -> None:
    maker = ready()
    for text in ("lost card", "银行卡丢了？", ""):
        window = maker.windows([text])[0].windows
        assert len(window) == 1
        np.testing.assert_array_equal(window[0].tokens.ids, maker.text(text).tokens.ids)
        pair = maker.pair_windows([("fee?", text)])[0].windows
        np.testing.assert_array_equal(pair[0].tokens.ids, maker.pair("fee?", text).tokens.ids)


def test_long_pairs_keep_the_question_in_every_window() -> None:
    item = ready(30).pair_windows([("fee", "lost card " * 40)], overlap=5)[0]
    question = TOKENIZER.encode("query: fee", add_special_tokens=False).ids
    assert len(item.windows) > 3
    for window in item.windows:
        assert window.tokens.ids.tolist()[: len(question) + 2] == [BOS, *question, EOS]
        assert len(window.tokens.ids) <= 30


TRICKY = st.text(
    st.sampled_from("ab 银行卡?ﬁ㈱½e\u0301\u200d\ufe0f🙂👨‍👩ＡＢ１　\n\t～\u2581ﷺ각\ud800М")
)


@given(TRICKY, TRICKY)
def test_offsets_stay_inside_the_text_and_rise(first: str, second: str) -> None:
    maker = ready()
    for text, item in ((first, maker.text(first)), (second, maker.pair(first, second))):
        own = item.offsets[item.offsets[:, 1] > 0]
        assert len(item.offsets) == len(item.tokens.ids)
        assert (own[:, 0] <= own[:, 1]).all()
        assert (np.diff(own, axis=0) >= 0).all()
        assert own.max(initial=0) <= len(text)


def test_probabilities_are_calibrated_and_stable() -> None:
    head = HeadSpec("h", "sequence", ("a", "b"), temperature=2.0)
    found = probabilities(head, np.array([[4.0, 0.0], [9e4, -9e4]], dtype=np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], np.exp([2, 0]) / np.exp([2, 0]).sum(), atol=1e-6)
    np.testing.assert_array_equal(found[1], [1, 0])
    each = HeadSpec("h", "sequence", ("a", "b"), "sigmoid", temperature=2.0)
    found = probabilities(each, np.array([4.0, -9e9], dtype=np.float32))
    np.testing.assert_allclose(found, [1 / (1 + np.exp(-2)), 0], atol=1e-6)
