"""Evaluation folders as people have them: which file is taken, how faults are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import InvalidInputError
from assistant.evaluation.entities import EntitySpan, entity_spans
from assistant.evaluation.folders import choose_file
from assistant.evaluation.questions import read_reading_set
from assistant.evaluation.sentences import joined, read_tagged_set, tags_of_spans
from assistant.evaluation.tables import read_classify_set, read_pair_set
from assistant.records import render_record


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- which file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["train.csv", "valid.csv", "test.csv"], "test.csv"),
        (["train.csv", "dev.jsonl"], "dev.jsonl"),
        (["bank_train.csv", "bank_test.csv", "bank_dev.csv"], "bank_test.csv"),
        (["test.csv", "test_hard.csv"], "test.csv"),
        (["faq.jsonl", "README.md", "LICENSE.csv", ".hidden.csv"], "faq.jsonl"),
        (["train.tsv"], "train.tsv"),
    ],
)
def test_the_file_a_folder_means(names: list[str], taken: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, "x")
    assert choose_file(tmp_path, (".csv", ".tsv", ".jsonl")).name == taken
    assert choose_file(tmp_path / names[0], (".csv",)).name == names[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no data file; one of .csv"),
        (["notes.txt"], "no data file"),
        (["a.csv", "b.csv"], r"2 files could be meant \(a.csv, b.csv\); give one of them"),
        (["finance_valid.csv", "insurance_valid.csv", "train.csv"], "2 files could be meant"),
        ([f"{n}.csv" for n in range(9)], "and 4 more"),
    ],
)
def test_a_folder_that_does_not_say_which(names: list[str], message: str, tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / name, "x")
    with pytest.raises(InvalidInputError, match=message):
        choose_file(tmp_path, (".csv",))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no such file or folder"):
        choose_file(tmp_path / "gone", (".csv",))


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


def test_records_are_written_as_text_as_in_training(tmp_path: Path) -> None:
    from training.data.records import render_record as training_render

    record = {"credit_amount": 999, "purpose": "radio", "other": None, "own": True, "rate": 4.0}
    found = read_classify_set(
        write(tmp_path / "a.jsonl", lines({"id": 1, "record": record, "label": "good"}))
    )
    assert found.rows[0].text == "credit amount: 999; purpose: radio; own: yes; rate: 4."
    assert found.rows[0].text == render_record(record) == training_render(record)


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


# --- questions ---------------------------------------------------------------------------------

SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Normandy",
            "paragraphs": [
                {
                    "context": "Normandy is in France.",
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Where is Normandy?",
                            "answers": [
                                {"text": "France", "answer_start": 15},
                                {"text": "in France", "answer_start": 12},
                                {"text": "France", "answer_start": 15},
                            ],
                            "is_impossible": False,
                        },
                        {
                            "id": "q2",
                            "question": "Who rules it?",
                            "answers": [],
                            "plausible_answers": [{"text": "France", "answer_start": 15}],
                            "is_impossible": True,
                        },
                    ],
                }
            ],
        }
    ],
}


def test_squad_with_and_without_answers(tmp_path: Path) -> None:
    write(tmp_path / "dev-v2.0.json", "\ufeff" + json.dumps(SQUAD))
    found = read_reading_set(tmp_path)
    assert found.file.name == "dev-v2.0.json"
    assert [(q.id, q.answers) for q in found.questions] == [
        ("q1", ("France", "in France")),
        ("q2", ()),
    ]
    assert {q.context for q in found.questions} == {"Normandy is in France."}


def test_the_older_cmrc_form(tmp_path: Path) -> None:
    paragraph = {
        "context_id": "DEV_0",
        "context_text": "光荣开发了它。",
        "qas": [{"query_id": "DEV_0_0", "query_text": "谁开发的？", "answers": ["光荣", "光荣"]}],
    }
    found = read_reading_set(write(tmp_path / "dev.json", json.dumps([paragraph])))
    assert (found.questions[0].id, found.questions[0].answers) == ("DEV_0_0", ("光荣",))


def test_flat_questions_beside_their_paragraphs(tmp_path: Path) -> None:
    write(tmp_path / "dev_paragraphs.jsonl", lines({"pid": "p", "title": "", "context": "C c"}))
    write(
        tmp_path / "dev_questions.jsonl",
        lines(
            {"id": 1, "pid": "p", "question": "Q", "answers": [{"text": "c", "answer_start": 2}]},
            {"id": 2, "pid": "p", "question": " ", "answers": [], "is_impossible": True},
        ),
    )
    found = read_reading_set(tmp_path)
    assert [(q.id, q.context, q.answers) for q in found.questions] == [
        ("1", "C c", ("c",)),
        ("2", "C c", ()),
    ]
    assert found.empty == 1


def test_rows_that_hold_their_context(tmp_path: Path) -> None:
    rows = [
        {"question": "Q", "text": "C", "answer": "a"},
        {"question": "Q", "context": "C", "answers": {"text": ["a", "b"], "answer_start": [0, 1]}},
    ]
    found = read_reading_set(write(tmp_path / "a.jsonl", lines(*rows)))
    assert [q.answers for q in found.questions] == [("a",), ("a", "b")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", '{"data": [', "a.json, line 1: broken JSON"),
        ("a.json", '{"rows": []}', "a.json: not a SQuAD file"),
        ("a.json", '{"data": []}', "no questions"),
        ("a.json", '{"data": ["x"]}', "'x' is not an article"),
        ("a.json", b'{"data": "\xff"}', "byte 0xff at position 10 is not valid UTF-8"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        (
            "a.json",
            json.dumps([{"context": "c", "qas": [{"question": "q", "answers": 3}]}]),
            "a.json, question 1: answers is 3; a list is needed",
        ),
        ("a.jsonl", lines({"question": "q", "answers": []}), "a.jsonl, line 1: context is None"),
        ("a.jsonl", lines({"question": 1, "context": "c"}), "line 1: question is 1"),
        (
            "a_questions.jsonl",
            lines({"pid": "p", "question": "q", "answers": []}),
            "line 1: pid 'p' is not in a_paragraphs.jsonl",
        ),
    ],
)
def test_faults_of_questions(name: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_reading_set(write(tmp_path / name, text))


# --- tagged sentences --------------------------------------------------------------------------


def test_conll_columns(tmp_path: Path) -> None:
    text = (
        "-DOCSTART- -X- O O\n\nEU NNP I-NP I-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP I-MISC\n"
        ". . O O\n\n\nPeter NNP I-NP I-PER\nBlackburn NNP I-NP I-PER\n"
    )
    found = read_tagged_set(write(tmp_path / "eng.testa.txt", text))
    assert [s.text for s in found.sentences] == ["EU rejects German.", "Peter Blackburn"]
    assert found.sentences[0].tags == ("B-ORG", "O", "B-MISC", "O")
    assert found.sentences[1].tags == ("B-PER", "I-PER")
    assert [s.line for s in found.sentences] == [3, 9]
    assert found.unit == "token"
    for sentence in found.sentences:
        assert len(sentence.offsets) == len(sentence.tags)


def test_chinese_characters_and_other_schemes(tmp_path: Path) -> None:
    text = (
        "高\tB-NAME\n勇\tE-NAME\n：\tO\n男\tS-SEX\r\n\r\n中 B-ORG\n国 M-ORG\n人 M-ORG\n行 E-ORG\n"
    )
    found = read_tagged_set(write(tmp_path / "test.bio", "\ufeff" + text))
    assert [s.text for s in found.sentences] == ["高勇：男", "中国人行"]
    assert found.sentences[0].tags == ("B-NAME", "I-NAME", "O", "B-SEX")
    assert found.sentences[1].tags == ("B-ORG", "I-ORG", "I-ORG", "I-ORG")
    assert found.unit == "character"


def test_lines_of_tokens_and_of_texts(tmp_path: Path) -> None:
    tokens = read_tagged_set(
        write(tmp_path / "a.jsonl", lines({"tokens": ["Bank", "AG"], "tags": ["B-ORG", "I-ORG"]}))
    )
    assert (tokens.sentences[0].text, tokens.sentences[0].tags) == ("Bank AG", ("B-ORG", "I-ORG"))
    entity = {"start": 2, "end": 4, "label": "PER", "text": "高勇"}
    texts = read_tagged_set(
        write(tmp_path / "b.jsonl", lines({"text": "他是高勇", "entities": [entity]}))
    )
    assert texts.sentences[0].tags == ("O", "O", "B-PER", "I-PER")
    assert (tokens.unit, texts.unit) == ("token", "character")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "EU\n", "a.txt, line 1: 'EU' has one column"),
        ("a.txt", "EU ORG\n", "line 1: the tag is 'ORG'; O, B-TYPE or I-TYPE"),
        ("a.txt", "\n\n", "no sentences"),
        ("a.txt", b"EU B-ORG\n\xff O\n", "line 2: byte 0xff is not valid UTF-8"),
        ("a.jsonl", lines({"tokens": ["a"], "tags": []}), "line 1: 0 tags for 1 tokens"),
        ("a.jsonl", lines({"tokens": ["a", ""], "tags": ["O", "O"]}), "not empty"),
        ("a.jsonl", lines({"tokens": ["a"], "tags": ["X-A"]}), "the tag is 'X-A'"),
        ("a.jsonl", lines({"text": "ab"}), "line 1: entities is None"),
        ("a.jsonl", lines({"text": "", "entities": []}), "text is ''"),
        (
            "a.jsonl",
            lines({"text": "ab", "entities": [{"start": 1, "end": 3, "label": "X"}]}),
            "1:3 is not a part of the text of 2 characters",
        ),
        (
            "a.jsonl",
            lines({"text": "ab", "entities": [{"start": 0, "end": 1, "label": "X", "text": "b"}]}),
            "0:1 is 'a', not 'b'",
        ),
        ("a.jsonl", lines({"text": "ab", "entities": ["ab"]}), "'ab' is not an entity"),
    ],
)
def test_faults_of_sentences(name: str, text: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_tagged_set(write(tmp_path / name, text))


TOKENS = st.lists(
    st.text(alphabet="ab1.,()\"'%中文，", min_size=1, max_size=4), min_size=1, max_size=12
)


@given(TOKENS)
def test_tokens_are_joined_as_in_training(tokens: list[str]) -> None:
    from training.data.spans import join_tokens

    text, offsets = joined(tokens)
    assert (text, list(offsets)) == join_tokens(tokens)
    assert [text[start:end] for start, end in offsets] == tokens


@given(TOKENS, st.data())
def test_entities_come_back_as_the_tags_they_were(tokens: list[str], data: st.DataObject) -> None:
    """Spans over characters, as a tagger gives them, lead back to the same tokens."""
    tags = data.draw(
        st.lists(
            st.sampled_from(["O", "B-A", "I-A", "B-B"]), min_size=len(tokens), max_size=len(tokens)
        )
    )
    _, offsets = joined(tokens)
    spans = entity_spans(tags)
    over_characters = [
        EntitySpan(span.label, offsets[span.start][0], offsets[span.end - 1][1]) for span in spans
    ]
    assert entity_spans(tags_of_spans(over_characters, offsets)) == spans


def test_an_entity_that_cuts_a_token_takes_all_of_it() -> None:
    _, offsets = joined(["New", "York's", "bank"])
    assert tags_of_spans([EntitySpan("LOC", 0, 8)], offsets) == ("B-LOC", "I-LOC", "O")
    assert tags_of_spans([EntitySpan("LOC", 3, 4)], offsets) == ("O", "O", "O")


# --- every set at hand -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "name", "rows"),
    [
        (lambda path: read_classify_set(path).rows, "banking77", 1000),
        (lambda path: read_classify_set(path).rows, "clinc150", 3093),
        (lambda path: read_classify_set(path).rows, "finnl_topics", 4000),
        (lambda path: read_classify_set(path).rows, "german_credit", 800),
        (lambda path: read_pair_set(path).rows, "lcqmc", 7981),
        (lambda path: read_pair_set(path).rows, "bq_corpus", 9465),
        (lambda path: read_reading_set(path).questions, "squad2", 2892),
        (lambda path: read_reading_set(path).questions, "cmrc2018", 1585),
        (lambda path: read_reading_set(path / "zh_questions.jsonl").questions, "xquad", 574),
        (lambda path: read_tagged_set(path).sentences, "conll2003_ner", 3186),
        (lambda path: read_tagged_set(path).sentences, "resume_ner", 462),
        (lambda path: read_tagged_set(path).sentences, "weibo_ner", 262),
    ],
)
def test_public_sets_are_read_whole(
    read: Callable[[Path], Any], name: str, rows: int, dev_data: Path
) -> None:
    assert len(read(dev_data / name)) == rows
