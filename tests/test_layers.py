"""The layers hold: imports point one way, and a plain import stays light."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "gradio", "onnxruntime", "faiss", "fastapi", "sqlalchemy", "onnx"}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after ``statement``."""
    script = (
        f"{statement}\nimport sys, json\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    [
        "import assistant",
        "import assistant.types, assistant.errors, assistant.settings",
        "import assistant.cli, assistant.batch, assistant.tables",
        "import assistant.runtime",
        "import indexes, indexes.types",
    ],
)
def test_importing_stays_light(statement: str) -> None:
    heavy = HEAVY - ({"sqlalchemy"} if "runtime" in statement else set())
    assert loaded_by(statement) & heavy == set()


def test_the_web_needs_no_training_libraries() -> None:
    loaded = loaded_by("import assistant.web.api")
    assert "fastapi" in loaded
    assert loaded & {"torch", "transformers"} == set()


def test_import_directions(root: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_a_wrong_import_would_be_caught(root: Path, tmp_path: Path) -> None:
    """The contracts themselves work: an index module that imports the service breaks them."""
    for package in ("assistant", "indexes", "training"):
        for file in (root / package).rglob("*.py"):
            copy = tmp_path / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
    (tmp_path / ".importlinter").write_bytes((root / ".importlinter").read_bytes())
    types = tmp_path / "indexes" / "types.py"
    types.write_text(types.read_text() + "\nimport assistant.runtime\nimport torch\n")
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1
    assert "indexes.types -> assistant.runtime" in done.stdout
    assert "indexes.types -> torch" in done.stdout


def test_every_part_has_its_layer(root: Path) -> None:
    rules = (root / ".importlinter").read_text(encoding="utf-8")
    section = rules.partition("[importlinter:contract:layers]")[2].partition("[importlinter")[0]
    named = set(re.findall(r"assistant\.(\w+)", section))
    parts = {path.stem for path in (root / "assistant").iterdir() if path.suffix in {"", ".py"}}
    assert parts - named - {"__init__", "__pycache__"} == set()


def test_files_stay_short(root: Path) -> None:
    long = {
        str(file.relative_to(root)): count
        for package in ("assistant", "indexes")
        for file in (root / package).rglob("*.py")
        if (count := len(file.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}


def test_every_dependency_is_pinned(root: Path) -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = {
        canonicalize_name(line.partition("==")[0]): line.partition("==")[2]
        for line in lines
        if "==" in line
    }
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    for text in wanted:
        requirement = Requirement(text)
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{text}: no pin in constraints.txt; run scripts/constraints.py"
        assert requirement.specifier.contains(pin), f"{text}: pinned at {pin}"
