"""Ways of tuning are compared on what their passports say; a finished one is not run again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import tiny_base as tiny
from PIL import Image

from assistant.errors import InvalidInputError
from assistant.models.passport import Figure
from training.comparing import Result, compare, plot, recipe_for, table
from training.recipe import Recipe


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path) -> Recipe:
    export = {"max_loss": 1.0}
    return tiny.intent_recipe(base, folder, "ways", tuning={"layers": 1}, export=export)


def test_each_way_is_a_version_and_is_run_once(base: Path, tmp_path: Path) -> None:
    settings, wanted = tiny.settings(tmp_path), recipe(base, tmp_path)
    metric, results = compare(wanted, settings, ["lora", "zero_shot", "prompt"])
    assert metric == "test.accuracy"
    lora, zero, prompt = results
    assert (lora.way, zero.way, prompt.way) == ("LoRA", "zero-shot", "prompt")
    assert zero.trainable == 0
    assert 0 < prompt.trainable < lora.trainable
    assert lora.saved_bytes > zero.saved_bytes > 0
    started = time.perf_counter()
    assert compare(wanted, settings, ["lora", "zero_shot", "prompt"])[1] == results
    assert time.perf_counter() - started < 2, "read from the passports"
    _, finished = compare(wanted, settings, ["full", "lora", "prompt"], train=False)
    assert finished == [lora, prompt]
    with pytest.raises(InvalidInputError, match="no result to compare"):
        compare(wanted, settings, ["full"], train=False)


def test_an_unknown_way_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no way of tuning 'lara'"):
        compare(recipe(base, tmp_path), tiny.settings(tmp_path), ["lara"])


def test_a_way_that_cannot_run_is_left_out(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The tiny base has two layers; taking more of them is refused.
    wanted = recipe(base, tmp_path)
    from training import comparing

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(comparing.WAYS, "top_layers", {"tuning.layers": 9})  # type: ignore[arg-type]
        _, results = compare(wanted, tiny.settings(tmp_path), ["top_layers", "zero_shot"])
    assert [result.way for result in results] == ["zero-shot"]
    assert "left out" in caplog.text


def test_the_settings_of_a_way_reach_its_recipe(base: Path, tmp_path: Path) -> None:
    few = recipe_for(recipe(base, tmp_path), "few_shot")
    assert few.recipe.name == "ways-few-shot"
    assert few.data is not None
    assert few.data.per_label == 10
    assert few.tuning.method == "few_shot"


def test_pairs_have_ways_of_their_own(base: Path, tmp_path: Path) -> None:
    """The base as it is stands for zero-shot: nothing is saved that differs from it."""
    lines = ["question,answer"]
    lines += [
        f"what is the fee {word} {n},the fee of {word} is {n}" for n, word in enumerate(tiny.WORDS)
    ]
    (tmp_path / "faq.csv").write_text("\n".join(lines), encoding="utf-8")
    data = {
        "root": str(tmp_path),
        "train": "faq.csv",
        "columns": {"text_a": "question", "text_b": "answer"},
        "split": {"valid": 0.2, "test": 0.3},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
    }
    about = {"task": "encoder", "name": "faq", "seed": 5}
    wanted = tiny.recipe(
        base, "encoder", recipe=about, data=data, export={"max_loss": 1.0}, train={"epochs": 1}
    )
    metric, (untouched, lora) = compare(wanted, tiny.settings(tmp_path), ["zero_shot", "lora"])
    assert metric == "test.mrr_at_10"
    assert untouched.way == "base, untouched"
    assert (untouched.trainable, untouched.rows) == (0, 0)
    assert untouched.saved_bytes < 2000 < lora.saved_bytes


RESULTS = [
    Result("full", Figure(0.9, 0.88, 0.92, 500), 21_000_000, 120.0, 85_000_000, 3000),
    Result("zero-shot", Figure(0.5, 0.45, 0.55, 500), 0, 0.4, 120_000, 0),
]


def test_the_table_says_what_was_measured() -> None:
    lines = table(RESULTS, "test.accuracy").splitlines()
    assert lines[2] == ("| full | 0.900 [0.880, 0.920] | 3,000 | 21,000,000 | 120 | 85.0 MB |")
    assert lines[3] == "| zero-shot | 0.500 [0.450, 0.550] | 0 | 0 | 0 | 120 kB |"


def test_the_plot_is_light_and_wide(tmp_path: Path) -> None:
    path = plot(RESULTS, "test.accuracy", "intent/ways", tmp_path / "deep" / "ways.png")
    with Image.open(path) as image:
        assert image.size[0] > 1500
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
