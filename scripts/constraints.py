"""Rewrite constraints.txt from the environment the tests just passed in.

`.venv/bin/python scripts/constraints.py` pins what pyproject.toml needs, directly or through
others, and nothing else that happens to be installed. What one environment cannot hold at once (the
CUDA build of onnxruntime) is pinned by hand in constraints-extra.txt.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRA = ROOT / "scripts" / "constraints-extra.txt"
ELSEWHERE = {"gpu", "generator-gpu"}


def wanted() -> Iterator[Requirement]:
    """Yield the project's own requirements."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    yield from map(Requirement, project["dependencies"])
    for name, texts in project["optional-dependencies"].items():
        if name not in ELSEWHERE:
            yield from map(Requirement, texts)


def closure() -> dict[str, str]:
    """Return name to version of everything needed. Raises ``PackageNotFoundError``."""
    pins: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    waiting = list(wanted())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) in done:
                continue
            done.add((name, extra))
            package = distribution(name)
            # Without the local part: which build of torch it is depends on the machine.
            pins[name] = package.version.partition("+")[0]
            for text in package.requires or []:
                below = Requirement(text)
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    waiting.append(below)
    return pins


def main() -> None:
    """Write the file."""
    try:
        pins = closure()
    except PackageNotFoundError as error:
        sys.exit(f"{error.name} is not installed: run make setup first")
    lines = ["# The versions the tests passed with; scripts/constraints.py rewrites this file."]
    lines += [f"{name}=={version}" for name, version in sorted(pins.items())]
    lines += [
        "",
        "# Not in the environment for serving.",
        EXTRA.read_text(encoding="utf-8").strip(),
    ]
    (ROOT / "constraints.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(pins)} versions pinned\n")


if __name__ == "__main__":
    main()
