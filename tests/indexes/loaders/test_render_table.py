from __future__ import annotations

import pytest

from indexes.loaders.tables import Cell, render_table

Rows = list[list[Cell]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["Card", "Fee", "Year"], ["Gold", "100", "2024"]], ["Card: Gold; Fee: 100; Year: 2024"]),
        # Two columns of words are labels and values.
        ([["Company", "Acme"], ["Address", "Main St"]], ["Company: Acme", "Address: Main St"]),
        ([["Service", "Fee"], ["Wire", "CNY 20"]], ["Service: Wire; Fee: CNY 20"]),
        (
            [["Loan", "Rate"], ["Home", "3.1%"], ["Car", "4%"]],
            ["Loan: Home; Rate: 3.1%", "Loan: Car; Rate: 4%"],
        ),
        # No header at all.
        ([["1", "2", "3"], ["4", "5", "6"]], ["1; 2; 3", "4; 5; 6"]),
        ([["only one row", "b", "c"]], ["only one row; b; c"]),
        # Currency and per cent signs in cells of their own.
        (
            [
                ["", "2022", None, "2021", None],
                ["Sales", "$", "1,000", "$", "(900"],
                ["Margin", "12", "%", "", ""],
            ],
            ["Sales; 2022: $1,000; 2021: $(900", "Margin; 2022: 12%"],
        ),
        # A currency in a column of its own is no sign of what the next column says.
        (
            [["Account", "Currency", "Term", "Rate"], ["Saver", "USD", "1 year", "2.8%"]],
            ["Account: Saver; Currency: USD; Term: 1 year; Rate: 2.8%"],
        ),
        (
            [["Currency", "Share (%)"], ["EUR", "10.1"], ["RMB", "2.0"]],
            ["Currency: EUR; Share (%): 10.1", "Currency: RMB; Share (%): 2.0"],
        ),
        (
            [["Sales", "USD", "1,000"], ["Costs", "USD", "900"]],
            ["Sales: USD1,000", "Costs: USD900"],
        ),
        # A header over two columns and a second header row.
        (
            [["Card", "Fee", None], ["", "Year 1", "Later"], ["Gold", "0", "100"]],
            ["Card: Gold; Fee Year 1: 0; Fee Later: 100"],
        ),
        # The period goes to the years.
        (
            [["Year ended December 31,", "2022", "2021"], ["Revenue", "5", "4"]],
            ["Revenue; Year ended December 31, 2022: 5; Year ended December 31, 2021: 4"],
        ),
        # A unit note stays with each label.
        (
            [["(in millions)", "2022", "2021"], ["Revenue", "5", "4"]],
            ["Revenue (in millions); 2022: 5; 2021: 4"],
        ),
        # Group titles inside the table stand alone, and the corner names no row then.
        (
            [
                ["ASSETS", "2022", "2021"],
                ["Cash", "5", "4"],
                ["LIABILITIES", "", ""],
                ["Debt", "2", "1"],
            ],
            ["ASSETS", "Cash; 2022: 5; 2021: 4", "LIABILITIES", "Debt; 2022: 2; 2021: 1"],
        ),
        # A bulleted list laid out as a table.
        ([["•", "excludes tax"], ["•", "excludes fees"]], ["• excludes tax", "• excludes fees"]),
        # Empty rows and columns disappear.
        ([["", "", ""], ["a", "", "1"], ["b", "", "2"]], ["a: 1", "b: 2"]),
        ([], []),
        ([["", ""]], []),
    ],
)
def test_tables_without_a_stated_header(rows: Rows, expected: list[str]) -> None:
    assert render_table(rows) == expected


def test_stated_headers_are_believed() -> None:
    rows: Rows = [["100", "200"], ["a", "b"]]
    assert render_table(rows, 1) == ["100: a; 200: b"]
    assert render_table(rows, 0) == ["100: 200", "a: b"]


def test_a_header_without_rows_is_text() -> None:
    assert render_table([["a", "b", "c"]], 1) == ["a; b; c"]


def test_cells_broken_by_a_page_end_are_joined() -> None:
    rows: Rows = [
        ["承诺方", "内容", "时间"],
        ["陈某", "自本协议生效之日起三十六个月内，各方应确保", "2017年"],
        ["", "协商一致。", ""],
    ]
    assert render_table(rows, 1) == [
        "承诺方: 陈某; 内容: 自本协议生效之日起三十六个月内，各方应确保协商一致。; 时间: 2017年"
    ]


def test_line_breaks_in_cells_become_spaces() -> None:
    assert render_table([["a\nb", "c"], ["d", "1"]], 1) == ["a b: d; c: 1"]
