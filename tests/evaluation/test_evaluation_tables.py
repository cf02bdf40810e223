"""Tables to classify and tables of pairs, as people have them; how faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest
from served_models import lines, write

from assistant.errors import InvalidInputError
from assistant.evaluation.tables import read_classify_set, read_pair_set
from assistant.records import render_record

# --- text,label --------------------------------------------------------------------------------


def test_a_table_with_the_documented_columns(tmp_path: Path) -> None:
    write(tmp_path / "test.csv", 'text,label\n"Hello, you",greeting\n转账失败,transfer\n')
    found = read_classify_set(tmp_path)
    assert [(row.text, row.labels, row.line) for row in found.rows] == [
        ("Hello, you", ("greeting",), 2),
        ("转账失败", ("transfer",), 3),
    ]
    assert (found.file.name, found.multi, found.empty) == ("test.csv", False, 0)


@pytest.mark.parametrize(
    ("text", "prefer", "columns"),
    [
        ("text,category\na,b\n", (), (("text",), "category")),
        ("Text\tSentiment\na\tb\n", (), (("text",), "sentiment")),
        ("text,topic,intent\na,x,b\n", ("intent",), (("text",), "intent")),
        ("text,intent,topic\na,x,b\n", ("topic",), (("text",), "topic")),
        ("question,answer,category\na,x,b\n", (), (("question",), "category")),
    ],
)
def test_the_columns_of_public_sets(
    text: str, prefer: tuple[str, ...], columns: tuple[tuple[str, ...], str], tmp_path: Path
) -> None:
    found = read_classify_set(write(tmp_path / "a.csv", text), prefer=prefer)
    assert (found.text_columns, found.label_column) == columns
    assert (found.rows[0].text, found.rows[0].labels) == ("a", ("b",))


def test_columns_may_be_named_and_joined(tmp_path: Path) -> None:
    rows = [{"Title": "T", "body": "B", "stance": 1}, {"Title": "", "body": "", "stance": 0.0}]
    found = read_classify_set(
        write(tmp_path / "a.jsonl", lines(*rows)),
        text_columns=["title", "body"],
        label_column="Stance",
    )
    assert [(row.text, row.labels) for row in found.rows] == [("T\nB", ("1",)), ("\n", ("0",))]
    assert found.empty == 1


def test_several_labels_as_lists_or_cut_at_a_separator(tmp_path: Path) -> None:
    listed = read_classify_set(
        write(
            tmp_path / "a.jsonl",
            lines(
                {"text": "x", "labels": ["a", "b", "a"]},
                {"text": "y"},
                {"text": "z", "labels": "c"},
            ),
        )
    )
    assert [row.labels for row in listed.rows] == [("a", "b"), (), ("c",)]
    cut = read_classify_set(write(tmp_path / "a.csv", "text,label\nx,a|b\ny,\n"), separator="|")
    assert [row.labels for row in cut.rows] == [("a", "b"), ()]
    assert listed.multi
    assert cut.multi


def test_records_are_written_as_text(tmp_path: Path) -> None:
    record = {"credit_amount": 999, "purpose": "radio", "other": None, "own": True, "rate": 4.0}
    found = read_classify_set(
        write(tmp_path / "a.jsonl", lines({"id": 1, "record": record, "label": "good"}))
    )
    assert found.rows[0].text == "credit amount: 999; purpose: radio; own: yes; rate: 4."
    assert found.rows[0].text == render_record(record)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "text,labl\nx,y\n", "a.csv: No column 'label'.*Nearest: 'labl'.*--label-column"),
        ("a.csv", "words,label\nx,y\n", "No column 'text'.*--text-column"),
        ("a.csv", "text,label\nx,\n", "a.csv, line 2: label is ''; a label is needed"),
        ("a.csv", "text,label\nx,y,z\n", "a.csv, line 2: 3 cells where the header has 2"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "", "no rows|no header"),
        ("a.csv", "text,text,label\nx,y,z\n", "'text' is there 2 times"),
        ("a.csv", b"text,label\nx,a\ncaf\xc3\xa9,a\nna\xefve \xc3\xa9,b\n", "line 4: byte 0xef"),
        ("a.jsonl", '{"text": "x", "label": "y"}\n{"text": 1,\n', "a.jsonl, line 2: broken JSON"),
        ("a.jsonl", '{"text": null, "label": "y"}\n', "line 1: text is None; a text is needed"),
        ("a.jsonl", '{"text": "x", "label": {"a": 1}}\n', "line 1: label is {'a': 1}"),
        ("a.jsonl", '{"text": "x", "label": NaN}\n', "line 1: label is nan"),
        ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
        ("a.txt", "x", "not a table"),
    ],
)
def test_faults_name_file_line_and_value(
    name: str, text: str | bytes, message: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_classify_set(write(tmp_path / name, text))


def test_many_faults_are_told_together_or_left_out(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": None if n % 2 else "a"} for n in range(40)]
    file = write(tmp_path / "a.jsonl", lines(*rows))
    with pytest.raises(InvalidInputError) as raised:
        read_classify_set(file)
    assert str(raised.value).count("line ") == 5
    assert "and 15 more faulty rows" in str(raised.value)
    found = read_classify_set(file, skip_bad=True)
    assert (len(found.rows), len(found.left_out)) == (20, 20)
    assert found.left_out[0].startswith("a.jsonl, line 2: label is None")
    only_bad = write(tmp_path / "b.jsonl", lines({"text": "x", "label": None}))
    with pytest.raises(InvalidInputError, match="no rows to measure on"):
        read_classify_set(only_bad, skip_bad=True)


def test_a_huge_cell_is_read_or_refused_by_name(tmp_path: Path) -> None:
    five = read_classify_set(write(tmp_path / "a.csv", f"text,label\n{'x' * 5_000_000},y\n"))
    assert len(five.rows[0].text) == 5_000_000
    with pytest.raises(InvalidInputError, match=r"a.csv, line 2: longer than 16,777,216"):
        read_classify_set(write(tmp_path / "a.csv", f"text,label\n{'x' * 17_000_000},y\n"))


# --- pairs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "text_a,text_b,label\none,two,1\nthree,four,0\n"),
        ("a.tsv", "sentence1\tsentence2\tlabel\none\ttwo\t1\nthree\tfour\t0\n"),
        (
            "a.jsonl",
            lines(
                {"sentence1": "one", "sentence2": "two", "label": 1},
                {"sentence1": "three", "sentence2": "four", "label": False},
            ),
        ),
        ("a.csv", "question1,question2,is_duplicate\none,two,TRUE\nthree,four,false\n"),
    ],
)
def test_pairs_in_every_form(name: str, text: str, tmp_path: Path) -> None:
    found = read_pair_set(write(tmp_path / name, text))
    assert [(row.text_a, row.text_b, row.label) for row in found.rows] == [
        ("one", "two", 1),
        ("three", "four", 0),
    ]


def test_the_columns_of_pairs_may_be_named(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "q,doc,relevant\na,b,1\n")
    found = read_pair_set(file, columns=("q", "doc", "relevant"))
    assert found.columns == ("q", "doc", "relevant")
    with pytest.raises(InvalidInputError, match="No column 'rel'"):
        read_pair_set(file, columns=("q", "doc", "rel"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text_a,text_b,label\na,b,2\n", "a.csv, line 2: label is '2'; 1 .* or 0 is needed"),
        ("text_a,text_b,label\na,b,\n", "line 2: label is ''"),
        ("text_a,label\na,1\n", "no columns 'text_a' and 'text_b'.*--columns"),
        ("text_a,text_b\na,b\n", "No column 'label'"),
    ],
)
def test_faults_of_pairs(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_pair_set(write(tmp_path / "a.csv", text))
