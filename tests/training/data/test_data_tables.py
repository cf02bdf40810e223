"""Tables of texts, pairs, records and chats: columns found, labels read, bad rows named."""

from __future__ import annotations

import json

import pytest
from data_helpers import read_all, spec_of, write_csv, write_jsonl

from assistant.errors import InvalidInputError, NotFoundError
from assistant.records import render_record
from training.data.ledger import Ledger
from training.data.rows import ChatMessage, LabelledText, TextPair


def test_texts_and_labels_of_a_csv(tmp_path):
    write_csv(tmp_path / "train.csv", ["Text ", "LABEL", "who", "when"], [["hi", "a", "c1", "x"]])
    ledger = Ledger()
    spec = spec_of(tmp_path, columns={"group": "who", "label": "label"})
    assert read_all(spec, "classify", ledger) == [
        LabelledText("hi", ("a",), "c1", "train.csv:2"),
    ]
    assert ledger.unused_columns == {"train.csv": ("when",)}


def test_extra_columns_go_along_when_asked_for(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [{"text": "hi", "label": 1, "lang": "en", "n": 5}])
    spec = spec_of(tmp_path, train="t.jsonl", columns={"keep": ["lang", "n"]})
    (row,) = read_all(spec, "classify")
    assert row.extra == (("lang", "en"), ("n", "5"))
    assert row.labels == ("1",)


def test_several_text_columns_are_joined(tmp_path):
    write_csv(tmp_path / "train.csv", ["title", "body", "label"], [["T", "B", "a"], ["", "C", "b"]])
    rows = read_all(spec_of(tmp_path, columns={"text": ["title", "body"]}), "classify")
    assert [row.text for row in rows] == ["T\nB", "C"]


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl"])
def test_a_missing_column_names_those_there_are(tmp_path, name):
    if name.endswith("csv"):
        write_csv(tmp_path / name, ["text", "intent"], [["hi", "a"]])
    else:
        write_jsonl(tmp_path / name, [{"text": "hi", "intent": "a"}])
    spec = spec_of(tmp_path, train=name, columns={"label": "intents"})
    with pytest.raises(InvalidInputError, match=r"'intents'.*'intent'.*Nearest: 'intent'") as error:
        read_all(spec, "classify")
    assert name in str(error.value) and "[data.columns]" in str(error.value)


def test_a_jsonl_row_without_the_column_is_rejected_alone(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [{"text": "hi", "label": "a"}, {"text": "no label"}])
    ledger = Ledger()
    assert len(read_all(spec_of(tmp_path, train="t.jsonl"), "classify", ledger)) == 1
    assert ledger.rejected == {"missing column": 1}


def test_multi_label_lists_and_separators(tmp_path):
    rows = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": "x | z"}, {"text": "c"}]
    write_jsonl(tmp_path / "t.jsonl", rows)
    spec = spec_of(tmp_path, train="t.jsonl", multi_label=True, separator="|")
    assert [row.labels for row in read_all(spec, "classify")] == [("x", "y"), ("x", "z"), ()]


def test_several_or_no_labels_where_one_is_due(tmp_path):
    rows = [
        {"text": "a", "label": ["x", "y"]},
        {"text": "b", "label": ""},
        {"text": "c", "label": ["x"]},
    ]
    write_jsonl(tmp_path / "t.jsonl", rows)
    ledger = Ledger()
    assert [r.text for r in read_all(spec_of(tmp_path, train="t.jsonl"), "classify", ledger)] == [
        "c"
    ]
    assert ledger.rejected == {"several labels": 1, "no label": 1}


def test_labels_are_renamed_and_closed(tmp_path):
    write_csv(tmp_path / "train.csv", ["text", "label"], [["a", "0"], ["b", " 1 "], ["c", "7"]])
    spec = spec_of(tmp_path, label_map={"0": "bad", "1": "good"}, labels=["bad", "good"])
    ledger = Ledger()
    assert [row.labels for row in read_all(spec, "classify", ledger)] == [("bad",), ("good",)]
    assert ledger.rejected == {"label not allowed": 1}


def test_pairs_with_and_without_labels(tmp_path):
    rows = [["a", "b", "1"], ["c", "d", "0.25"], ["e", "f", "yes"], ["g", "h", "2"], ["i", "j", ""]]
    write_csv(tmp_path / "train.csv", ["text_a", "text_b", "label"], rows)
    ledger = Ledger()
    labelled = read_all(spec_of(tmp_path, columns={"label": "label"}), "pairs", ledger)
    assert [row.label for row in labelled] == [1.0, 0.25, 1.0]
    assert ledger.rejected == {"not a match value": 1, "no label": 1}
    assert read_all(spec_of(tmp_path), "pairs") == labelled, "a column named label is one"
    positive = read_all(spec_of(tmp_path, columns={"label": ""}), "pairs")
    assert len(positive) == 5 and positive[0] == TextPair("a", "b", None, "", "train.csv:2")
    write_csv(tmp_path / "train.csv", ["text_a", "text_b"], [["a", "b"]])
    assert read_all(spec_of(tmp_path), "pairs")[0].label is None


def test_a_list_of_paraphrases_gives_a_pair_each(tmp_path):
    write_csv(tmp_path / "train.csv", ["q", "p"], [["How?", "In what way? | By what means?"]])
    spec = spec_of(tmp_path, separator="|", columns={"text_a": "q", "text_b": "p"})
    assert [(r.text_a, r.text_b) for r in read_all(spec, "pairs")] == [
        ("How?", "In what way?"),
        ("How?", "By what means?"),
    ]


