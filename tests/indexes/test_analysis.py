"""Index terms: normal forms, both scripts, numbers, and any input at all."""

from __future__ import annotations

import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from indexes.analysis import MAX_TOKEN_CHARS, Analyzer

analyzer = Analyzer()


def same(left: str, right: str) -> bool:
    return analyzer.tokens(left) == analyzer.tokens(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1,000.50", "1000.5"),
        ("1,234,567", "1234567"),
        ("３％", "3%"),
        ("2.0", "2"),
        ("信用卡手續費", "信用卡手续费"),
        ("臺灣銀行", "台湾银行"),
        ("ＡＴＭ", "atm"),
        ("transferring fees", "transferred fee"),
        ("the bank’s fees", "bank's fee"),
        ("ﬁnance", "finance"),
        ("年費 是 多少", "年费是多少"),
    ],
)
def test_what_is_the_same_gives_the_same_terms(left: str, right: str) -> None:
    assert sorted(set(analyzer.tokens(left))) == sorted(set(analyzer.tokens(right)))


@pytest.mark.parametrize(
    ("left", "right"), [("1.5", "15"), ("10,00", "1000"), ("2024", "2023"), ("年费", "月费")]
)
def test_what_differs_stays_different(left: str, right: str) -> None:
    assert not same(left, right)


def test_numbers_beside_han_characters_stay_whole() -> None:
    assert "2024" in analyzer.tokens("2024年10月")
    assert "10" in analyzer.tokens("2024年10月")
    assert "1000.5" in analyzer.tokens("收取1,000.50元")


def test_han_runs_give_words_and_single_characters_once_each() -> None:
    terms = analyzer.tokens("信用卡")
    assert terms.count("信用卡") == 1
    assert terms.count("卡") == 1
    assert analyzer.tokens("费") == ["费"]


def test_english_function_words_carry_no_weight() -> None:
    assert analyzer.tokens("What is the fee?") == analyzer.tokens("fee")
    assert analyzer.tokens("who are you") == []


@given(st.text(st.characters(), max_size=200))
@example("\ud800\udfff lone surrogates \udc00")
@example("NUL \x00 and \u2028 separators \u202e right-to-left שלום مرحبا")
@example("👩‍👩‍👧 emoji 🇨🇳")
@example("﷽" * 30)
def test_any_text_gives_clean_terms(text: str) -> None:
    terms = analyzer.tokens(text)
    assert terms == analyzer.tokens(text)
    for term in terms:
        assert 0 < len(term) <= MAX_TOKEN_CHARS
        # One term a line in the vocabulary file: neither white space nor anything unencodable.
        assert not any(c.isspace() for c in term)
        assert term.encode("utf-8").decode("utf-8") == term
        assert term == term.lower() or "İ" in text


@given(st.text(max_size=60), st.text(max_size=60))
def test_texts_apart_are_analysed_apart(left: str, right: str) -> None:
    joined = analyzer.tokens(f"{left}\n{right}")
    assert joined == analyzer.tokens(left) + analyzer.tokens(right)


def test_a_megabyte_without_a_break_is_cut_short() -> None:
    assert analyzer.tokens("a" * 1_000_000) == ["a" * MAX_TOKEN_CHARS]
    assert len(analyzer.tokens("年" * 100_000)) >= 100_000


def test_threads_share_an_analyzer() -> None:
    words = [f"transferring{i} accounts branches {i}" for i in range(300)]
    expected = [Analyzer().tokens(w) for w in words]
    shared = Analyzer()
    results: dict[int, list[list[str]]] = {}

    def work(number: int) -> None:
        results[number] = [shared.tokens(w) for w in words]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[i] == expected for i in range(4))
