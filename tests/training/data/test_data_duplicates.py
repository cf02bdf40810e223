"""Near-duplicates against a brute-force comparison of shingle sets written apart from the code."""

from __future__ import annotations

import itertools
import random
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.duplicates import DuplicateReport, remove_duplicates
from training.data.fingerprint import folded, shingle
from training.data.ledger import Ledger
from training.data.minhash import choose_bands, minhash, near_pairs
from training.data.rows import LabelledText, ReadingAnswer, ReadingExample, TextPair
from training.data.spec import Dedupe


def brute_shingles(text: str) -> set[tuple[str, ...]]:
    units = re.findall(r"[\u4e00-\u9fff]|[a-z0-9]+", text.lower())
    han = sum("\u4e00" <= unit <= "\u9fff" for unit in units)
    size = 3 if 2 * han > len(units) else 2
    if len(units) <= size:
        return {tuple(units)} if units else set()
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)}


def brute_jaccard(first: str, second: str) -> float:
    a, b = brute_shingles(first), brute_shingles(second)
    return len(a & b) / len(a | b) if a and b else 0.0


def random_texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    words = [f"w{i}" for i in range(60)]
    han = [chr(0x4E00 + i) for i in range(60)]
    texts = []
    for _ in range(count):
        if draw.random() < 0.5:
            texts.append(" ".join(draw.choices(words, k=draw.randint(1, 30))))
        else:
            texts.append("".join(draw.choices(han, k=draw.randint(1, 40))))
        if draw.random() < 0.6:  # an edited copy
            parts = texts[-1].split() if " " in texts[-1] else list(texts[-1])
            parts[draw.randrange(len(parts))] = draw.choice(han if len(parts[0]) == 1 else words)
            texts.append((" " if len(parts[0]) > 1 else "").join(parts))
        if draw.random() < 0.1:
            texts.append(f"{texts[-1]}!!")
    return texts


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.85, 0.95])
def test_pairs_are_those_of_brute_force(threshold):
    texts = random_texts(250, 3)
    found = near_pairs(texts, threshold=threshold)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    true = {
        (i, j): brute_jaccard(texts[i], texts[j])
        for i, j in itertools.combinations(range(len(texts)), 2)
    }
    wanted = {pair for pair, value in true.items() if value >= threshold}
    assert len(wanted) > 20
    assert pairs <= wanted, "a pair below the threshold"
    assert len(pairs) >= 0.97 * len(wanted)
    for a, b, value in zip(found.first, found.second, found.similarity, strict=True):
        assert value == pytest.approx(true[int(a), int(b)])


def test_signatures_estimate_jaccard():
    texts = random_texts(60, 5)
    signatures = minhash(shingle(texts), 512, 1)
    errors = [
        np.mean(signatures[i] == signatures[j]) - brute_jaccard(texts[i], texts[j])
        for i, j in itertools.combinations(range(len(texts)), 2)
    ]
    assert abs(np.mean(errors)) < 0.005
    assert np.max(np.abs(errors)) < 5 * np.sqrt(0.25 / 512)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.85, 1.0])
@pytest.mark.parametrize("permutations", [16, 128, 500])
def test_bands_let_pairs_at_the_threshold_meet(threshold, permutations):
    bands = choose_bands(threshold, permutations)
    rows = permutations // bands
    assert 1 <= bands * rows <= permutations
    assert 1 - (1 - threshold**rows) ** bands >= 0.99 or rows == 1


def test_texts_without_letters_are_no_near_duplicates():
    assert len(near_pairs(["!!!", "???", "", "👍"], threshold=0.5).first) == 0
    assert len(near_pairs([], threshold=0.5).first) == 0
    assert len(near_pairs(["one text"], threshold=0.5).first) == 0


def test_traditional_and_simplified_texts_are_near():
    first = "請問我的信用卡帳單應該在每個月的什麼時候繳費才不會逾期"
    second = "请问我的信用卡帐单应该在每个月的什么时候缴费才不会逾期呢"
    assert near_pairs([first, second], threshold=0.85).similarity[0] > 0.9


def test_long_texts_are_compared_by_a_sketch():
    draw = random.Random(1)
    words = [f"w{i}" for i in range(5000)]
    text = draw.choices(words, k=8000)
    other = list(text)
    for place in range(0, 8000, 400):
        other[place] = "changed"
    unlike = draw.choices(words, k=8000)
    found = near_pairs([" ".join(text), " ".join(other), " ".join(unlike)], threshold=0.9)
    assert list(zip(found.first, found.second, strict=True)) == [(0, 1)]
    assert found.similarity[0] == pytest.approx(
        brute_jaccard(" ".join(text), " ".join(other)), abs=0.03
    )


