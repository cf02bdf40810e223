"""Splits: whole groups, even labels, the same rows for the same seed; and the leak check."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.leaks import LeakError, check_leaks, judge
from training.data.resemblance import Resemblance
from training.data.rows import LabelledText, ReadingExample, TextPair
from training.data.spec import Leaks
from training.data.splitting import split_rows

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def rows_of(counts):
    return [
        LabelledText(f"{label} text {number}", (label,))
        for label, count in counts.items()
        for number in range(count)
    ]


def split(rows, groups=None, shares=SHARES, **options):
    options.setdefault("seed", 13)
    return split_rows(rows, groups or list(range(len(rows))), shares, **options)


def test_labels_keep_their_shares():
    rows = rows_of({"a": 1000, "b": 100, "c": 20})
    found = split(rows)
    for name, share in SHARES.items():
        counts = Counter(rows[i].labels[0] for i in found[name])
        assert counts == {"a": 1000 * share, "b": 100 * share, "c": 20 * share}


def test_rare_labels_stay_in_train():
    rows = rows_of({"a": 100, "b": 2, "c": 1})
    train = {rows[i].labels[0] for i in split(rows)["train"]}
    assert train == {"a", "b", "c"}
    assert sum(rows[i].labels[0] in "bc" for i in split(rows)["train"]) == 3


def test_several_labels_a_row_are_balanced():
    draw = random.Random(1)
    rows = [
        LabelledText(f"text {i}", tuple(sorted(draw.sample("abcde", draw.randint(1, 3)))))
        for i in range(1000)
    ]
    found = split(rows)
    totals = Counter(label for row in rows for label in row.labels)
    counts = Counter(label for i in found["test"] for label in rows[i].labels)
    for label, total in totals.items():
        assert counts[label] == pytest.approx(0.1 * total, abs=3)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(0, 5))
def test_groups_never_part_and_no_row_is_lost(groups, seed):
    rows = [LabelledText(f"t{i}", ("ab"[i % 2],)) for i in range(len(groups))]
    found = split(rows, groups, seed=seed)
    placed = [(i, name) for name, positions in found.items() for i in positions]
    assert sorted(i for i, _ in placed) == list(range(len(rows)))
    homes: dict[int, set[str]] = {}
    for position, name in placed:
        homes.setdefault(groups[position], set()).add(name)
    assert all(len(names) == 1 for names in homes.values())


def test_a_group_too_large_for_a_split_stays_in_train():
    rows = rows_of({"a": 60, "b": 40})
    found = split(rows, [0] * 50 + list(range(1, 51)))
    assert set(range(50)) <= set(found["train"])
    assert len(found["test"]) == len(found["valid"]) == 9


def test_the_split_depends_on_rows_and_seed_only():
    rows = rows_of({"a": 60, "b": 40})
    shuffled = random.Random(3).sample(rows, len(rows))
    first, second, other = split(rows), split(shuffled), split(rows, seed=14)
    assert {rows[i] for i in first["test"]} == {shuffled[i] for i in second["test"]}
    assert first["test"] != other["test"]


def test_without_stratifying_only_sizes_count():
    rows = rows_of({"a": 50, "b": 50})
    found = split(rows, stratify=False)
    assert [len(found[name]) for name in SHARES] == [80, 10, 10]


# --- resemblance and leaks

LONG = "please tell me how I can raise the daily limit of my debit card before I travel abroad"


def resemblance(*sets, unit="text", near=True):
    rows = [row for rows in sets for row in rows]
    return Resemblance(rows, unit=unit, near=near, threshold=0.85, permutations=128)


def test_rows_are_linked_by_group_text_and_likeness():
    rows = [
        TextPair("how do I pay", "by card", group="t1"),
        TextPair("other question", "other answer", group="t1"),
        TextPair("How do I pay?", "in cash"),
        TextPair(LONG, "x y z"),
        TextPair(LONG + " soon", "u v w"),
        TextPair("alone", "too"),
    ]
    found = resemblance(rows)
    assert found.components(rows) == [0, 0, 0, 3, 3, 5]
    assert found.components(rows, near=False) == [0, 0, 0, 3, 4, 5]
    whole = resemblance(rows, unit="row", near=False)
    assert whole.components(rows) == [0, 0, 2, 3, 4, 5]


def leaks(train, test, unit="text", **rules):
    sets = {"train": train, "test": test}
    counts, leaking = check_leaks(sets, resemblance(train, test, unit=unit))
    total = sum(len(positions) for positions in leaking.values())
    return judge(counts, total, 0, Leaks(**rules)), leaking


def labelled(text, source="", group=""):
    return LabelledText(text, ("a",), group, source)


def test_every_kind_of_leak_is_found_and_counted_once():
    train = [
        labelled("How do I pay?", "a:1"),
        labelled("Where is it?", "a:2"),
        labelled(LONG, "a:3"),
        labelled("my own words", "a:4", group="customer 7"),
        labelled("not shared at all", "a:5"),
    ]
    test = [
        labelled("How do I pay?", "b:1"),
        labelled("where is it", "b:2"),
        labelled(LONG + " today", "b:3"),
        labelled("quite different", "b:4", group="customer 7"),
    ]
    report, leaking = leaks(train, test)
    (pair,) = report.pairs
    assert dict(pair.counts) == {"exact": 1, "normalised": 1, "near": 1, "group": 1}
    assert leaking == {"train": {0, 1, 2, 3}}
    assert not report.passed
    shown = {(e.kind, e.source, e.other_source) for e in pair.examples}
    assert ("near", "a:3", "b:3") in shown and ("group", "a:4", "b:4") in shown
    message = str(LeakError(report))
    assert "4 rows of train stand in test" in message and "leaks.override" in message


def test_a_limit_or_a_reason_lets_the_run_go_on():
    train, test = [labelled("same")], [labelled("same")]
    assert leaks(train, test, limit=1)[0].passed
    assert not leaks(train, test, override=" ")[0].passed
    report, _ = leaks(train, test, override="short greetings")
    assert report.passed and report.rows == 1 and report.override == "short greetings"


def test_clean_sets_pass():
    report, leaking = leaks([labelled("one thing")], [labelled("another")])
    assert report.passed and report.rows == 0 and leaking == {"train": set()}


def test_either_text_of_a_pair_leaks_unless_rows_are_compared():
    train = [TextPair("how do I pay", "by card", 1.0)]
    test = [TextPair("in what way to pay", "By card", 1.0)]
    assert leaks(train, test)[0].rows == 1
    assert leaks(train, test, unit="row")[0].rows == 0
    turned = [TextPair("by card", "how do I pay", 1.0)]
    assert leaks(train, turned, unit="row")[0].rows == 1


def test_a_question_may_be_asked_of_two_paragraphs_but_a_paragraph_never_twice():
    train = [ReadingExample("1", "Who?", "The first paragraph.", ())]
    assert leaks(train, [ReadingExample("2", "Who?", "Another one.", ())])[0].rows == 0
    assert leaks(train, [ReadingExample("3", "When?", "the first paragraph", ())])[0].rows == 1


@given(st.integers(0, 30), st.integers(1, 40))
@settings(max_examples=20)
def test_a_split_by_components_never_leaks(seed, count):
    """What the split keeps together, the check never finds apart."""
    draw = random.Random(seed)
    words = ["pay", "card", "loan", "fee", "rate", "limit"]
    rows = [
        LabelledText(
            " ".join(draw.choices(words, k=draw.randint(1, 12))),
            (draw.choice("ab"),),
            draw.choice(["", "", f"c{draw.randint(0, 3)}"]),
        )
        for _ in range(count)
    ]
    index = resemblance(rows)
    found = split_rows(rows, index.components(rows), SHARES, seed=seed)
    sets = {name: [rows[i] for i in positions] for name, positions in found.items()}
    _, leaking = check_leaks(sets, index)
    assert not any(leaking.values())
