"""Write docs/decisions/README.md: one line for each decision page, from its first heading."""

from __future__ import annotations

import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "decisions"
INDEX = FOLDER / "README.md"
INTRO = """# Decisions

One page each: what was decided, why, and what was measured. A later page may replace an earlier one
and then says so; numbers are never reused.

"""


def index() -> str:
    """Return the page. Raises ``ValueError`` for a name or number that breaks the rules."""
    lines = []
    numbers: set[str] = set()
    for page in sorted(FOLDER.glob("*.md")):
        if page == INDEX:
            continue
        found = re.fullmatch(r"(\d{4})-[a-z0-9-]+\.md", page.name)
        if found is None or found[1] in numbers:
            raise ValueError(f"{page.name}: needs the form 0123-some-words.md and its own number")
        numbers.add(found[1])
        title = page.read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")
        title = re.sub(r"^(ADR[ -]?)?\d+[ .:·-]+", "", title)
        lines.append(f"- [{found[1]}]({page.name}) {title}\n")
    return INTRO + "".join(lines)


if __name__ == "__main__":
    INDEX.write_text(index(), encoding="utf-8")
    sys.stdout.write(f"{INDEX}\n")
