"""The recipes that docs/training-tasks.md shows are recipes, and those it names are shipped."""

from __future__ import annotations

import re
import tomllib

import pytest
from support import ROOT

from training.recipe import RECIPES, make_recipe

PAGE = (ROOT / "docs" / "training-tasks.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
NAMED = sorted(set(re.findall(r"assistant train ([\w-]+)", PAGE)))


def test_there_is_a_recipe_for_each_task() -> None:
    tasks = {make_recipe(tomllib.loads(block), "docs").recipe.task for block in BLOCKS}
    assert tasks == {"reranker", "reader", "tagger", "multitask"}


@pytest.mark.parametrize("name", NAMED)
def test_named_recipes_are_shipped(name: str) -> None:
    assert (RECIPES / f"{name}.toml").is_file()
