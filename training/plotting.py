"""How plots look: light, legible, drawn without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LINE = "#1f5fa8"
MUTED = "#9aa5b1"
ACCENT = "#c2571a"
_DPI = 144


def figure(*, columns: int = 1, rows: int = 1, title: str = "", height: float = 3.2) -> Any:
    """Return a figure and its panels in one list, row by row. No window is opened."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    whole = Figure(figsize=(4.6 * columns, height * rows), layout="constrained", facecolor="white")
    FigureCanvasAgg(whole)
    panels = [whole.add_subplot(rows, columns, n + 1) for n in range(rows * columns)]
    for panel in panels:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color="#e3e7eb", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=9)
    if title:
        whole.suptitle(title, x=0.01, ha="left", fontsize=11)
    return whole, panels


def save(whole: Any, path: Path) -> Path:
    """Write the figure as PNG, without a time stamp, and return where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.savefig(path, dpi=_DPI, metadata={"Software": None})
    return path
