from __future__ import annotations

import io
import re
from collections.abc import Callable

import pypdf
import pytest

from indexes.errors import LoadError
from indexes.loaders import LoadLimits, load_bytes
from indexes.types import Document

Read = Callable[..., Document]
MakePdf = Callable[..., bytes]
Placed = tuple[float, float, float, str]

PROSE = [
    "The bank pays interest on the balance of each account every quarter at the rate that",
    "is published on its website. The rate may change on the first day of any month, and",
    "customers are told of a change two weeks before.",
]


def lines(texts: list[str], top: float, size: float = 10, left: float = 60) -> list[Placed]:
    return [(left, top - 13 * index, size, text) for index, text in enumerate(texts)]


def text_or_reason(read: Read, data: bytes, name: str) -> str:
    try:
        return read(data, name).text
    except LoadError as error:
        return error.reason


def test_lines_become_paragraphs_with_pages(read: Read, make_pdf: MakePdf) -> None:
    first = [*lines(PROSE, 700), *lines(["Interest is paid in the currency of the"], 640)]
    second = lines(["account on the last working day.", "", "Closed accounts earn none."], 780)
    doc = read(make_pdf([first, second], title="Interest"), "a.pdf")
    assert doc.title == "Interest"
    assert doc.text.split("\n\n") == [
        " ".join(PROSE),
        "Interest is paid in the currency of the account on the last working day.",
        "Closed accounts earn none.",
    ]
    assert [page.number for page in doc.pages] == [1, 2]
    assert doc.text[doc.pages[0].start : doc.pages[0].end].endswith("currency of the")
    assert doc.text[doc.pages[1].start :].startswith(" account on the last")
    assert doc.pages[0].end == doc.pages[1].start and doc.pages[1].end == len(doc.text)


def test_running_heads_and_page_numbers_are_dropped(read: Read, make_pdf: MakePdf) -> None:
    pages = [
        [
            (60, 800, 9, "Larkhaven Bank - Terms"),
            *lines(PROSE, 700),
            (290, 30, 9, f"Page {number} of 4"),
        ]
        for number in range(1, 5)
    ]
    text = read(make_pdf(pages), "a.pdf").text
    assert "Larkhaven" not in text and "Page" not in text
    assert text.count("The bank pays interest") == 4


def test_headings_by_size_and_weight(read: Read, make_pdf: MakePdf) -> None:
    page = [
        (60, 780, 22, "Savings accounts"),
        *lines(PROSE, 740),
        (60, 680, 13, "Interest"),
        *lines(PROSE, 655),
        (60, 600, 10, "Bold words"),
        *lines(PROSE, 580),
    ]
    doc = read(make_pdf([page], bold="Bold"), "a.pdf")
    assert [(h.level, h.title) for h in doc.headings] == [
        (1, "Savings accounts"),
        (2, "Interest"),
        (3, "Bold words"),
    ]


def test_figures_in_columns_become_rows(read: Read, make_pdf: MakePdf) -> None:
    def row(y: float, label: str, *figures: str) -> list[Placed]:
        cells: list[Placed] = [(60, y, 10, label)] if label else []
        return cells + [(400 + 80 * n, y, 10, text) for n, text in enumerate(figures) if text]

    page = [
        *lines(PROSE, 760),
        *row(700, "Years ended December 31,", "2022", "2021"),
        *row(685, "Total revenue", "$66,608", "$62,286"),
        *row(670, "Operating expenses:"),
        *row(655, "Selling and administration of all the branches of the group, net of tax"),
        *row(642, "and other items", "(53)", ""),
        *row(627, "Net result", "13,215", "11,004"),
        *lines(PROSE, 580),
    ]
    doc = read(make_pdf([page]), "a.pdf")
    year = "Years ended December 31, 20"
    assert doc.text.split("\n\n")[1].split("\n") == [
        f"Total revenue; {year}22: $66,608; {year}21: $62,286",
        "Operating expenses:",
        "Selling and administration of all the branches of the group, net of tax and other items; "
        f"{year}22: (53)",
        f"Net result; {year}22: 13,215; {year}21: 11,004",
    ]


