"""Questions on passages and tagged sentences in every format; how faults are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_models import lines, write

from assistant.errors import InvalidInputError
from assistant.evaluation.entities import EntitySpan, entity_spans
from assistant.evaluation.questions import read_reading_set
from assistant.evaluation.sentences import joined, read_tagged_set, tags_of_spans

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
def test_joined_tokens_stand_where_told(tokens: list[str]) -> None:
    text, offsets = joined(tokens)
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
