"""The commands and keys that the guide of training data shows are those there are."""

from __future__ import annotations

import re
import tomllib

from data_helpers import topic_rows, write_csv
from support import ROOT

from training.data.command import main
from training.data.rows import KINDS
from training.data.spec import DataSpec

PAGE = (ROOT / "docs" / "training-data.md").read_text(encoding="utf-8")


def test_the_shown_command_is_understood(tmp_path, capsys):
    (line,) = re.findall(r"^python -m training\.data (.*)$", PAGE, re.M)
    write_csv(tmp_path / "t.csv", ["text", "label"], topic_rows(20))
    recipe = tmp_path / "RECIPE.toml"
    recipe.write_text(
        '[recipe]\ntask = "classifier"\nname = "t"\n[data]\ntrain = "t.csv"\n', encoding="utf-8"
    )
    words = re.sub(r"[\[\]]", "", line).split()
    words = [str(recipe) if word == "RECIPE.toml" else word for word in words]
    words = [str(tmp_path / "out") if word == "FOLDER" else word for word in words]
    assert main(words) == 0
    assert '"rows": 48' in capsys.readouterr().out


def test_the_examples_are_valid_data_tables():
    blocks = re.findall(r"```toml\n(\[data\]\n(?:.*\n)*?)```", PAGE)
    first, second = (DataSpec.model_validate(tomllib.loads(block)["data"]) for block in blocks)
    assert first.columns.group == "customer_id" and len(first.normalise.mask) == 4
    assert second.also[0].label_map["*"] == "out_of_scope"


def test_every_kind_and_section_is_described():
    for kind in KINDS:
        assert f"| `{kind}` (" in PAGE
    for name in ("normalise", "dedupe", "split", "leaks"):
        assert f"`[data.{name}]`" in PAGE


def test_the_defaults_in_the_text_are_the_defaults():
    spec = DataSpec(train=("x",))
    assert f"`valid = {spec.split.valid:g}`, `test = {spec.split.test:g}`" in PAGE
    assert f"`threshold = {spec.dedupe.threshold:g}`" in PAGE
    assert f"`limit = {spec.leaks.limit}`" in PAGE
    assert f"`normalise.max_chars` ({spec.normalise.max_chars:,})" in PAGE
