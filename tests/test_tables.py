"""Tables: every row comes back, whatever the encoding, and no cell starts a formula."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assistant.errors import InvalidInputError
from assistant.tables import (
    csv_line,
    inspect_table,
    json_line,
    read_rows,
    require_column,
    safe_cell,
)


def write(path: Path, data: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(data if isinstance(data, bytes) else data.encode(encoding))
    return path


def rows_of(path: Path, field: str = "question") -> list[tuple[dict[str, object], str | None]]:
    table = inspect_table(path, field_name=field)
    return [(dict(row.values), row.error) for row in read_rows(path, table)]


CHINESE = "id,question\n1,怎么办理信用卡？\n2,手续费是多少\n"


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("gb18030", "gb18030"),
        ("utf-16", "utf-16"),
    ],
)
def test_encoding_is_found(tmp_path: Path, encoding: str, found: str) -> None:
    path = write(tmp_path / "in.csv", CHINESE, encoding)
    assert inspect_table(path).encoding == found
    assert rows_of(path) == [
        ({"id": "1", "question": "怎么办理信用卡？"}, None),
        ({"id": "2", "question": "手续费是多少"}, None),
    ]


def test_one_bad_line_does_not_change_the_encoding_of_the_others(tmp_path: Path) -> None:
    data = CHINESE.encode() + b"3,\xff\xfe broken\n" + "4,还款日\n".encode()
    found = rows_of(write(tmp_path / "in.csv", data))
    assert [error is None for _, error in found] == [True, True, False, True]
    assert found[2][1] == "byte 0xff at character 1 is not valid utf-8"
    assert found[3][0]["question"] == "还款日"


def test_another_encoding_can_be_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "question\nUn café à 5 €?\n", "cp1252")
    table = inspect_table(path, encoding="cp1252")
    assert [row.values["question"] for row in read_rows(path, table)] == ["Un café à 5 €?"]
    with pytest.raises(InvalidInputError, match="Unknown encoding 'klingon'"):
        inspect_table(path, encoding="klingon")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    text = f"id{delimiter}question\n7{delimiter}What is it?\n"
    assert rows_of(write(tmp_path / "in.csv", text)) == [
        ({"id": "7", "question": "What is it?"}, None)
    ]


def test_the_delimiter_that_gives_the_wanted_column_wins(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "a,b,c;question\n1,2,3;Why?\n")
    assert inspect_table(path, field_name="question").delimiter == ";"
    assert rows_of(path)[0][0]["question"] == "Why?"


def test_column_names_are_folded(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "ID, Ｑuestion \n1,hello\n")
    table = inspect_table(path, field_name="question")
    require_column(table, "question")
    assert rows_of(path)[0][0] == {"id": "1", "question": "hello"}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,qustion,answer", r"Columns found: 'id', 'qustion', 'answer'\. Nearest: 'qustion'"),
        ("", "the file has no header"),
        ("question,Question", "is there 2 times"),
    ],
)
def test_a_missing_column_is_explained(tmp_path: Path, header: str, message: str) -> None:
    table = inspect_table(write(tmp_path / "in.csv", header + "\n1,2\n"), field_name="question")
    with pytest.raises(InvalidInputError, match=message):
        require_column(table, "question")


def test_quoted_cells_keep_commas_quotes_and_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", 'question,id\n"a, ""b""\nc",1\n\n"d",2\n')
    table = inspect_table(path)
    rows = list(read_rows(path, table))
    assert [(r.number, r.line, r.values["question"]) for r in rows] == [
        (1, 2, 'a, "b"\nc'),
        (2, 5, "d"),
    ]


def test_an_unquoted_comma_is_an_error_and_not_a_cut_question(tmp_path: Path) -> None:
    path = write(tmp_path / "in.csv", "id,question\n1,What is it, and why?\n2,fine,,\n")
    found = rows_of(path)
    assert found[0][1] == "3 cells where the header has 2; quote cells that contain ','"
    assert found[1] == ({"id": "2", "question": "fine"}, None)


def test_a_quote_left_open_is_told(tmp_path: Path) -> None:
    text = 'id,question\n1,"never closed\n' + "".join(f"{n},q\n" for n in range(2, 300))
    found = rows_of(write(tmp_path / "in.csv", text))
    assert len(found) == 1
    assert found[0][1] == "spans lines 2 to 300; is a quote left open?"


def test_broken_json_lines_stay_rows(tmp_path: Path) -> None:
    lines = [
        '{"question": "ok"}',
        "",
        '{"question": "cut',
        "[1]",
        '{"question": "bad \ud83d"}'.encode("utf-8", "surrogatepass"),
        "[" * 100_000,
        '{"Question": "ok"}',
    ]
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    found = rows_of(write(tmp_path / "in.jsonl", data))
    errors = [error for _, error in found]
    assert errors[0] is None
    assert errors[1] is not None
    assert errors[1].startswith("broken JSON: Unterminated string")
    assert errors[2] == "not a JSON object"
    assert errors[3] == "byte 0xed at character 19 is not valid utf-8"
    assert errors[4] is not None
    assert errors[4].startswith("broken JSON")
    assert found[5] == ({"question": "ok"}, None)


@pytest.mark.parametrize("name", ["in.txt", "in", "in.pdf"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match="is not a table"):
        inspect_table(write(tmp_path / name, CHINESE))


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+86",
        "-5",
        "@SUM(A1)",
        "\t=1",
        "\rx",
        "\nx",
        "＝1+1",
        "＋1",
        "－1",
        "＠a",
        " =1",
        '"=1',
        "'=1",
        "“=1",
        "\u200b=1",
        "\ufeff=1",
        "\u3000=cmd|' /C calc'!A0",
    ],
)
def test_formulas_are_made_text(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=1", "5-3", "手续费", '"quoted"', " plain", "[1]", "'tis"])
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


@example(["", "\r0"])
@given(st.lists(st.text() | st.integers() | st.none(), min_size=2, max_size=5))
def test_a_csv_line_is_one_record_without_formula_cells(cells: list[str | int | None]) -> None:
    records = list(csv.reader(io.StringIO(csv_line(cells), newline="")))
    assert len(records) == 1
    assert len(records[0]) == len(cells)
    for cell, read in zip(cells, records[0], strict=True):
        if isinstance(cell, str):
            assert not read.lstrip(" \t\r\n\"'\u3000").startswith(("=", "+", "@", "-")) or (
                read.startswith("'")
            )
        else:
            assert read == ("" if cell is None else str(cell))


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False) | st.none()))
def test_a_json_line_is_one_line_and_reads_back(value: dict[str, object]) -> None:
    line = json_line(value)
    assert line.count("\n") == 1
    assert json.loads(line) == value


def test_lone_surrogates_can_be_written() -> None:
    assert json.loads(json_line({"a": "x\ud800"}).encode()) == {"a": "x\ufffd"}
    assert csv_line(["x\ud800", "a\0b"]).encode() == "x\ufffd,a\ufffdb\n".encode()
