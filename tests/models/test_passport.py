"""Passports: read back as written, impossible ones refused, and cards that people can read."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from typing import Any

import pytest
import versions_support as support
from hypothesis import given
from hypothesis import strategies as st

from assistant.errors import InvalidInputError, ModelError
from assistant.models.card import _toml, card
from assistant.models.passport import DataNote, Figure, Gate, Passport, passport_from_json

FULL = replace(
    support.PASSPORT,
    latency_ms={"cpu": {"1 x 32 tokens": 3.25}},
    memory_mb={"cpu": 210.0},
    parity={"max_abs": 0.0123},
    size_bytes=31_000_000,
    trainable_parameters=123_456,
    train_seconds=61.5,
    libraries={"torch": "2.13"},
    seed=7,
    description="Was der Kunde will | 客户意图",
    notes=("trained on tickets of 2025",),
)


@pytest.mark.parametrize("passport", [support.PASSPORT, support.FAILED, FULL])
def test_a_passport_is_read_back_as_it_was_written(passport: Passport) -> None:
    assert passport_from_json(passport.to_json()) == passport
    assert json.loads(passport.to_json())["format"] == 1


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"task": ""}, "task is empty"),
    ({"parent": ""}, "parent is empty"),
    ({"data": DataNote("12", ())}, "data.sha256 is '12'"),
    ({"data": DataNote("G" * 64, ())}, "64 hexadecimal"),
    ({"metrics": {"test": {"f1": Figure(0.5, 0.6, 0.7, 3)}}}, r"metrics.test.f1 is 0.5 within"),
    ({"metrics": {"test": {"f1": Figure(0.5, 0.4, 0.7, 0)}}}, "over 0 rows"),
    ({"metrics": {"test": {"f1": Figure(float("nan"), 0, 1, 3)}}}, "finite"),
    ({"metrics": {"test": {"f1": 0.5}}}, r"metrics.test.f1"),
    ({"parity": {"x": float("inf")}}, "parity.x"),
    ({"recipe": {"x": float("nan")}}, "not JSON"),
    ({"recipe": {"x": object()}}, "not JSON"),
    ({"recipe": {"x": "\ud800"}}, "not JSON"),
    ({"size_bytes": -1}, "size_bytes is -1"),
    ({"train_seconds": -0.5}, "train_seconds is -0.5"),
    ({"seed": "x"}, "seed"),
    ({"gate": Gate("accuracy", 0.9, True, value=0.89)}, "gate says passed"),
]


@pytest.mark.parametrize(("change", "message"), IMPOSSIBLE)
def test_impossible_values_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        replace(support.PASSPORT, **change).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds"),
        ({"format": 2}, "format 2 instead of 1"),
        ({"gate": None}, "gate"),
        ({"metrics": []}, "metrics"),
        ({"data": {"sha256": "ab" * 32}}, "data.licences"),
    ],
)
def test_a_damaged_passport_says_where_and_what_to_do(change: dict, message: str) -> None:
    text = json.dumps({**json.loads(support.PASSPORT.to_json()), **change})
    with pytest.raises(ModelError, match=rf"v3/passport.json cannot be read.*{message}.*again"):
        passport_from_json(text, "v3/passport.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "[" * 100_000])
def test_what_is_no_passport_is_damaged(text: str) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        passport_from_json(text)


def test_the_key_figure_is_the_gates() -> None:
    test, valid = Figure(0.8, 0.7, 0.9, 10), Figure(0.6, 0.5, 0.7, 10)
    passport = replace(
        support.PASSPORT, metrics={"valid": {"f1": valid, "auc": valid}, "test": {"f1": test}}
    )

    def key(metric: str) -> tuple[str, Figure] | None:
        return replace(passport, gate=Gate(metric, None, True)).key_figure()

    assert key("f1") == ("f1", test)
    assert key("valid.f1") == ("valid.f1", valid)
    assert key("auc") == ("auc", valid)
    assert key("other") == ("valid.f1", valid)
    assert replace(passport, metrics={}).key_figure() is None


def test_a_card_has_all_that_a_person_asks() -> None:
    text = card(FULL)
    for part in (
        "# bank (intent)",
        "客户意图",
        "- train: 800 rows",
        "CC-BY-4.0",
        "| test | accuracy | 0.9100 [0.8700, 0.9400] | 200 |",
        "accuracy at least 0.9, measured 0.91, passed",
        "| parity: max_abs | 0.0123 |",
        "| cpu: 1 x 32 tokens | 3.25 ms |",
        "| model file (int8) | 31.0 MB |",
        "- 123,456 trainable parameters",
        "assistant train recipe.toml",
        "trained on tickets of 2025",
    ):
        assert part in text
    assert "not passed" in card(support.FAILED)


def test_the_recipe_on_the_card_is_the_recipe() -> None:
    recipe = {
        "recipe": {"task": "classifier", "seed": 3, "description": 'say "hi"\nthere \\ 你好'},
        "data": {"train": ["a.csv", "b.csv"], "columns": {"text": "问题", "label-x": "y"}},
        "train": {"learning_rate": 2e-5, "fast": True, "left": None, "mixed": [{"a": 1}, [1.5]]},
        "heads": {"intent": {"labels": []}, "empty": {}},
    }
    text = card(replace(FULL, recipe=recipe))
    block = text.split("```toml\n")[1].split("```")[0]
    del recipe["train"]["left"]
    assert tomllib.loads(block) == recipe


_KEYS = st.text(max_size=8)
_VALUES = st.recursive(
    st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        _KEYS.filter(lambda key: key.isprintable()),
        _VALUES | st.dictionaries(st.text("abc-_é ", min_size=1, max_size=5), _VALUES, max_size=3),
        max_size=4,
    )
)
def test_any_recipe_is_written_as_toml_that_means_it(recipe: dict[str, Any]) -> None:
    assert tomllib.loads("\n".join(_toml(recipe))) == recipe
