"""Fit the answers' confidence: ``python -m training.calibration DATA [--write]``.

DATA is a folder of the public sets named in ``cases.all_sets``. Every set becomes a knowledge base
through the product's own ingest; its questions go through the product's own retrieval, reranking,
reading and drafting. There is a fit for retrieval alone, one with the reranker and one with both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from assistant.dialogue.confidence import ALL_PARTS, Parts, features_of
from assistant.models.shipped import ensure
from assistant.settings import Settings
from training.calibration.cases import SEED
from training.calibration.fit import fit
from training.calibration.gather import Gathered, gather

_TARGET = Path(__file__).parents[2] / "assistant" / "dialogue" / "calibration.json"
_ROLES: dict[Parts, tuple[str, ...]] = {
    "retrieval": ("encoder",),
    "reranker": ("encoder", "reranker"),
    "reader": ("encoder", "reranker", "reader"),
}


def main() -> int:
    """Run the recipe; print the held-aside figures; store them with ``--write``."""
    parser = argparse.ArgumentParser(prog="python -m training.calibration", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=800, help="at most, of each set")
    parser.add_argument("--write", action="store_true", help="replace the packaged calibration")
    parser.add_argument("--samples", type=Path, help="also keep the features here (npz)")
    options = parser.parse_args()
    settings = Settings()
    for task in ("reranker", "reader"):
        ensure(settings, task)
    gathered = gather(
        options.data, options.questions, settings, lambda m: print(m, file=sys.stderr, flush=True)
    )
    if options.samples:
        _keep(gathered, options.samples)
    fits = {parts: _fitted(gathered, parts) for parts in ALL_PARTS}
    if options.write:
        _TARGET.write_text(json.dumps(fits, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({parts: one["held_aside"] for parts, one in fits.items()}, indent=1))
    return 0


def _fitted(gathered: Gathered, parts: Parts) -> dict[str, Any]:
    ways, (faq, grounded) = gathered.ways[parts], features_of(parts)
    by_faq = fit(ways.faq.samples(), faq, SEED)
    by_text = fit(ways.grounded.samples(), grounded, SEED)
    models = {role: gathered.models[role] for role in _ROLES[parts]}
    stored = {"models": models, "faq": by_faq.stored, "grounded": by_text.stored}
    version = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:12]
    report = {"faq": by_faq.report, "grounded": by_text.report}
    return {"version": version, **stored, "held_aside": report}


def _keep(gathered: Gathered, path: Path) -> None:
    kept = {
        f"{parts}_{name}_{part}": np.array(getattr(getattr(ways, name), part))
        for parts, ways in gathered.ways.items()
        for name in ("faq", "grounded")
        for part in ("features", "right", "sets")
    }
    np.savez(path, **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    raise SystemExit(main())
