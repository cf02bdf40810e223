"""Fit the answers' confidence: ``python -m training.calibration DATA [--write]``.

DATA is a folder of the public sets named in ``cases.all_sets``. Every set becomes a knowledge base
through the product's own ingest; its questions go through the product's own retrieval, reranking,
reading and drafting. There is a fit of the entries, and of drafts from chunks one for retrieval
alone, one with the reranker and one with both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from assistant.dialogue.confidence import (
    ALL_PARTS,
    FAQ_FEATURES,
    Parts,
    grounded_features_of,
)
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
    gathered = _gathered(options.data, options.questions)
    if options.samples:
        _keep(gathered, options.samples)
    entries = fit(gathered.faq.samples(), FAQ_FEATURES, SEED)
    faq = {**entries.stored, "held_aside": entries.report}
    fits = {"faq": faq} | {parts: _fitted(gathered, parts, faq) for parts in ALL_PARTS}
    if options.write:
        _TARGET.write_text(json.dumps(fits, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: one["held_aside"] for name, one in fits.items()}, indent=1))
    return 0


def _gathered(data: Path, questions: int) -> Gathered:
    """Ask all questions, with the models that ship whatever this machine has in use."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder))
        for task in ("reranker", "reader"):
            ensure(settings, task)
        return gather(data, questions, settings, lambda m: print(m, file=sys.stderr, flush=True))


def _fitted(gathered: Gathered, parts: Parts, faq: dict[str, Any]) -> dict[str, Any]:
    drafts = fit(gathered.grounded[parts].samples(), grounded_features_of(parts), SEED)
    models = {role: gathered.models[role] for role in _ROLES[parts]}
    stored = {"models": models, "grounded": drafts.stored}
    text = json.dumps({**stored, "faq": faq}, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {"version": version, **stored, "held_aside": drafts.report}


def _keep(gathered: Gathered, path: Path) -> None:
    rows = {"faq": gathered.faq} | {f"{p}_grounded": one for p, one in gathered.grounded.items()}
    kept = {
        f"{name}_{part}": np.array(getattr(one, part))
        for name, one in rows.items()
        for part in ("features", "right", "sets")
    }
    np.savez(path, **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    raise SystemExit(main())
