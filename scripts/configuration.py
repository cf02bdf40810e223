"""Write the table of docs/configuration.md from the settings class.

`python scripts/configuration.py` rewrites it; tests/test_docs.py checks that nothing would change.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from assistant.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->\n"
DEFAULTS = {"data_dir": "your user data folder", "cache_dir": "your user cache folder"}


def table() -> str:
    """Return the Markdown table of every setting."""
    lines = ["| Variable | Default | Allowed | Meaning |", "|---|---|---|---|"]
    for name, info in Settings.model_fields.items():
        shown = DEFAULTS.get(name) or _code(info.get_default(call_default_factory=True))
        cells = (f"`ASSISTANT_{name.upper()}`", shown, _allowed(info), info.description or "")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _code(value: object) -> str:
    return f"`{value}`" if value != "" else "empty"


def _allowed(info: Any) -> str:
    if get_origin(info.annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(info.annotation))
    bounds = []
    for rule in info.metadata:
        if isinstance(rule, Ge | Gt):
            bounds.append(f"≥ {rule.ge:,}" if isinstance(rule, Ge) else f"> {rule.gt}")
        if isinstance(rule, Le | Lt):
            bounds.append(f"≤ {rule.le:,}" if isinstance(rule, Le) else f"< {rule.lt}")
    kind = getattr(info.annotation, "__name__", str(info.annotation)).lower()
    words = {"int": "whole number", "float": "number", "str": "text", "path": "folder"}
    return " ".join([words.get(kind, kind), ", ".join(bounds)]).strip()


def updated(page: str) -> str:
    """Return the page with the table between its marks replaced."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}: {len(Settings.model_fields)} settings\n")
