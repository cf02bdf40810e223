"""The guide's examples on real data: each is run, and its counts are those of the table."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from training.data.pipeline import prepare
from training.data.rows import KINDS
from training.data.spec import DataSpec
from training.data.storage import Prepared

PAGE = ROOT / "docs" / "training-data.md"


def blocks(text: str) -> dict[str, dict[str, Any]]:
    """Set name to the keys of the example that begins with it in a comment."""
    found = re.findall(r"```toml\n# (\w+): .*\n((?:.*\n)*?)```", text)
    return {name: tomllib.loads(body) for name, body in found}


def run(block: dict[str, Any], dev_data: Path, out: Path) -> Prepared:
    values = dict(block)
    kind = values.pop("kind")
    assert kind in KINDS
    values["root"] = dev_data / values["root"]
    return prepare(DataSpec.model_validate(values), kind, out)


def measured(name: str, block: dict[str, Any], dev_data: Path, out: Path) -> str:
    """The row of the guide's table."""
    card = run(block, dev_data, out).card
    removed = dict(card.removed)
    exact = removed.pop("duplicate", 0) + removed.pop("duplicate with another label", 0)
    near = removed.pop("near-duplicate", 0)
    leaking = removed.pop("leaks into an evaluation set", 0)
    cells = [
        f"{name} ({block['kind']})",
        f"{sum(source.rows_read for source in card.sources):,}",
        " / ".join(f"{split.rows:,}" for split in card.splits.values()),
        f"{exact} / {near} / {card.duplicates['conflicts']}",
        str(leaking),
        ", ".join(f"{count} {what}" for what, count in sorted(removed.items())) or "–",
        ", ".join(f"{count} {what}" for what, count in sorted(card.mended.items())) or "–",
        f"`{card.sha256[:12]}`",
    ]
    return "| " + " | ".join(cells) + " |"


def sets() -> dict[str, dict[str, Any]]:
    return blocks(PAGE.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sets())
def test_the_counts_in_the_guide_are_what_comes_out(name, dev_data, tmp_path):
    row = measured(name, sets()[name], dev_data, tmp_path)
    assert row in PAGE.read_text(encoding="utf-8").splitlines()