@pytest.mark.slow
def test_two_hundred_thousand_rows_in_a_minute():
    draw = random.Random(1)
    han = [chr(0x4E00 + i) for i in range(3000)]
    texts = ["".join(draw.choices(han, k=draw.randint(8, 30))) for _ in range(190_000)]
    copies = [text + draw.choice(han) for text in texts[:10_000]]
    began = time.perf_counter()
    found = near_pairs(texts + copies, threshold=0.85)
    seconds = time.perf_counter() - began
    true = sum(brute_jaccard(text, copy) >= 0.85 for text, copy in zip(texts, copies, strict=False))
    assert len(found.first) >= 0.98 * true > 1000
    assert seconds < 90  # measured about 10 on a free core; room for a busy machine


# --- folding


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("How do I pay?", "how do i pay"),
        ("怎么开户？", "怎么开户"),
        ("開戶", "开户"),
        ("ＡＢＣ 123", "abc123"),
        ("top-up", "Top up"),
        ("1,000 元", "1000元"),
    ],
)
def test_the_same_text_folds_alike(first, second):
    assert folded(first) == folded(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("-5%", "5%"), ("1.5", "15"), ("5%", "5"), ("😀", "😡"), ("pay", "play"), ("!!!", "???")],
)
def test_different_texts_fold_apart(first, second):
    assert folded(first) != folded(second)


@given(st.text())
@settings(max_examples=200)
def test_folding_keeps_something_of_any_text(text):
    assert bool(folded(text)) == bool(text.strip())
    assert folded(text) == folded(text + " ")


# --- rows


def dedupe(rows, **rules):
    report, ledger = DuplicateReport(), Ledger()
    near = rules.pop("near", True)
    kept = remove_duplicates(rows, Dedupe(**rules), near=near, ledger=ledger, report=report)
    return kept, report, ledger


LONG = "please tell me how I can raise the daily limit of my debit card before I travel abroad"


def test_the_first_of_duplicates_stays():
    rows = [
        LabelledText("How do I pay?", ("pay",), source="a:1"),
        LabelledText("how do I pay", ("pay",), source="a:2"),
        LabelledText(LONG, ("limit",), source="a:3"),
        LabelledText(LONG + " soon", ("limit",), source="a:4"),
        LabelledText("something else", ("pay",), source="a:5"),
    ]
    kept, report, ledger = dedupe(rows)
    assert [row.source for row in kept] == ["a:1", "a:3", "a:5"]
    assert (report.exact, report.near, report.conflict_count) == (1, 1, 0)
    assert ledger.rejected == {"duplicate": 1, "near-duplicate": 1}


def test_duplicates_that_disagree_are_reported():
    rows = [
        LabelledText("How do I pay?", ("pay",), source="a:1"),
        LabelledText("how do I pay", ("fee",), source="a:2"),
        LabelledText("other", ("fee",), source="a:3"),
    ]
    kept, report, _ = dedupe(rows)
    assert [row.source for row in kept] == ["a:1", "a:3"]
    assert report.conflicts[0].first_answer == ("pay",)
    assert report.conflicts[0].second_answer == ("fee",)
    kept, report, ledger = dedupe(rows, conflicts="drop")
    assert [row.source for row in kept] == ["a:3"]
    assert ledger.rejected == {"duplicate with another label": 2}


def test_near_duplicates_that_disagree_both_stay():
    rows = [LabelledText(LONG, ("limit",)), LabelledText(LONG + " today", ("travel",))]
    kept, report, _ = dedupe(rows)
    assert len(kept) == 2 and report.conflict_count == 1 and report.conflicts[0].kind == "near"


def test_pairs_are_the_same_either_way_round():
    rows = [
        TextPair("a b c", "d e f", 1.0),
        TextPair("D e f!", "a b c", 1.0),
        TextPair("a b c", "x"),
    ]
    kept, _, _ = dedupe(rows)
    assert kept == [rows[0], rows[2]]


def test_two_questions_on_one_paragraph_are_not_duplicates():
    context = LONG * 3
    rows = [
        ReadingExample("1", "Who pays the fee of the card?", context, (ReadingAnswer("I", 19),)),
        ReadingExample("2", "What can be raised?", context, (ReadingAnswer("limit", 39),)),
        ReadingExample("3", "What can be raised?", "Another text, and no limit.", ()),
    ]
    assert dedupe(rows)[0] == rows


def test_both_kinds_can_be_switched_off():
    rows = [LabelledText(LONG, ("a",)), LabelledText(LONG + ".", ("a",))]
    assert len(dedupe(rows, exact=False, near=False)[0]) == 2
    assert len(dedupe(rows, exact=True, near=False)[0]) == 1
