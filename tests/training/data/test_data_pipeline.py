"""The whole way: files in, prepared rows out; bad input named; nothing lost; nothing done twice."""

from __future__ import annotations

import json
import random
import shutil

import pytest
from data_helpers import WORDS, rejected_of, spec_of, topic_rows, write_csv, write_jsonl
from pydantic import ValidationError

from assistant.errors import InvalidInputError, NotFoundError, StorageError
from training.data import pipeline
from training.data.leaks import LeakError
from training.data.pipeline import prepare
from training.data.rows import TextPair, row_dict, row_from_dict
from training.data.spec import DataSpec
from training.data.storage import Prepared


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    write_csv(folder / "train.csv", ["text", "label"], topic_rows(20))
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def all_rows(prepared: Prepared):
    return (*prepared.train, *prepared.valid, *prepared.test)


def test_rows_are_split_and_described(data, out):
    stages = []
    spec = spec_of(data, licence="CC0-1.0")
    prepared = prepare(spec, "classify", out, lambda stage, done: stages.append(stage))
    assert [len(prepared.train), len(prepared.valid), len(prepared.test)] == [48, 6, 6]
    assert prepared.labels == ("card", "loan", "login")
    card = prepared.card
    assert card.splits["valid"].labels == {"card": 2, "loan": 2, "login": 2}
    assert card.licences == ("CC0-1.0",)
    assert card.sources[0].rows_read == 60 and len(card.sources[0].sha256) == 64
    assert card.splits["train"].languages == {"en": 48}
    assert not card.warnings and not card.removed
    assert {"read train", "compare texts", "leak check"} <= set(stages)
    text = (prepared.folder / "card.md").read_text(encoding="utf-8")
    assert card.sha256 in text and "| card | 16 | 2 | 2 |" in text and "CC0-1.0" in text


def test_every_row_is_kept_or_written_down(data, out):
    rows = [
        *topic_rows(20),
        topic_rows(1)[0],
        ("", "card"),
        ("x" * 200, "loan"),
        ("no label here", ""),
        ("&nbsp;\u200b", "card"),
    ]
    write_csv(data / "train.csv", ["text", "label"], rows)
    prepared = prepare(spec_of(data, normalise={"max_chars": 150}), "classify", out)
    rejected = rejected_of(prepared.folder)
    assert len(all_rows(prepared)) + len(rejected) == len(rows)
    assert prepared.card.removed == {
        "empty text": 2, "text too long": 1, "no label": 1, "duplicate": 1,
    }  # fmt: skip
    (long,) = [line for line in rejected if line["reason"] == "text too long"]
    assert "200 characters" in long["detail"] and long["source"] == "train.csv:64"


def test_dropped_rows_are_masked_too(data, out):
    mobile = "13812345678"
    rows = [*topic_rows(20), (f"call {mobile}", ""), (f"{'x ' * 300}{mobile} a@b.com", "card")]
    write_csv(data / "train.csv", ["text", "label"], rows)
    rules = {"mask": ["phone", "email"], "max_chars": 500}
    prepared = prepare(spec_of(data, normalise=rules), "classify", out)
    assert prepared.card.removed == {"no label": 1, "text too long": 1}
    for path in prepared.folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert mobile not in text and "a@b.com" not in text, path.name


def test_a_cell_of_five_megabytes_is_rejected_and_listed(data, out):
    rows = [*topic_rows(20), ("word " * 1_048_576, "card")]
    write_csv(data / "train.csv", ["text", "label"], rows)
    prepared = prepare(spec_of(data), "classify", out)
    (line,) = rejected_of(prepared.folder)
    assert line["reason"] == "text too long" and "5,242,880 characters" in line["detail"]
    assert len(line["text"]) == 500
    with pytest.raises(InvalidInputError, match="5,242,880 characters"):
        prepare(spec_of(data, normalise={"too_long": "fail"}), "classify", out)


def test_given_splits_are_used_as_they_are(data, out):
    write_csv(data / "valid.csv", ["text", "label"], [("a rare question", "card")])
    spec = spec_of(data, valid="valid.csv", split={"test": 0})
    prepared = prepare(spec, "classify", out)
    assert [len(prepared.train), len(prepared.valid), len(prepared.test)] == [60, 1, 0]


