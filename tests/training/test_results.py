"""The table of results tells what the passports say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tiny_base as tiny
from test_run import recipe

from training import run as running
from training.reporting import Silent
from training.results import COLUMNS


def test_the_table_has_the_figures_of_the_passport(tmp_path: Path) -> None:
    base = tiny.base_folder(tmp_path / "tiny")
    outcome = running.run(recipe(base, tmp_path), tiny.settings(tmp_path), Silent())
    command = [sys.executable, "-m", "training.results", str(tiny.settings(tmp_path).data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    head, _, *rows = done.stdout.splitlines()
    assert head == f"| {' | '.join(COLUMNS)} |"
    (line,) = rows
    figure = outcome.passport.metrics["test"]["accuracy"]
    assert "intent/tiny@v1" in line
    assert f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}], n = {figure.n}" in line
