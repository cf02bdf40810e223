"""Where a model fails is counted right, and told without what may not be passed on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_base as tiny
from test_shipping import recipe

from assistant.errors import InvalidInputError, NotFoundError
from assistant.evaluation.entities import EntitySpan
from assistant.models.card import card
from assistant.models.passport import PASSPORT_FILE, passport_from_json
from assistant.models.shipped import shipped_models
from training import lineage, reviewing, shipping
from training.data.rows import LabelledText, Row, TextPair
from training.failures import NOTHING, Outcome, failures, groups, may_quote, span_outcomes, text_of
from training.reporting import Silent


def test_mistakes_are_counted_and_the_most_frequent_come_first() -> None:
    seen = [Outcome("fee", "fee", "a")] * 5 + [Outcome("fee", "card", "why so much money")]
    seen += [Outcome("card", "fee", f"where is card {n}") for n in (100, 2, 30)]
    found = failures(seen, quote=True)
    assert [(f.right, f.said, f.count, f.of) for f in found] == [
        ("card", "fee", 3, 3),
        ("fee", "card", 1, 6),
    ]
    assert found[0].example == "where is card 2"  # the shortest is the easiest to read
    assert [f.example for f in failures(seen)] == ["", ""]
    assert failures([Outcome("x", "x", "t")]) == ()
    assert len(failures(Outcome(str(n), "y", "") for n in range(50))) == 10


def test_spans_are_compared_by_place_and_type() -> None:
    text = "Anna met Siemens AG in Munich today"
    right = [EntitySpan("PER", 0, 4), EntitySpan("ORG", 9, 19), EntitySpan("LOC", 23, 29)]
    said = [EntitySpan("PER", 0, 4), EntitySpan("ORG", 9, 16), EntitySpan("MISC", 30, 35)]
    found = list(span_outcomes(text, right, said))
    assert found == [
        Outcome("PER", "PER", "Anna"),
        Outcome("ORG", "ORG, cut otherwise", "Siemens AG"),
        Outcome("LOC", NOTHING, "Munich"),
        Outcome(NOTHING, "MISC", "today"),
    ]
    other = list(span_outcomes(text, right[2:], [EntitySpan("ORG", 23, 29)]))
    assert other == [Outcome("LOC", "ORG", "Munich")]


@pytest.mark.parametrize(
    ("licences", "free"),
    [
        (["CC-BY-4.0", "MIT (public bank FAQ)"], True),
        (["CC-BY-SA-4.0"], True),
        (["CC-BY-NC-SA-3.0"], False),
        (["MIT", "not stated"], False),
        (["research use"], False),
        ([], False),
    ],
)
def test_rows_are_quoted_only_where_every_licence_allows(licences: list[str], free: bool) -> None:
    assert may_quote(licences) is free


def test_groups_are_sets_languages_and_lengths() -> None:
    rows: list[Row] = []
    for n in range(60):
        rows.append(LabelledText("word " * (n + 1), ("a",), source=f"news/train.jsonl:{n}"))
        rows.append(LabelledText("中文" * (n + 1), ("b",), source=f"tweets/train.jsonl:{n}"))
    found = groups(rows)
    sizes = {name: len(own) for name, own in found.items()}
    assert {sizes.pop(name) for name in ("news", "tweets", "en", "zh")} == {60}
    assert set(sizes) == {"shortest", "longest"}
    assert 30 <= len(found["shortest"]) <= 35
    shortest, longest = (
        {len(text_of(row)) for row in found[name]} for name in ("shortest", "longest")
    )
    assert min(longest) > max(shortest)
    assert groups(rows[:20]) == {}
    assert groups([]) == {}
    alike: list[Row] = [TextPair("a", "b", source="x/y.csv:1")] * 40
    assert set(groups(alike)) == {"shortest", "longest"}


def test_shipped_models_are_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, into = tiny.settings(tmp_path), tmp_path / "shipped"
    made = recipe(tmp_path)
    folder = shipping.ship(made, settings, Silent(), into, rank=8)
    path = folder / PASSPORT_FILE
    before = json.loads(path.read_text(encoding="utf-8"))
    spoilt = {**before, "metrics": {}, "failures": []}
    path.write_text(json.dumps(spoilt), encoding="utf-8")
    (model,) = shipped_models(root=into)
    reviewing.review(model, made, settings)
    text = path.read_text(encoding="utf-8")
    after = json.loads(text)
    assert after["metrics"] == before["metrics"]
    assert after["failures"] == before["failures"]
    assert (folder / "card.md").read_text(encoding="utf-8") == card(passport_from_json(text))
    other = {**before, "data": {**before["data"], "sha256": "0" * 64}}
    path.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="other rows"):
        reviewing.review(model, made, settings)
    assert passport_from_json(path.read_text(encoding="utf-8")).data.sha256 == "0" * 64
    with pytest.raises(NotFoundError, match=r"topic/none.*intent/banking77"):
        reviewing.chosen(["topic/none"], into)
    assert reviewing.main(["topic/none", "--shipped", str(into)]) == 1
    assert "intent/banking77" in capsys.readouterr().err


def test_rows_that_an_ancestor_learnt_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, into = tiny.settings(tmp_path), tmp_path / "shipped"
    made = recipe(tmp_path)
    folder = shipping.ship(made, settings, Silent(), into, rank=8)
    before = passport_from_json((folder / PASSPORT_FILE).read_text(encoding="utf-8"))
    assert made.data is not None
    spec = made.data.model_dump(mode="json") | {"split": {"valid": 0.2, "test": 0.2, "seed": 99}}
    first = lineage.Ancestor("intent/first", "classifier", spec)
    monkeypatch.setattr(lineage, "written", lambda recipe: [first])
    (model,) = shipped_models(root=into)
    after = reviewing.review(model, made, settings)
    rows = [p.metrics["test"]["accuracy"].n for p in (before, after)]
    assert 0 < rows[1] < rows[0]
    (note,) = [note for note in after.notes if "has learnt from" in note]
    assert reviewing.review(model, made, settings).notes.count(note) == 1
