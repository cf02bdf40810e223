"""Draw docs/images/architecture.svg from the layers in .importlinter.

`python scripts/picture.py` rewrites it; tests/test_docs.py checks that nothing would change, so the
picture cannot show a layer that is not there or leave one out.
"""

from __future__ import annotations

import configparser
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

# What each layer does; a layer without a line here is an error, not an empty box.
MEANING = {
    "training": "",
    "__main__": "",
    "cli": "the command line; one module a command",
    "commands": "",
    "web": "page, HTTP API, uploads",
    "batch": "tables in, tables out",
    "streaming": "tables through a model",
    "resumable": "",
    "batch_input": "",
    "batch_journal": "",
    "tables": "safe CSV and JSON Lines",
    "runtime": "wires the parts together, once",
    "following": "",
    "switching": "",
    "answering": "",
    "evidence_models": "",
    "intents": "",
    "dialogue": "retrieve, rerank, read, decide, cite",
    "ingest": "files into collections, report per file",
    "knowledge": "search over what a request may see",
    "live": "",
    "evidence": "",
    "preparing": "",
    "encoding": "",
    "models": "ONNX inference, registry",
    "storage": "SQL: the source of truth",
    "evaluation": "metrics with intervals",
    "records": "",
    "types": "the values all parts share",
    "settings": "environment variables",
    "errors": "value, limit, remedy",
    "gate": "",
    "indexes": "load, chunk, dense and lexical search; knows nothing of the service",
}
WIDTH, ROW, GAP, LEFT, TOP = 760, 58, 16, 20, 54
STYLE = """
  text { font-family: system-ui, sans-serif; fill: #1f2933; }
  .name { font-size: 15px; font-weight: 600; }
  .what { font-size: 12px; fill: #52606d; }
  .side { font-size: 12px; fill: #52606d; }
  .box { fill: #eef4fb; stroke: #7b9ccf; rx: 8; }
  .out { fill: #fff8e6; stroke: #d9a520; rx: 8; }
  .arrow { stroke: #52606d; stroke-width: 1.5; marker-end: url(#tip); }
"""


def layers() -> list[list[str]]:
    """Return the rows of the picture, top first, as named in .importlinter."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".importlinter", encoding="utf-8")
    lines = config["importlinter:contract:layers"]["layers"].split("\n")
    rows = []
    for line in filter(None, map(str.strip, lines)):
        names = [part.strip(" ()").removeprefix("assistant.") for part in line.split("|")]
        shown = [name for name in names if MEANING[name]]
        if shown:
            rows.append(shown)
    return rows


def draw(rows: list[list[str]]) -> str:
    """Return the SVG: one row a layer, arrows from who imports to who is imported."""
    inner = WIDTH - 2 * LEFT
    height = TOP + len(rows) * (ROW + GAP) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img" '
        'aria-label="Layers: each may import only those below it">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0 8 4 0 8z" fill="#52606d"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text class="side" x="{LEFT}" y="26">Each layer may import only those below it. '
        "The same path answers the page, the API, the command line and batches.</text>",
    ]
    for index, names in enumerate(rows):
        y = TOP + index * (ROW + GAP)
        each = (inner - GAP * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            x = LEFT + place * (each + GAP)
            parts += _box(name, x, y, each)
        if index:
            middle = WIDTH / 2
            parts.append(
                f'<line class="arrow" x1="{middle}" y1="{y - GAP}" x2="{middle}" y2="{y - 2}"/>'
            )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _box(name: str, x: float, y: float, width: float) -> list[str]:
    kind = "out" if name in {"storage", "indexes"} else "box"
    return [
        f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW}"/>',
        f'<text class="name" x="{x + 14:.1f}" y="{y + 24}">{escape(name)}</text>',
        f'<text class="what" x="{x + 14:.1f}" y="{y + 43}">{escape(MEANING[name])}</text>',
    ]


if __name__ == "__main__":
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    PICTURE.write_text(draw(layers()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")
