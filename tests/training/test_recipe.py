"""Recipes are read strictly and completely."""

from __future__ import annotations

from pathlib import Path

import pytest

from assistant.errors import InvalidInputError
from training.recipe import RECIPES, make_recipe, read_recipe, with_changes

MINIMAL = '[recipe]\ntask = "classifier"\nname = "mail"\n[data]\ntrain = "rows.csv"\n'


def write(folder: Path, text: str = MINIMAL) -> Path:
    path = folder / "mail.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_fill_what_is_not_said(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path))
    assert recipe.train.batch_size == 32
    assert recipe.tuning.method == "full"
    assert recipe.data is not None
    assert recipe.data.root == tmp_path.resolve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoch = 3\n", r"no key 'train.epoch'; did you mean 'epochs'\?"),
        ("[tuning]\nmetod = 'lora'\n", r"no key 'tuning.metod'; did you mean 'method'\?"),
        (
            "[heads.label]\npoling = 'mean'\n",
            r"no key 'heads.label.poling'; did you mean 'pooling'",
        ),
        ("[tunning]\nrank = 4\n", r"no key 'tunning'; did you mean 'tuning'\?"),
        ("[train]\nepochs = -1\n", r"train.epochs is -1"),
        ("[export]\nprecisions = ['fp16']\n", r"int8"),
        ("[train]\nbatch_size = 'big'\n", r"train.batch_size is 'big'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_recipe(write(tmp_path, MINIMAL + text))


def test_a_misspelt_data_key_is_named(tmp_path: Path) -> None:
    text = MINIMAL + "colums = {text = 'body'}\n"
    with pytest.raises(InvalidInputError, match=r"'data.colums'; did you mean 'columns'"):
        read_recipe(write(tmp_path, text))


def test_the_command_line_changes_values(tmp_path: Path) -> None:
    changes = ["train.epochs=7", "tuning.method=lora", "data.columns.label=kind", "data.train=[]"]
    with pytest.raises(InvalidInputError, match=r"data.train is empty"):
        read_recipe(write(tmp_path), changes)
    recipe = read_recipe(write(tmp_path), changes[:3])
    assert (recipe.train.epochs, recipe.tuning.method) == (7, "lora")
    assert recipe.data is not None
    assert recipe.data.columns.label == "kind"


@pytest.mark.parametrize("change", ["train.epochs", "=3", "recipe.task.kind=1"])
def test_a_change_that_is_none_is_refused(tmp_path: Path, change: str) -> None:
    with pytest.raises(InvalidInputError):
        read_recipe(write(tmp_path), [change])


def test_broken_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not readable TOML"):
        read_recipe(write(tmp_path, "[recipe\n"))
    (tmp_path / "mail.toml").write_bytes(b"\xff\xfe[")
    with pytest.raises(InvalidInputError, match="not readable TOML"):
        read_recipe(tmp_path / "mail.toml")


def test_an_unknown_recipe_names_the_shipped_ones() -> None:
    with pytest.raises(InvalidInputError, match="Shipped recipes"):
        read_recipe(Path("no-such-recipe"))


def test_any_value_changes_the_digest(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path))
    assert recipe.digest() == read_recipe(write(tmp_path)).digest()
    assert recipe.digest() != with_changes(recipe, {"train.epochs": 4}).digest()


def test_a_resolved_recipe_reads_back_as_itself(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path))
    assert make_recipe(recipe.resolved(), "again") == recipe


def test_every_shipped_recipe_reads() -> None:
    paths = sorted(RECIPES.glob("*.toml"))
    assert paths
    for path in paths:
        recipe = read_recipe(path)
        assert recipe.recipe.description, path.name
