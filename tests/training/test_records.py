"""Made-up records and their teacher, against records whose rule is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from assistant.errors import InvalidInputError
from assistant.records import render_record
from training.data.rows import LabelledText
from training.records import fields, mixed, table, taught
from training.sections import Records

RECORD = {"amount_dm": 1200, "purpose": "new car", "rate": 2.5, "note": "a: b"}


def test_a_rendered_record_is_read_back_field_by_field() -> None:
    text = render_record(RECORD)
    assert fields(text) == {
        "amount dm": "1200", "purpose": "new car", "rate": "2.5", "note": "a: b"
    }  # fmt: skip
    assert table(text)["amount dm"] == 1200.0


def test_a_plain_text_is_no_record() -> None:
    with pytest.raises(InvalidInputError, match=r"records\.synthetic.*'no record at all"):
        fields("no record at all")


def test_mixed_records_keep_their_fields_and_take_only_values_that_exist() -> None:
    texts = [render_record({"a": n, "b": f"v{n}"}) for n in range(10)]
    made = mixed(texts, 200, 0.5, seed=3)
    assert made == mixed(texts, 200, 0.5, seed=3)
    assert {tuple(fields(text)) for text in made} == {("a", "b")}
    assert {fields(text)["b"] for text in made} <= {f"v{n}" for n in range(10)}
    parted = [f"v{fields(text)['a']}" != fields(text)["b"] for text in made]
    # Two fields that are each swapped half of the time agree by neither or by chance.
    assert 0.5 < np.mean(parted) < 0.9
    assert mixed(texts, 50, 0.0, seed=3) == [t for t in mixed(texts, 50, 0.0, seed=3) if t in texts]


def _credits(count: int) -> list[LabelledText]:
    random = np.random.default_rng(5)
    rows = []
    for _ in range(count):
        amount, savings = int(random.integers(100, 5000)), random.choice(["none", "much"])
        bad = amount > 2500 and savings == "none"
        bad = bad if random.random() > 0.1 else not bad
        text = render_record({"amount": amount, "savings": savings, "colour": "blue"})
        rows.append(LabelledText(text, ("bad" if bad else "good",)))
    return rows


def test_the_teacher_knows_the_rule_and_has_not_seen_the_row_it_judges() -> None:
    rows = _credits(200)
    own, texts, shares = taught(rows, ("bad", "good"), Records(synthetic=300), seed=1)
    np.testing.assert_allclose(own.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    rule = [float(fields(t)["amount"]) > 2500 and fields(t)["savings"] == "none" for t in texts]
    assert roc_auc_score(rule, shares[:, 0]) > 0.95
    given = [row.labels[0] == "bad" for row in rows]
    # One row in ten carries the wrong label: who had seen them would do better than this.
    assert 0.75 < roc_auc_score(given, own[:, 0]) < 0.97


def test_too_few_rows_of_a_label_are_refused() -> None:
    rows = [*_credits(50), *[LabelledText("a: 1.", ("fraud",))] * 3]
    with pytest.raises(InvalidInputError, match="the rarest has 3"):
        taught(rows, ("bad", "good", "fraud"), Records(synthetic=10), seed=1)
