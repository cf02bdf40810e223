"""Tagged text: schemes against seqeval's reading of them, CoNLL files, entity spans."""

from __future__ import annotations

import pytest
from data_helpers import read_all, spec_of, write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from training.data.bio import detect_scheme, to_bio
from training.data.ledger import Ledger

SPANS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["ORG", "PER", ""])), max_size=8)


def encode(spans, scheme):
    """Write entities (length, type) one after another in a scheme, as its papers define it."""
    tags: list[str] = []
    before = ""
    for length, label in spans:
        if not label:
            tags += ["O"] * length
        elif scheme == "BIO":
            tags += [f"B-{label}"] + [f"I-{label}"] * (length - 1)
        elif scheme == "IOB1":
            tags += [f"{'B' if before == label else 'I'}-{label}"] + [f"I-{label}"] * (length - 1)
        elif length == 1:
            tags += [f"S-{label}"]
        else:
            tags += [f"B-{label}"] + [f"I-{label}"] * (length - 2) + [f"E-{label}"]
        before = label
    return tags


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES"])
@given(spans=SPANS)
def test_every_scheme_becomes_the_same_bio(scheme, spans):
    tags, repairs = to_bio(encode(spans, scheme), scheme)
    assert tags == encode(spans, "BIO")
    assert repairs == 0


def test_bilou_is_read_as_bioes():
    assert to_bio(["B-X", "I-X", "L-X", "U-X", "O"], "BIOES")[0] == [
        "B-X", "I-X", "I-X", "B-X", "O",
    ]  # fmt: skip


@given(
    st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y", "E-X", "S-X", "E-Y"]), max_size=9)
)
def test_repaired_tags_mean_what_seqeval_reads(tags):
    entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    fixed, _ = to_bio(tags, "BIOES")
    before = "O"
    for tag in fixed:
        assert not tag.startswith("I-") or before[2:] == tag[2:], "an inside tag with no beginning"
        before = tag
    assert entities(fixed) == entities(tags)


def test_schemes_are_told_apart():
    assert detect_scheme([["I-X", "I-X", "O"], ["O", "I-Y", "B-Y"]]) == "IOB1"
    assert detect_scheme([["B-X", "I-X", "O"], ["I-X", "O"], ["B-Y"]]) == "BIO"
    assert detect_scheme([["B-X", "E-X"], ["S-Y"]]) == "BIOES"
    assert detect_scheme([["name", "name", "O"]]) == "IO"
    assert detect_scheme([]) == "BIO"


def test_repairs_are_counted():
    assert to_bio(["I-X", "O", "B-X", "I-Y"], "BIO") == (["B-X", "O", "B-X", "B-Y"], 2)
    assert to_bio(["name", "name", "O", "name"], "IO") == (
        ["B-name", "I-name", "O", "B-name"],
        0,
    )


CONLL = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
call NN I-NP O
. . O O

Peter NNP I-NP I-PER
Blackburn NNP I-NP I-PER

-DOCSTART- -X- -X- O

Bonn NNP I-NP I-LOC
Paris NNP I-NP B-LOC
"""


def test_conll_columns_documents_and_iob1(tmp_path):
    (tmp_path / "train.txt").write_text(CONLL, encoding="utf-8")
    rows = read_all(spec_of(tmp_path, train="train.txt"), "tag")
    assert [row.text for row in rows] == [
        "EU rejects German call.",
        "Peter Blackburn",
        "Bonn Paris",
    ]
    assert rows[0].tags == ("B-ORG", "O", "B-MISC", "O", "O")
    assert rows[1].tags == ("B-PER", "I-PER")
    assert rows[2].tags == ("B-LOC", "B-LOC")
    assert [row.group for row in rows] == ["train.txt#1", "train.txt#1", "train.txt#2"]
    assert rows[0].source == "train.txt:3"


def test_conll_columns_can_be_chosen_and_bad_lines_reject_their_sentence(tmp_path):
    text = "# id = 1\n1\tEU\tB-ORG\tx\n2\twins\tO\tx\n\n1\tlost\n\nalone\n"
    (tmp_path / "t.conll").write_text(text, encoding="utf-8")
    ledger = Ledger()
    spec = spec_of(tmp_path, train="t.conll", columns={"token_column": 1, "tag_column": 2})
    (row,) = read_all(spec, "tag", ledger)
    assert row.tokens == ("EU", "wins") and row.tags == ("B-ORG", "O")
    assert ledger.rejected == {"bad line of columns": 2}


def test_invalid_sequences_are_repaired_and_counted(tmp_path):
    text = "a B-X\nb I-X\n\nc I-Y\nd O\n\ne B-Y\n\nf B-X\n"
    (tmp_path / "t.conll").write_text(text, encoding="utf-8")
    ledger = Ledger()
    rows = read_all(spec_of(tmp_path, train="t.conll"), "tag", ledger)
    assert rows[1].tags == ("B-Y", "O")
    assert ledger.repairs == {"entity tags repaired": 1}


def test_tables_of_tokens_and_tags(tmp_path):
    rows = [
        {"tokens": ["EU", "wins"], "tags": ["ORG", "O"], "doc": "d1"},
        {"tokens": "card 657 e", "tags": "O num num", "doc": "d2"},
        {"tokens": ["a"], "tags": ["O", "O"], "doc": "d3"},
    ]
    write_jsonl(tmp_path / "t.jsonl", rows)
    ledger = Ledger()
    spec = spec_of(tmp_path, train="t.jsonl", columns={"group": "doc"}, label_map={"num": "O"})
    first, second = read_all(spec, "tag", ledger)
    assert first.tags == ("B-ORG", "O") and first.group == "d1"
    assert second.tags == ("O", "O", "O"), "a type mapped to O is no entity"
    assert ledger.rejected == {"tokens and tags differ in number": 1}


def test_entity_spans(tmp_path):
    text = "据说梁实秋在IBM公司"
    entities = [
        {"start": 2, "end": 5, "label": "PER", "text": "梁实秋"},
        {"start": 6, "end": 11, "label": "ORG"},
        {"start": 6, "end": 9, "label": "ORG"},
    ]
    write_jsonl(tmp_path / "t.jsonl", [{"text": text, "entities": entities}])
    ledger = Ledger()
    (row,) = read_all(spec_of(tmp_path, train="t.jsonl"), "tag", ledger)
    assert row.tokens == ("据", "说", "梁", "实", "秋", "在", "IBM", "公", "司")
    assert row.tags == ("O", "O", "B-PER", "I-PER", "I-PER", "O", "B-ORG", "I-ORG", "I-ORG")
    assert ledger.repairs == {"overlapping entities left out": 1}


def test_entity_places_are_mended_or_rejected(tmp_path):
    good = {"start": 0, "end": 2, "label": "LOC", "text": "Bern"}
    gone = {"start": 0, "end": 4, "label": "LOC", "text": "Rome"}
    rows = [
        {"text": "In Bern", "entities": [good]},
        {"text": "In Bern", "entities": [gone]},
        {"text": "In Bern", "entities": [{"start": 3}]},
        {"text": "In Bern", "entities": "LOC"},
    ]
    write_jsonl(tmp_path / "t.jsonl", rows)
    ledger = Ledger()
    (row,) = read_all(spec_of(tmp_path, train="t.jsonl"), "tag", ledger)
    assert row.tags == ("O", "B-LOC")
    assert ledger.repairs == {"entity places mended": 1}
    assert ledger.rejected == {"entity not in text": 1, "bad entities": 2}