def test_wrapped_cells_of_text_tables(read: Read, make_pdf: MakePdf) -> None:
    page = [
        *lines(PROSE, 760),
        (60, 700, 10, "Service"),
        (200, 700, 10, "Condition"),
        (400, 700, 10, "Where"),
        (60, 676, 10, "Transfer"),
        (200, 676, 10, "the account must have"),
        (400, 676, 10, "app or branch"),
        (200, 664, 10, "been open for a week"),
        (60, 640, 10, "Closing"),
        (200, 640, 10, "balance is zero"),
        (400, 640, 10, "branch"),
    ]
    doc = read(make_pdf([page]), "a.pdf")
    assert doc.text.split("\n\n")[1].split("\n") == [
        "Service: Transfer; Condition: the account must have been open for a week; "
        "Where: app or branch",
        "Service: Closing; Condition: balance is zero; Where: branch",
    ]


def test_chinese_lines_are_joined_without_spaces(read: Read, make_pdf: MakePdf) -> None:
    texts = [
        "客户应当妥善保管银行卡和密码，不得转借他人使用。银行卡遗失的，应当立即",
        "通过客服热线或手机银行办理挂失手续。",
    ]
    doc = read(make_pdf([[(60, 700, 12, texts[0]), (60, 684, 12, texts[1])]]), "a.pdf")
    assert doc.text == "".join(texts)
    assert doc.language == "zh"


def test_hyphens_at_line_ends(read: Read, make_pdf: MakePdf) -> None:
    texts = [
        "Customers who hold more than one account may ask for a com-",
        "bined statement. Each combined statement is free, and the long-",
        "term rate is shown; our long-term rate is fixed for a year now.",
    ]
    text = read(make_pdf([lines(texts, 700)]), "a.pdf").text
    assert "a combined statement." in text
    assert "the long-term rate is shown" in text


def test_all_words_are_there(read: Read, make_pdf: MakePdf) -> None:
    data = make_pdf([[*lines(PROSE, 700), (60, 600, 10, "Fee"), (300, 600, 10, "20")]] * 3)
    words = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)
    assert sorted(re.findall(r"\w+", words)) == sorted(re.findall(r"\w+", read(data, "a.pdf").text))


def test_what_is_not_a_pdf(read: Read, make_pdf: MakePdf) -> None:
    with pytest.raises(LoadError, match=r"named \.pdf but holds a JPEG image"):
        read(b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100), "photo.pdf")
    with pytest.raises(LoadError, match="damaged"):
        read(b"%PDF-1.7\n" + b"garbage " * 100, "a.pdf")
    whole = make_pdf([lines(PROSE, 700)])
    with pytest.raises(LoadError, match="images without text"):
        read(make_pdf([[], []]), "scan.pdf")
    assert (
        "no text on page 2" in read(make_pdf([lines(PROSE, 700), []]), "a.pdf").metadata["warnings"]
    )
    limits = LoadLimits(max_pages=1)
    with pytest.raises(LoadError, match="pages: 2, over the limit of 1"):
        load_bytes(make_pdf([[], []]), filename="a.pdf", source="a", limits=limits)
    assert "interest" in read(b"junk before\n" + whole, "a.pdf").text


def test_encrypted_pdf(read: Read, make_pdf: MakePdf) -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(make_pdf([lines(PROSE, 700)])))
    writer.encrypt("secret")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(LoadError, match="protected by a password"):
        read(out.getvalue(), "a.pdf")


@pytest.mark.parametrize("place", range(20, 1500, 97))
def test_damaged_bytes_give_text_or_a_reason(read: Read, make_pdf: MakePdf, place: int) -> None:
    data = bytearray(make_pdf([lines(PROSE, 700)] * 2))
    data[place % len(data)] ^= 0xFF
    for broken in (bytes(data), bytes(data[: place % len(data)])):
        assert text_or_reason(read, broken, "a.pdf")