def test_a_leak_fails_the_run_and_leaves_nothing(data, out):
    write_csv(data / "valid.csv", ["text", "label"], [topic_rows(1)[0]])
    with pytest.raises(LeakError, match="1 rows of train stand in valid") as caught:
        prepare(spec_of(data, valid="valid.csv"), "classify", out)
    assert caught.value.report.pairs
    assert list(out.iterdir()) == []


def test_a_leak_into_a_named_set_fails_too(data, out):
    write_csv(data / "held.csv", ["text", "label"], [topic_rows(1)[0]])
    whole = {"valid": 0, "test": 0}
    spec = spec_of(data, against={"acceptance": "held.csv"}, split=whole)
    with pytest.raises(LeakError, match="of train stand in acceptance"):
        prepare(spec, "classify", out)
    with pytest.raises(InvalidInputError, match="'test' is a split's name"):
        prepare(spec_of(data, against={"test": "held.csv"}), "classify", out)


def test_leaks_can_be_dropped_or_overridden_on_record(data, out):
    write_csv(data / "valid.csv", ["text", "label"], [topic_rows(1)[0]])
    spec = spec_of(data, valid="valid.csv", split={"test": 0}, leaks={"action": "drop"})
    dropped = prepare(spec, "classify", out)
    assert len(dropped.train) == 59 and len(dropped.valid) == 1
    assert dropped.card.removed == {"leaks into an evaluation set": 1}
    assert dropped.card.leaks["rows dropped"] == 1 and dropped.card.leaks["rows leaking"] == 0
    override = {"override": "a set phrase"}
    spec = spec_of(data, valid="valid.csv", split={"test": 0}, leaks=override)
    kept = prepare(spec, "classify", out)
    assert kept.card.leaks["override"] == "a set phrase"
    assert any("overridden: a set phrase" in warning for warning in kept.card.warnings)


def test_a_cut_split_gives_way_to_a_given_one(data, out):
    """A row cut for test that stands in the given valid set leaves the test set, not valid."""
    write_csv(data / "valid.csv", ["text", "label"], topic_rows(20)[::2])
    spec = spec_of(data, valid="valid.csv", leaks={"action": "drop"})
    prepared = prepare(spec, "classify", out)
    assert len(prepared.valid) == 30
    assert not {row.text for row in prepared.test} & {row.text for row in prepared.valid}


# --- what cannot be learnt from


def test_one_class_only(data, out):
    write_csv(data / "train.csv", ["text", "label"], [(t, "card") for t, _ in topic_rows()])
    with pytest.raises(InvalidInputError, match="one label, 'card'"):
        prepare(spec_of(data), "classify", out)


def test_no_rows_at_all(data, out):
    write_csv(data / "train.csv", ["text", "label"], [])
    with pytest.raises(InvalidInputError, match="The files are empty"):
        prepare(spec_of(data), "classify", out)
    write_csv(data / "train.csv", ["text", "label"], [("", "a"), (" ", "b")])
    with pytest.raises(InvalidInputError, match="2 × empty text"):
        prepare(spec_of(data), "classify", out)


def test_a_given_split_without_a_usable_row(data, out):
    write_csv(data / "valid.csv", ["text", "label"], [(" ", "card")])
    with pytest.raises(InvalidInputError, match=r"data\.valid gives no usable row.*1 × empty text"):
        prepare(spec_of(data, valid="valid.csv"), "classify", out)


def test_nothing_tagged_and_nothing_answered(data, out):
    write_jsonl(data / "t.jsonl", [{"tokens": [f"word{i}"], "tags": ["O"]} for i in range(9)])
    with pytest.raises(InvalidInputError, match="No training row has an entity"):
        prepare(spec_of(data, train="t.jsonl"), "tag", out)
    rows = [{"id": i, "question": f"q{i}?", "context": f"c{i}", "answers": []} for i in range(9)]
    write_jsonl(data / "q.jsonl", rows)
    with pytest.raises(InvalidInputError, match="No training question has an answer"):
        prepare(spec_of(data, train="q.jsonl"), "read", out)


