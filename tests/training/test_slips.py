"""Rows read with typing errors, others every time."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import tiny_base as tiny

from assistant.errors import InvalidInputError
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.loading import open_classifier
from assistant.models.tokens import ModelTokenizer
from training import run as running
from training.fitting import example
from training.loop import Example
from training.recipe import make_recipe
from training.reporting import Silent
from training.slips import Mistyped, typing_errors

TEXTS = [text for texts in tiny.INTENTS.values() for text in texts] * 40


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def rows(share: float, seed: int = 3) -> tuple[list[Example], Mistyped]:
    vocabulary = build_tokenizer(tiny.weights().vocabulary)
    tokenizer = ModelTokenizer(vocabulary, 48, "query: ", "passage: ")
    items = tokenizer.texts(TEXTS)
    plain = [example(item, labels=n, teacher=[0.5]) for n, item in enumerate(items)]
    return plain, Mistyped(plain, TEXTS, tokenizer.text, share, seed)


def changed(plain: list[Example], read: list[Example]) -> list[int]:
    return [
        n for n, row in enumerate(read) if list(row["input_ids"]) != list(plain[n]["input_ids"])
    ]


def test_a_share_of_the_rows_is_mistyped_and_says_the_same() -> None:
    plain, all_of_them = rows(1.0)
    _, half = rows(0.5)
    most, some = changed(plain, list(all_of_them)), changed(plain, list(half))
    assert 0.4 < len(some) / len(most) < 0.6
    for row, own in zip(all_of_them, plain, strict=True):
        assert (row["labels"], row["teacher"]) == (own["labels"], own["teacher"])
        assert row["item"].tokens.ids is row["input_ids"]


def test_slips_differ_each_time_and_repeat_with_the_seed() -> None:
    plain, first = rows(1.0)
    once, again = changed(plain, list(first)), changed(plain, list(first))
    assert once != again
    _, same = rows(1.0)
    assert changed(plain, list(same)) == once
    assert changed(plain, list(rows(0.0)[1])) == []
    assert [row["labels"] for row in first[2:5]] == [2, 3, 4]


def test_a_model_that_met_slips_reads_them_better(base: Path, tmp_path: Path) -> None:
    found = {}
    for share in (0.0, 0.7):
        folder = tmp_path / f"{share}"
        folder.mkdir()
        settings = tiny.settings(folder)
        wanted = tiny.intent_recipe(base, folder, "tiny", train={"slips": share, "epochs": 12})
        running.run(wanted, settings, Silent(), promote=True)
        served = open_classifier(settings, "intent")
        random = Random(11)
        asked = [
            (typing_errors(typing_errors(text, random), random), label)
            for label, texts in tiny.INTENTS.items()
            for text in texts * 60
        ]
        said = served.classify([text for text, _ in asked])
        found[share] = sum(p.label == label for p, (_, label) in zip(said, asked, strict=True))
        served.close()
    assert found[0.7] > found[0.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": {"task": "tagger", "name": "t"}},
        {"tuning": {"method": "few_shot"}},
        {"records": {"synthetic": 100}},
    ],
)
def test_where_none_are_made_they_are_refused(changes: dict[str, Any]) -> None:
    values = {"recipe": {"task": "classifier", "name": "c"}, "train": {"slips": 0.5}}
    assert make_recipe(values, "here").train.slips == 0.5
    with pytest.raises(InvalidInputError, match=r"train\.slips is 0\.5, but"):
        make_recipe({**values, **changes}, "here")
