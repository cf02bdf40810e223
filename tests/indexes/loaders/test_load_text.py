from __future__ import annotations

from collections.abc import Callable

import pytest

from indexes.errors import LoadError
from indexes.loaders.encoding import decode
from indexes.types import Document

Read = Callable[..., Document]

ENCODED = [
    ("手续费是多少？", "gb18030"),
    ("您好，请问如何办理信用卡？", "gbk"),
    ("請問如何辦理信用卡？", "big5"),
    ("本協議由雙方簽字後生效，有效期為一年。", "big5"),
    ("你好", "utf-8-sig"),
    ("转账限额为每日5万元。", "utf-16"),
    ("转账限额为每日5万元。", "utf-16-le"),
    ("The fee is 20 euro.", "utf-16-be"),
    ("You don’t pay a fee at “our” café – ever.", "cp1252"),
    ("Gebühren für das Übertragen", "cp1252"),
    ("plain ascii", "ascii"),
    ("手续费", "utf-8"),
]


@pytest.mark.parametrize(("text", "encoding"), ENCODED)
def test_encodings_are_detected(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_short_chinese_files_in_old_encodings(read: Read) -> None:
    assert read("年费100元".encode("gbk"), "a.txt").text == "年费100元"
    assert read("免年費".encode("big5"), "a.txt").text == "免年費"


def test_hard_wrapped_text_is_joined(read: Read) -> None:
    text = """The customer shall repay the loan together with the interest due on
the date that is stated in the contract, unless the bank has agreed to
another date in writing.

- first item of the list which is also long enough to be wrapped over to
  the next line
- second item
"""
    doc = read(text, "a.txt")
    assert doc.text.split("\n\n") == [
        "The customer shall repay the loan together with the interest due on the date that is "
        "stated in the contract, unless the bank has agreed to another date in writing.",
        "• first item of the list which is also long enough to be wrapped over to the next line\n"
        "• second item",
    ]


def test_lines_that_are_paragraphs_stay_apart(read: Read) -> None:
    text = "营业时间\n周一至周五：9:00-17:00\n周六：10:00-16:00\n周日休息，节假日另行通知。"
    assert read(text, "a.txt").text.count("\n") == 3


def test_headings_of_plain_text(read: Read) -> None:
    text = (
        "投诉处理办法\n\n第一章 总则\n\n第一条 为保护客户，制定本办法。\n\nGENERAL TERMS\n\nText."
    )
    doc = read(text, "a.txt")
    assert [h.title for h in doc.headings] == ["第一章 总则", "GENERAL TERMS"]
    assert doc.title == "投诉处理办法"


def test_control_characters_and_surrogates_are_taken_out(read: Read) -> None:
    doc = read("a\x00b\u200bc\ufeff \u202ed \U0001f600 e\u0301", "a.txt")
    assert doc.text == "abc d \U0001f600 é"
    wild = '{"text": "x \\ud800 y"}'
    assert read(wild, "a.jsonl").text == "x \ufffd y"


def test_right_to_left_text_is_kept(read: Read) -> None:
    assert read("رسوم الخدمة", "a.txt").text == "رسوم الخدمة"


@pytest.mark.parametrize("data", [b"", b" \n\t ", b"\0\0\0\0"])
def test_empty_files(read: Read, data: bytes) -> None:
    with pytest.raises(LoadError, match="empty"):
        read(data, "a.txt")


def test_binary_named_text(read: Read) -> None:
    with pytest.raises(LoadError, match="control codes"):
        read(bytes(range(1, 256)) * 40, "a.txt")
    with pytest.raises(LoadError, match="holds a JPEG image"):
        read(b"\xff\xd8\xff\xe0" + b"x" * 100, "a.txt")
    with pytest.raises(LoadError, match="holds a zip archive"):
        read(b"PK\x03\x04" + b"x" * 100, "a.md")


def test_a_line_of_a_megabyte_is_read(read: Read) -> None:
    assert len(read("字" * 1_000_000, "a.txt").text) == 1_000_000
