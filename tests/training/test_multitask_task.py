"""Several heads on one encoder: batches of one head, one pass, whole runs on a tiny base."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import tiny_rows

from assistant.errors import InvalidInputError
from assistant.evaluation import Metric
from assistant.models.classifier import Classifier
from assistant.models.loading import model_from, open_classifier, open_tagger
from assistant.models.manifest import read_manifest
from assistant.models.tagger import Tagger
from training import run as running
from training import several
from training.mixing import HeadBatches
from training.recipe import with_changes
from training.reporting import Silent
from training.tasks import multitask

LONG = {"epochs": 24, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path, **changes: Any) -> Any:
    tiny.intent_csv(folder / "rows.csv", copies=20)
    tiny_rows.tagged(folder / "tags.jsonl", 40)
    intents = tiny_rows.data(folder, "rows.csv", columns={"label": "intent"}, licence="CC-BY-4.0")
    heads = {
        "intent": {"kind": "classify", "data": intents},
        "tagger": {"kind": "tag", "data": tiny_rows.data(folder, "tags.jsonl")},
    }
    return tiny.recipe(base, "multitask", **{"heads": heads, "train": LONG, **changes})


def test_every_batch_is_of_one_head() -> None:
    sizes = [90, 700, 33]
    lengths = np.random.default_rng(0).integers(3, 60, sum(sizes)).tolist()
    sampler = HeadBatches(sizes, [1, 1, 1], 16, seed=1, lengths=lengths)
    drawn = list(sampler)
    assert len(drawn) == len(sampler)
    heads = np.searchsorted(np.cumsum(sizes), drawn, side="right").reshape(-1, 16)
    assert (heads == heads[:, :1]).all()
    assert tuple(Counter(heads[:, 0].tolist())[head] for head in range(3)) == tuple(sampler.batches)
    spread = np.ptp(np.array(lengths)[np.array(drawn)].reshape(-1, 16), axis=1).mean()
    assert spread < 25


def test_small_tables_are_drawn_more_often_than_their_share() -> None:
    plain = HeadBatches([100, 1600], [1, 1], 10, seed=1).batches
    assert plain == [round(170 / 9), round(170 * 8 / 9)]
    favoured = HeadBatches([100, 1600], [8, 1], 10, seed=1).batches
    assert favoured[0] == favoured[1]
    assert min(HeadBatches([1, 5000], [1, 1], 10, seed=1).batches) == 1


def test_epochs_differ_and_repeat() -> None:
    first, again = (HeadBatches([50, 60], [1, 1], 8, seed=3) for _ in range(2))
    before = list(first)
    assert before == list(again)
    first.set_epoch(1)
    assert before != list(first)
    assert set(before) <= set(range(110))


def test_mean_of_heads_and_its_interval() -> None:
    found = multitask.mean_of([Metric(0.8, 0.7, 0.9, 100), Metric(0.6, 0.5, 0.8, 50)])
    assert found.value == pytest.approx(0.7)
    assert found.low == pytest.approx(0.7 - math.sqrt(0.02) / 2)
    assert found.high == pytest.approx(0.7 + math.sqrt(0.05) / 2)
    assert found.n == 150


def test_from_two_tables_to_one_served_pass(base: Path, tmp_path: Path) -> None:
    settings, made = tiny.settings(tmp_path), recipe(base, tmp_path)
    outcome = running.run(made, settings, Silent(), promote=True)
    passport = outcome.passport
    found = passport.metrics["test"]
    assert outcome.version.ref == "multitask/tiny@v1"
    assert found["intent.accuracy"].value > 0.7
    assert found["tagger.f1"].value > 0.8
    assert found["mean"].value == pytest.approx(
        (found["intent.accuracy"].value + found["tagger.f1"].value) / 2, abs=1e-5
    )
    assert set(passport.data.licences) == {"CC-BY-4.0", "CC0-1.0", "MIT"}
    assert passport.gate.metric == "test.mean"
    text = "what is the loan rate at Acme Ltd in Paris 7"
    with closing(open_classifier(settings, "intent")) as one, closing(open_tagger(settings)) as two:
        alone = one.classify([text])[0], two.tag([text])[0]
    folder = outcome.version.part("int8")
    with closing(model_from(folder, read_manifest(folder), settings)) as model:
        heads = Classifier(model, "intent").classify_heads([text])
        assert heads["intent"][0] == alone[0]
        assert Tagger(model, "tagger").tag([text])[0] == alone[1]


def test_rows_know_their_head(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path)
    data = multitask.prepare(made, tmp_path / "data", Silent())
    intents, tags = several.of_head(data.train, "intent"), several.of_head(data.train, "tagger")
    assert len(intents) + len(tags) == len(data.train) == data.card.splits["train"].rows
    assert {several.head_of(row) for row in data.train[:20]} == {"intent", "tagger"}
    assert {source.name for source in data.card.sources} == {"rows.csv", "tags.jsonl"}
    again = multitask.prepare(made, tmp_path / "data", Silent())
    assert again.cached
    assert again.card.sha256 == data.card.sha256


def test_what_a_recipe_lacks_is_said(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path)
    alone = made.model_copy(update={"heads": {"intent": made.heads["intent"]}})
    empty = with_changes(made, {"heads.intent.data": None})
    for wrong, message in ((alone, "at least two"), (empty, "no data")):
        with pytest.raises(InvalidInputError, match=message):
            multitask.prepare(wrong, tmp_path / "data", Silent())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_learns(base: Path, tmp_path: Path, method: str) -> None:
    made = recipe(
        base,
        tmp_path,
        tuning={"method": method, "rank": 8, "layers": 1, "tokens": 4},
        train={**LONG, "head_learning_rate": 2e-2},
    )
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    assert outcome.passport.metrics["test"]["mean"].value > 0.5
