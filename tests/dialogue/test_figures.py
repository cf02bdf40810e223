"""Figures in an answer must stand in its evidence."""

from hypothesis import given
from hypothesis import strategies as st

from assistant.dialogue.figures import figures, unsupported_figures


def test_one_number_many_ways_of_writing() -> None:
    assert figures("1,000.50") == figures("1000.5") == figures("１０００.５０") == {"1000.5"}
    assert figures("2024-03-01 at 09:30") == {"2024-03-01", "09:30"}
    assert figures("1,5 and 10,000") == {"1,5", "10000"}


def test_an_invented_figure_is_named() -> None:
    assert unsupported_figures("It costs 25 a month.", "The fee is 15 a month.") == {"25"}
    assert not unsupported_figures("手续费为 1,000 元", "每笔收取1000元手续费")


@given(st.text())
def test_text_supports_itself(text: str) -> None:
    assert not unsupported_figures(text, text)


@given(st.integers(0, 10**9))
def test_thousands_separators_do_not_matter(number: int) -> None:
    assert figures(f"{number:,}") == figures(str(number))