def test_chats_from_messages_and_from_columns(tmp_path):
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    shared = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    bad = [{"role": "wizard", "content": "hi"}]
    write_jsonl(
        tmp_path / "t.jsonl",
        [
            {"messages": messages},
            {"messages": shared},
            {"messages": bad},
            {"messages": messages[:1]},
        ],
    )
    ledger = Ledger()
    rows = read_all(spec_of(tmp_path, train="t.jsonl", system_prompt="Be brief."), "chat", ledger)
    expected = (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "hi"),
        ChatMessage("assistant", "hello"),
    )
    assert [row.messages for row in rows] == [expected, expected]
    assert ledger.rejected == {"bad message": 1, "no answer to learn": 1}
    write_csv(tmp_path / "train.csv", ["q", "a"], [["hi", "hello"]])
    spec = spec_of(tmp_path, columns={"prompt": "q", "response": "a"})
    assert read_all(spec, "chat")[0].messages == expected[1:]


def test_records_become_sentences(tmp_path):
    record = {"age_years": 24, "amount": 5.0, "open": True, "note": "", "home": {"city": "Bern"}}
    text = "age years: 24; amount: 5; open: yes; home city: Bern."
    assert render_record(record) == text
    write_jsonl(tmp_path / "t.jsonl", [{"id": 1, "record": record, "label": "good"}])
    spec = spec_of(tmp_path, train="t.jsonl", columns={"record": "record"})
    assert read_all(spec, "classify")[0].text == text
    write_csv(tmp_path / "train.csv", ["age", "sum", "label"], [["24", "5", "good"]])
    named = spec_of(tmp_path, columns={"record": ["sum", "age"]})
    assert read_all(named, "classify")[0].text == "sum: 5; age: 24."
    everything = spec_of(tmp_path, columns={"record": "*"})
    assert read_all(everything, "classify")[0].text == "age: 24; sum: 5."


def test_mixed_encodings_are_told_row_by_row(tmp_path):
    good = "".join(f"很好的一天{i},a\n" for i in range(5)).encode()
    bad = "不好的一天,b\n".encode("gb18030")
    (tmp_path / "train.csv").write_bytes(b"text,label\n" + good + bad)
    ledger = Ledger()
    assert len(read_all(spec_of(tmp_path), "classify", ledger)) == 5
    assert ledger.rejected == {"bytes of another encoding": 1}


def test_a_whole_file_in_another_encoding_is_read(tmp_path):
    (tmp_path / "train.csv").write_bytes("text,label\n怎么开户,a\n".encode("gb18030"))
    assert read_all(spec_of(tmp_path), "classify")[0].text == "怎么开户"


def test_broken_rows_are_counted(tmp_path):
    text = '{"text": "a", "label": "x"}\n{broken\n[1]\n{"text": ["no"], "label": "x"}\n'
    (tmp_path / "t.jsonl").write_text(text, encoding="utf-8")
    ledger = Ledger()
    assert len(read_all(spec_of(tmp_path, train="t.jsonl"), "classify", ledger)) == 1
    assert ledger.rejected == {"broken JSON": 1, "bad table row": 1, "not a text": 1}


# --- finding files


def test_files_folders_and_patterns(tmp_path):
    for name in ("a.csv", "b.csv", "c.txt"):
        write_csv(tmp_path / name, ["text", "label"], [[name, "x"]])
    assert [r.text for r in read_all(spec_of(tmp_path, train="*.csv"), "classify")] == [
        "a.csv",
        "b.csv",
    ]
    assert len(read_all(spec_of(tmp_path, train=["b.csv", "*.csv", "b.csv"]), "classify")) == 2
    assert len(read_all(spec_of(tmp_path, train=str(tmp_path)), "classify")) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("trian.csv", "Nearest: 'train.csv'"),
        ("*.parquet", "no file matches"),
        ("no/such.csv", "data.root"),
    ],
)
def test_a_missing_file_names_the_nearest(tmp_path, name, message):
    write_csv(tmp_path / "train.csv", ["text", "label"], [])
    with pytest.raises(NotFoundError, match=message):
        read_all(spec_of(tmp_path, train=name), "classify")


def test_an_unknown_ending_is_an_error(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidInputError, match=r"\.parquet.*data\.format"):
        read_all(spec_of(tmp_path, train="rows.parquet"), "classify")


def test_a_format_that_does_not_fit_says_which_do(tmp_path):
    write_jsonl(tmp_path / "t.jsonl", [{"text": "a"}])
    with pytest.raises(
        InvalidInputError, match=r"conll files give no pairs rows; data\.format may be"
    ):
        read_all(spec_of(tmp_path, train="t.jsonl", format="conll"), "pairs")


def test_plain_text_lines_and_documents(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    body = "\n\n".join(f"Paragraph {i}. " + "word " * 80 for i in range(6))
    (tmp_path / "b.md").write_text(f"# Title\n\n{body}", encoding="utf-8")
    assert [r.text for r in read_all(spec_of(tmp_path, train="a.txt"), "text")] == ["one", "two"]
    blocks = read_all(spec_of(tmp_path, train="b.md"), "text")
    assert 2 <= len(blocks) <= 4
    joined = "".join(block.text for block in blocks)
    assert all(f"Paragraph {i}." in joined for i in range(6))


def test_a_document_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "b.pdf").write_bytes(b"not a pdf")
    with pytest.raises(InvalidInputError, match=r"b\.pdf"):
        read_all(spec_of(tmp_path, train="b.pdf"), "text")


def test_json_that_is_no_squad(tmp_path):
    (tmp_path / "t.json").write_text(json.dumps({"rows": []}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="SQuAD"):
        read_all(spec_of(tmp_path, train="t.json"), "read")
