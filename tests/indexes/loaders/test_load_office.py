from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Callable
from typing import Any

import docx
import openpyxl
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from pptx.util import Inches

from indexes.errors import LoadError
from indexes.loaders import LoadLimits, load_bytes
from indexes.types import Document

Read = Callable[..., Document]


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def repacked(data: bytes, change: Callable[[str, bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for part in old.infolist():
            new.writestr(part.filename, change(part.filename, old.read(part)))
    return out.getvalue()


def text_or_reason(read: Read, data: bytes, name: str) -> str:
    try:
        return read(data, name).text
    except LoadError as error:
        return error.reason


def word() -> Any:
    document = docx.Document()
    document.core_properties.title = "Template of 2009"
    document.add_heading("Card terms", 0)
    document.add_paragraph("Valid from 1 July.")
    document.add_heading("Limits", 1)
    document.add_paragraph("First item", style="List Bullet")
    document.add_paragraph("Step one", style="List Number")
    document.add_paragraph("Step two", style="List Number")
    return document


def test_word_structure(read: Read) -> None:
    document = word()
    table = document.add_table(3, 3)
    for row, cells in enumerate(
        [["Card", "Fee", ""], ["Gold", "100", "first year"], ["Basic", "0", ""]]
    ):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    table.cell(0, 1).merge(table.cell(0, 2))
    table.cell(1, 0).merge(table.cell(2, 0))
    doc = read(saved(document), "terms.docx")
    assert doc.title == "Card terms"
    assert [(h.level, h.title) for h in doc.headings] == [(1, "Card terms"), (1, "Limits")]
    assert doc.text.split("\n\n")[3] == "• First item\n1. Step one\n2. Step two"
    rows = doc.text.split("\n\n")[4].split("\n")
    assert rows[0] == "Card: Gold Basic; Fee: 100; Fee: first year"
    assert rows[1] == "Card: Gold Basic; Fee: 0"


def test_word_text_that_lies_deeper(read: Read) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("Fee: ")
    space = nsdecls("w")
    paragraph._p.append(
        parse_xml(f'<w:ins {space} w:id="1" w:author="a"><w:r><w:t>20 CNY</w:t></w:r></w:ins>')
    )
    paragraph._p.append(
        parse_xml(
            f'<w:del {space} w:id="2" w:author="a"><w:r><w:delText>10</w:delText></w:r></w:del>'
        )
    )
    inner = "<w:p><w:r><w:t>In a control.</w:t></w:r></w:p>"
    control = f"<w:sdt {space}><w:sdtContent>{inner}</w:sdtContent></w:sdt>"
    document.element.body.insert(1, parse_xml(control))
    assert read(saved(document), "a.docx").text == "Fee: 20 CNY\n\nIn a control."


def test_word_without_styles_finds_headings_by_looks(read: Read) -> None:
    document = docx.Document()
    document.add_paragraph().add_run("账户章程").bold = True
    document.add_paragraph("本章程自2025年起施行。")
    document.add_paragraph("第一章 总则")
    document.add_paragraph("客户应当遵守本章程。")
    doc = read(saved(document), "章程.docx")
    assert [h.title for h in doc.headings] == ["账户章程", "第一章 总则"]


def test_slides(read: Read) -> None:
    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Signing in"
    slide.placeholders[1].text = "Password of 8 signs\nFive tries"
    slide.notes_slide.notes_text_frame.text = "Do not tell customers."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Fees"
    grid = second.shapes.add_table(2, 2, Inches(1), Inches(2), Inches(4), Inches(1)).table
    for index, text in enumerate(["Card", "Fee", "Gold", "100"]):
        grid.cell(index // 2, index % 2).text = text
    doc = read(saved(deck), "deck.pptx")
    assert (
        doc.text
        == "Signing in\n\n• Password of 8 signs\n• Five tries\n\nFees\n\nCard: Gold; Fee: 100"
    )
    assert [(p.number, doc.text[p.start : p.end].strip()[:4]) for p in doc.pages] == [
        (1, "Sign"),
        (2, "Fees"),
    ]


def workbook() -> Any:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Fees"
    sheet.append(["Fees from 1 July"])
    sheet.append([])
    sheet.append(["Card", "2024", None])
    sheet.append([None, "Fee", "Rate"])
    sheet.append(["Gold", 1234.5, 0.0385])
    sheet.append(["Basic", 0, 0.04])
    sheet.merge_cells("B3:C3")
    for row in (5, 6):
        sheet.cell(row, 2).number_format = "¥#,##0.00"
        sheet.cell(row, 3).number_format = "0.00%"
    other = book.create_sheet("Dates")
    other.append(["Event", "Day"])
    other.append(["Start", datetime.date(2025, 7, 1)])
    other.append(["End", datetime.datetime(2025, 7, 2, 9, 30)])
    return book


def test_workbook_values_read_as_shown(read: Read) -> None:
    doc = read(saved(workbook()), "fees.xlsx")
    assert doc.text.split("\n\n") == [
        "Fees",
        "Fees from 1 July",
        "Card: Gold; 2024 Fee: ¥1,234.50; 2024 Rate: 3.85%\n"
        "Card: Basic; 2024 Fee: ¥0.00; 2024 Rate: 4.00%",
        "Dates",
        "Event: Start; Day: 2025-07-01\nEvent: End; Day: 2025-07-02 09:30",
    ]


def test_formulas_give_values_or_a_warning(read: Read) -> None:
    book = openpyxl.Workbook()
    book.active.append(["a", "b", "=1+1"])
    data = saved(book)
    assert "1 formulas have no stored value" in read(data, "a.xlsx").metadata["warnings"]
    stored = repacked(
        data,
        lambda name, part: part.replace(b"</f><v />", b"</f><v>2</v>").replace(
            b"</f><v></v>", b"</f><v>2</v>"
        ),
    )
    doc = read(stored, "a.xlsx")
    assert doc.text == "a; b; 2" and not doc.metadata


def test_hidden_sheets_and_far_rows_are_named(read: Read) -> None:
    book = workbook()
    book.create_sheet("Secret").append(["internal", "margin"])
    book["Secret"].sheet_state = "hidden"
    book["Dates"].cell(1_000_000, 1, "far below")
    doc = read(saved(book), "a.xlsx")
    assert "internal" not in doc.text and "far below" not in doc.text
    assert "sheet Secret is hidden" in doc.metadata["warnings"]
    assert "anything below is left out" in doc.metadata["warnings"]


def test_a_million_empty_rows_are_quick(read: Read) -> None:
    rows = "".join(f'<row r="{number}"/>' for number in range(3, 600_000))
    data = repacked(
        saved(workbook()),
        lambda name, part: (
            part.replace(b"</sheetData>", rows.encode() + b"</sheetData>")
            if name.endswith("sheet2.xml")
            else part
        ),
    )
    assert "Start" in read(data, "a.xlsx").text


ENTITY = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"c" * 50 + b'">]><a>&b;</a>'
OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)
BOMB = b"<a>" + b"0" * 30_000_000 + b"</a>"


@pytest.mark.parametrize(
    ("name", "make"), [("a.docx", word), ("a.xlsx", workbook), ("a.pptx", pptx.Presentation)]
)
def test_broken_and_hostile_office_files(read: Read, name: str, make: Callable[[], Any]) -> None:
    data = saved(make())
    with pytest.raises(LoadError, match=r"times its packed size: [0-9,]+, over the limit of 200"):
        read(repacked(data, lambda part, body: BOMB if part.endswith("app.xml") else body), name)
    with pytest.raises(LoadError, match="declares XML entities"):
        read(repacked(data, lambda part, body: ENTITY if part.endswith("app.xml") else body), name)
    with pytest.raises(LoadError, match="damaged"):
        read(data[: len(data) // 2], name)
    with pytest.raises(LoadError, match="damaged"):
        read(
            repacked(data, lambda part, body: b"<broken" if "Content_Types" in part else body), name
        )
    with pytest.raises(LoadError, match="protected by a password"):
        read(OLD + "EncryptedPackage".encode("utf-16-le"), name)
    with pytest.raises(LoadError, match="an old Office document"):
        read(OLD, name)
    with pytest.raises(LoadError, match="holds a PDF"):
        read(b"%PDF-1.7 ...", name)


def test_a_lying_directory_is_not_believed() -> None:
    data = bytearray(saved(word()))
    real = zipfile.ZipFile(io.BytesIO(bytes(data))).getinfo("word/document.xml")
    # Claim in the central directory that the part is tiny.
    place = data.rfind(b"word/document.xml") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 24 : place + 28] = (10).to_bytes(4, "little")
    with pytest.raises(LoadError):
        load_bytes(bytes(data), filename="a.docx", source="a")
    assert real.file_size > 10


def test_limits_of_archives() -> None:
    data = saved(word())
    with pytest.raises(LoadError, match="unpacked size in bytes"):
        load_bytes(data, filename="a.docx", source="a", limits=LoadLimits(max_expanded_bytes=5000))
    with pytest.raises(LoadError, match="files inside"):
        load_bytes(data, filename="a.docx", source="a", limits=LoadLimits(max_parts=3))


@pytest.mark.parametrize("place", range(100, 30_000, 1777))
def test_flipped_bytes_give_text_or_a_reason(read: Read, place: int) -> None:
    for name, make in (("a.docx", word), ("a.xlsx", workbook), ("a.pptx", pptx.Presentation)):
        data = bytearray(saved(make()))
        data[place % len(data)] ^= 0xFF
        assert text_or_reason(read, bytes(data), name)