def test_labels_unseen_in_train(data, out):
    rows = [("brand new topic", "news"), ("what of my card", "card")]
    write_csv(data / "valid.csv", ["text", "label"], rows)
    spec = spec_of(data, valid="valid.csv", split={"test": 0})
    prepared = prepare(spec, "classify", out)
    assert prepared.report.unseen_labels == {"valid": {"news": 1}}
    assert prepared.card.removed == {"label not in train": 1} and len(prepared.valid) == 1
    assert any("'news' (1)" in warning for warning in prepared.card.warnings)
    keep = spec_of(data, valid="valid.csv", split={"test": 0}, unseen_labels="keep")
    assert len(prepare(keep, "classify", out).valid) == 2
    fail = spec_of(data, valid="valid.csv", split={"test": 0}, unseen_labels="fail")
    with pytest.raises(InvalidInputError, match="valid has labels that no training row has"):
        prepare(fail, "classify", out)


def test_rare_labels_are_warned_of(data, out):
    write_csv(data / "train.csv", ["text", "label"], [*topic_rows(20), ("odd one out", "crad")])
    card = prepare(spec_of(data), "classify", out).card
    assert any("'crad' (1)" in warning and "Misspelt" in warning for warning in card.warnings)


def test_few_rows_leave_a_split_short_with_a_warning(data, out):
    write_csv(data / "train.csv", ["text", "label"], topic_rows(1))
    card = prepare(spec_of(data), "classify", out).card
    assert any("valid has 0 rows" in warning for warning in card.warnings)


# --- limits, pairs, label errors


def test_limits_are_kept_and_counted(data, out):
    prepared = prepare(spec_of(data, max_rows=10, max_eval_rows=3), "classify", out)
    assert [len(prepared.train), len(prepared.valid), len(prepared.test)] == [10, 3, 3]
    assert prepared.card.removed == {
        "beyond data.max_rows": 38, "beyond data.max_eval_rows": 6,
    }  # fmt: skip
    few = prepare(spec_of(data, per_label=2), "classify", out)
    assert few.card.splits["train"].labels == {"card": 2, "loan": 2, "login": 2}


def test_pairs_of_one_label(data, out):
    spec = spec_of(data, pairing={"how": "same_label", "per_label": 7})
    prepared = prepare(spec, "pairs", out)
    assert len(prepared.train) == 21 and prepared.card.kind == "pairs"
    labels = dict(topic_rows(20))
    for row in all_rows(prepared):
        assert isinstance(row, TextPair) and row.text_a != row.text_b
        assert labels[row.text_a] == labels[row.text_b]
    train = {text for row in prepared.train for text in (row.text_a, row.text_b)}
    test = {text for row in prepared.test for text in (row.text_a, row.text_b)}
    assert not train & test
    assert len({(row.text_a, row.text_b) for row in prepared.train}) == 21


def test_label_errors_are_listed_when_asked_for(data, out):
    rows = topic_rows(30)
    rows[4] = (rows[4][0], "login")
    write_csv(data / "train.csv", ["text", "label"], rows)
    prepared = prepare(
        spec_of(data, label_errors=True, split={"valid": 0, "test": 0}), "classify", out
    )
    lines = (prepared.folder / "suspects.jsonl").read_text(encoding="utf-8").splitlines()
    assert prepared.report.suspects == len(lines) >= 1
    assert json.loads(lines[0])["source"] == "train.csv:6"
    assert json.loads(lines[0])["suggested"] == "card"
    with pytest.raises(InvalidInputError, match=r"data\.label_errors"):
        prepare(spec_of(data, label_errors=True, multi_label=True), "classify", out)


# --- cache and hash


def test_the_same_files_and_spec_are_not_prepared_twice(data, out):
    first = prepare(spec_of(data), "classify", out)
    second = prepare(spec_of(data), "classify", out)
    assert not first.cached and second.cached
    assert (second.train, second.card, second.report) == (first.train, first.card, first.report)
    other = prepare(spec_of(data, split={"seed": 14}), "classify", out)
    assert not other.cached and other.folder != first.folder
    write_csv(data / "train.csv", ["text", "label"], topic_rows(21))
    assert not prepare(spec_of(data), "classify", out).cached


@pytest.mark.parametrize("name", ["train.jsonl", "card.json", "report.json"])
def test_damaged_rows_are_made_anew(data, out, name):
    first = prepare(spec_of(data), "classify", out)
    path = first.folder / name
    path.write_text(path.read_text(encoding="utf-8").replace("card", "cart", 1), encoding="utf-8")
    again = prepare(spec_of(data), "classify", out)
    assert again.train == first.train
    assert again.card == first.card


