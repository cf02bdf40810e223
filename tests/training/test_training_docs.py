"""Every command that docs/training.md shows runs, in the order of the page."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_base as tiny
from support import ROOT

from assistant.cli import cli
from assistant.models.store import ModelStore
from training.recipe import read_recipe

PAGE = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
BLOCKS = FENCE.findall(PAGE)
COMMANDS = [
    line
    for kind, block in BLOCKS
    if kind == "sh"
    for line in block.splitlines()
    if not line.startswith("make ")
]
TOML = [block for kind, block in BLOCKS if kind == "toml"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the recipe of the page, on a base that trains in a second."""
    folder = tmp_path_factory.mktemp("desk")
    base = tiny.base_folder(folder / "tiny")
    tiny.intent_csv(folder / "tickets.csv")
    (folder / "new.csv").write_text("text\nmy card is lost\nwhat is the fee\n", encoding="utf-8")
    small = f'[base]\nmodel = "{base}"\nlicence = "MIT"\n\n[export]\nmax_loss = 1.0\n\n'
    recipe = TOML[0].replace("[train]\n", small + "[train]\nlearning_rate = 2e-3\n")
    recipe = recipe.replace("at_least = 0.7", "at_least = 0.3\nbeat_current = false")
    recipe = recipe.replace('"our own"', '"our own"\nleaks = { near = false }')
    (folder / "tickets.toml").write_text(recipe, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ASSISTANT_DATA_DIR", str(folder / "data"))
        patch.setenv("ASSISTANT_DEVICE", "cpu")
        yield folder


def call(line: str, patch: pytest.MonkeyPatch) -> int:
    words = shlex.split(line, comments=True)
    if words[0] == "assistant":
        try:
            return int(cli.main(words[1:], standalone_mode=False) or 0)
        except SystemExit as end:
            return int(end.code or 0)
    assert words[:2] == ["python", "-m"]
    patch.setattr(sys, "argv", words[2:])
    try:
        runpy.run_module(words[2], run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
def test_every_command_runs(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(COMMANDS) >= 12
    for line in COMMANDS:
        assert call(line, monkeypatch) == 0, f"{line}\n{capsys.readouterr().err}"
    store = ModelStore(desk / "data" / "models")
    names = {model.name for model in store.models(task="intent")}
    assert {"tickets", "tickets-longer", "tickets-lora", "tickets-zero"} <= names
    assert "label" in (desk / "labelled.csv").read_text(encoding="utf-8")
    assert (desk / "compared" / "tickets-ways.png").is_file()
    assert (desk / "compared" / "tickets-ways.md").read_text("utf-8").count("\n") == 5


@pytest.mark.parametrize("block", TOML[1:], ids=lambda block: block.splitlines()[0])
def test_every_table_is_a_recipes(block: str, tmp_path: Path) -> None:
    """The other tables of the page, put beside the first recipe, are read without complaint."""
    first = TOML[0]
    own = re.findall(r"^\[(\w+)\]", block, re.M)
    for name in own:
        first = re.sub(rf"^\[{name}\].*?(?=^\[|\Z)", "", first, flags=re.M | re.S)
    (tmp_path / "r.toml").write_text(first + "\n" + block, encoding="utf-8")
    recipe = read_recipe(tmp_path / "r.toml")
    assert recipe.recipe.name == "tickets"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "training" / "recipes").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_shipped_recipe_is_read(path: Path) -> None:
    recipe = read_recipe(path)
    assert recipe.recipe.description
    digest = recipe.digest()
    assert read_recipe(path, ["train.epochs=0.5"]).digest() != digest


def test_what_the_page_says_of_the_recipes_holds() -> None:
    for name in re.findall(r"training/recipes/([\w-]+)\.toml", PAGE):
        assert (ROOT / "training" / "recipes" / f"{name}.toml").is_file(), name
