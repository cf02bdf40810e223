from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes.errors import LoadError
from indexes.loaders import LoadLimits, load_bytes
from indexes.loaders.records import read_rows
from indexes.types import Document

Read = Callable[..., Document]


def test_csv_rows_carry_their_headers(read: Read) -> None:
    doc = read('Card,Fee,Note\nGold,100,\nClassic,0,"first, and\nlater"\n', "fees.csv")
    assert doc.text == "Card: Gold; Fee: 100\nCard: Classic; Fee: 0; Note: first, and later"
    assert doc.title == "fees" and not doc.faq


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(read: Read, delimiter: str) -> None:
    rows = [["Bank", "Rate, fixed"], ["A", "3.1"], ["B", "3.2"]]
    text = "\n".join(
        delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in rows
    )
    assert read(text, "a.csv").text == "Bank: A; Rate, fixed: 3.1\nBank: B; Rate, fixed: 3.2"


def test_tsv_and_chinese_encodings(read: Read) -> None:
    table = "币种\t汇率\n美元\t7.1\n"
    assert read(table.encode("gb18030"), "a.tsv").text == "币种: 美元; 汇率: 7.1"


@given(
    st.lists(
        st.lists(st.text(st.characters(blacklist_characters="\0\r", codec="utf-8")), min_size=2),
        min_size=1,
    )
)
def test_csv_reading_agrees_with_what_was_written(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    data = out.getvalue().encode()
    if not kept or data.startswith(b"\xef\xbb\xbf"):
        return
    try:
        found = read_rows(data, ".csv", LoadLimits())
    except LoadError:
        return
    if "," in data.decode().splitlines()[0]:
        joined = {cell for row in found for cell in row}
        assert joined, "no cell read"


def test_jsonl_records(read: Read) -> None:
    lines = [
        {"name": "澜港支行", "openHours": "9:00-17:00", "wifi": True, "services": ["a", "b"]},
        {"title": "Closing an account", "text": "Visit a branch.\nIt is free."},
    ]
    data = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\nbroken\n"
    doc = read(data, "a.jsonl")
    assert doc.text.split("\n\n") == [
        "name: 澜港支行; open Hours: 9:00-17:00; wifi: yes; services: a, b",
        "Closing an account",
        "Visit a branch.",
        "It is free.",
    ]
    assert doc.metadata["warnings"].startswith("line 3: not JSON")


def test_json_objects_become_sections(read: Read) -> None:
    value = {
        "Refund": {"description": "returns", "steps": [{"button": "Ask", "text": "Ask " * 30}]},
        "flat": {"a": ["x", "y"], "b": 2},
    }
    doc = read(json.dumps(value), "guide.json")
    assert [h.title for h in doc.headings] == ["Refund", "steps", "flat"]
    assert "description: returns" in doc.text and "button: Ask" in doc.text
    assert doc.text.endswith("a: x, y; b: 2")


def test_bad_json(read: Read) -> None:
    with pytest.raises(LoadError, match="not JSON"):
        read("{", "a.json")
    with pytest.raises(LoadError, match=r"nested|nesting"):
        read("[" * 100_000 + "]" * 100_000, "a.json")
    with pytest.raises(LoadError, match="no line of the file is JSON"):
        read("a\nb\n", "a.jsonl")


def test_pages_of_a_parsed_report(read: Read) -> None:
    def line(page: int, kind: str, inside: str) -> str:
        record = {"page": page, "allrow": 0, "type": kind, "inside": inside}
        return json.dumps(record, ensure_ascii=False)

    paragraph = "公司董事会保证年度报告内容的真实准确完整不存在虚假记载误导性陈述或重大遗漏" * 4
    wrapped = [paragraph[start : start + 38] for start in range(0, len(paragraph), 38)]
    lines = [
        line(1, "页眉", "某公司2019年年度报告"),
        line(1, "text", "第一节 重要提示"),
        *(line(1, "text", part) for part in wrapped[:-1]),
        line(1, "text", wrapped[-1] + "。"),
        line(1, "text", "第二节 会计数据 ........................... 12"),
        line(1, "页脚", "1"),
        line(2, "excel", "['项目', '2019年', '2018年']"),
        line(2, "excel", "['营业收入', '1,000', '900']"),
        line(2, "text", ""),
        line(3, "页脚", "3"),
    ]
    doc = read("\n".join(lines), "2019年度报告.txt")
    assert doc.text.split("\n\n") == [
        "第一节 重要提示",
        paragraph + "。",
        "项目: 营业收入; 2019年: 1,000; 2018年: 900",
    ]
    assert [h.title for h in doc.headings] == ["第一节 重要提示"]
    assert doc.title == "2019年度报告"
    assert [(p.number, doc.text[p.start : p.end][:4]) for p in doc.pages] == [
        (1, "第一节 "),
        (2, "项目: "),
    ]


def test_limits_name_value_limit_and_remedy() -> None:
    limits = LoadLimits(max_rows=10)
    table = ("a,b\n" * 30).encode()
    with pytest.raises(LoadError, match="rows: 11, over the limit of 10; split the file"):
        load_bytes(table, filename="a.csv", source="a", limits=limits)
    with pytest.raises(LoadError, match="size in bytes: 120, over the limit of 100"):
        load_bytes(table, filename="a.csv", source="a", limits=LoadLimits(max_bytes=100))
    with pytest.raises(LoadError, match="characters of text"):
        load_bytes(b"word " * 300, filename="a.txt", source="a", limits=LoadLimits(max_text=1000))