def test_a_killed_run_leaves_nothing_that_is_taken_for_whole(data, out, monkeypatch):
    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "write_prepared", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(spec_of(data), "classify", out)
    assert list(out.iterdir()) == []
    assert not prepare(spec_of(data), "classify", out).cached


def test_a_full_disk_is_a_clear_error(data, out, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pipeline, "write_prepared", full)
    with pytest.raises(StorageError, match="No space left on device"):
        prepare(spec_of(data), "classify", out)
    assert list(out.iterdir()) == []


def test_the_hash_does_not_depend_on_the_order_of_files_or_rows(tmp_path, out):
    rows = topic_rows(20)
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir()
    write_csv(first / "a.csv", ["text", "label"], rows[:30])
    write_csv(first / "b.csv", ["text", "label"], rows[30:])
    shuffled = random.Random(1).sample(rows, len(rows))
    write_jsonl(second / "z.jsonl", [{"text": t, "label": lb} for t, lb in shuffled])
    cards = [
        prepare(spec_of(first, train=["a.csv", "b.csv"]), "classify", out).card,
        prepare(spec_of(first, train=["b.csv", "a.csv"]), "classify", out).card,
        prepare(spec_of(second, train="z.jsonl"), "classify", out).card,
    ]
    assert len({card.sha256 for card in cards}) == 1
    other = prepare(spec_of(first, train="a.csv"), "classify", out).card
    assert other.sha256 != cards[0].sha256


def test_the_folder_can_move(data, out, tmp_path):
    prepare(spec_of(data), "classify", out)
    moved = tmp_path / "elsewhere"
    shutil.copytree(data, moved)
    assert prepare(spec_of(moved), "classify", out).cached


def test_changed_paragraphs_are_read_again(data, out):
    paragraphs = [{"pid": str(i), "context": f"Fact {i} is {WORDS[i]}."} for i in range(10)]
    questions = [
        {"id": i, "pid": str(i), "question": f"What is fact {i}?", "answers": [WORDS[i]]}
        for i in range(10)
    ]
    write_jsonl(data / "x_questions.jsonl", questions)
    write_jsonl(data / "x_paragraphs.jsonl", paragraphs)
    spec = spec_of(data, train="x_questions.jsonl")
    first = prepare(spec, "read", out)
    assert [card.name for card in first.card.sources] == ["x_questions.jsonl", "x_paragraphs.jsonl"]
    write_jsonl(
        data / "x_paragraphs.jsonl", [{**p, "context": f"Yes. {p['context']}"} for p in paragraphs]
    )
    second = prepare(spec, "read", out)
    assert not second.cached and all(row.context.startswith("Yes.") for row in second.train)
    with pytest.raises(NotFoundError, match="nowhere"):
        prepare(spec_of(data, train="x_questions.jsonl", paragraphs="nowhere.jsonl"), "read", out)


# --- the spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trian": "x"}, "trian"),
        ({"split": {"valid": 0.6, "test": 0.5}}, "below 1"),
        ({"train": []}, r"data\.train is empty"),
        ({"dedupe": {"threshold": 1.5}}, "threshold"),
        ({"columns": {"lable": "x"}}, "lable"),
    ],
)
def test_a_wrong_spec_is_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate({"train": "a.csv", **values})


def test_rows_of_every_kind_are_read_back_as_written(data, out):
    from training.data.rows import (
        ChatExample,
        ChatMessage,
        LabelledText,
        PlainText,
        ReadingAnswer,
        ReadingExample,
        TaggedText,
    )

    rows = {
        "classify": LabelledText("a", ("x", "y"), "g", "s", (("k", "v"),)),
        "pairs": TextPair("a", "b", 0.5, "g", "s"),
        "tag": TaggedText(("a", "b"), ("B-X", "O"), "a b", ((0, 1), (2, 3))),
        "read": ReadingExample("1", "q", "c", (ReadingAnswer("c", 0),)),
        "text": PlainText("a\nb"),
        "chat": ChatExample((ChatMessage("user", "a"), ChatMessage("assistant", "b"))),
    }
    for kind, row in rows.items():
        assert row_from_dict(kind, json.loads(json.dumps(row_dict(row)))) == row
