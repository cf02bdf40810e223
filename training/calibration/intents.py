"""Fit when a question has a tenant's intent: ``python -m training.calibration.intents DATA``.

DATA is a folder of the public sets named in ``SETS``. Tenants are played: a few labels of a set,
five examples of each, and the rest of the set as questions of something else; their usual questions
are the set's own, or the general ones of a tenant without an FAQ. The figures come from fits that
have not seen the set they are measured on; ``--write`` stores the fit of all.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from assistant.dialogue.intents import FEATURES, Centre, Space
from assistant.models.encoder import Encoder
from assistant.models.loading import load_encoder
from assistant.models.unlike import general_questions
from assistant.settings import Settings
from indexes.language import detect_language
from indexes.types import FloatArray

TARGET = Path(__file__).parents[2] / "assistant" / "dialogue" / "intents.json"
EXAMPLES = 5
_LABELS = (1, 5, 15)
_TENANTS = 6
_QUESTIONS = 1000
_USUAL = 150
_FEWEST = 8


@dataclass(frozen=True)
class Set:
    """A set of labelled questions: where it is, and what its columns are called."""

    file: str
    text: str
    label: tuple[str, ...]


SETS = {
    "banking77": Set("banking77/train.csv", "text", ("category",)),
    "clinc150": Set("clinc150/train.jsonl", "text", ("intent",)),
    "smp2019_nlu": Set("smp2019_nlu/train.jsonl", "text", ("domain", "intent")),
    "insuranceqa_zh": Set("insuranceqa_questions/train.jsonl", "zh", ("domain",)),
}


@dataclass(frozen=True)
class Cases:
    """What played tenants saw of one set: features (n, 3), whether the nearest intent was right,
    and whether the question had any of the intents."""

    features: FloatArray
    right: NDArray[np.bool_]
    inside: NDArray[np.bool_]


def main() -> int:
    """Fit, print what fits reach on sets they have not seen, store the fit of all."""
    parser = argparse.ArgumentParser(prog="python -m training.calibration.intents")
    parser.add_argument("data", type=Path)
    parser.add_argument("--write", action="store_true", help="replace the packaged fit")
    options = parser.parse_args()
    encoder = load_encoder(Settings())
    cases = {name: played(options.data, one, encoder) for name, one in SETS.items()}
    report = {
        name: judged(fitted([c for other, c in cases.items() if other != name]), cases[name])
        for name in cases
    }
    model = fitted(list(cases.values()))
    stored: dict[str, Any] = {
        "encoder": encoder.fingerprint,
        "features": list(FEATURES),
        "weights": [round(float(weight), 5) for weight in model.coef_[0]],
        "bias": round(float(model.intercept_[0]), 5),
        "held_aside": report,
    }
    version = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:12]
    if options.write:
        text = json.dumps({"version": version, **stored}, indent=1) + "\n"
        TARGET.write_text(text, encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


def played(data: Path, one: Set, encoder: Encoder) -> Cases:
    """Return what tenants with a few labels of the set see of its questions."""
    rows = read(data, one)
    random = np.random.default_rng(7)
    order = random.permutation(len(rows))
    asked, rest = order[:_QUESTIONS], order[_QUESTIONS:]
    usual = random.choice(rest, _USUAL, replace=False)
    texts = [text for text, _ in rows]
    labels = np.array([label for _, label in rows])
    asking = general_questions()
    spoken = [detect_language(text) for text in asking]
    general = encoder.encode_queries(asking)
    centre = Centre(general, spoken)
    general = centre(general, spoken)
    vectors = centre(encoder.encode_queries(texts), [detect_language(text) for text in texts])
    known = [str(n) for n in np.unique(labels[rest]) if (labels[rest] == n).sum() >= _FEWEST]
    found: list[Cases] = []
    for count in _LABELS:
        for _ in range(_TENANTS):
            mine = random.choice(known, min(count, len(known) // 2), replace=False)
            examples = [
                vectors[random.choice(rest[labels[rest] == label], EXAMPLES, replace=False)]
                for label in mine
            ]
            for others in (vectors[usual], general):
                nearest = Space(examples, others).nearest(vectors[asked])
                given = mine[[place for place, _ in nearest]]
                found.append(
                    Cases(
                        np.array([values for _, values in nearest], dtype=np.float32),
                        given == labels[asked],
                        np.isin(labels[asked], mine),
                    )
                )
    return Cases(
        np.concatenate([c.features for c in found]),
        np.concatenate([c.right for c in found]),
        np.concatenate([c.inside for c in found]),
    )


def fitted(cases: list[Cases]) -> LogisticRegression:
    """Return the regression over all cases; every set has the same say."""
    weights = np.concatenate([np.full(len(c.right), 1.0 / len(c.right)) for c in cases])
    model = LogisticRegression(C=100.0, max_iter=5000)
    return model.fit(
        np.concatenate([c.features for c in cases]),
        np.concatenate([c.right for c in cases]),
        sample_weight=weights / weights.mean(),
    )


def judged(model: LogisticRegression, cases: Cases) -> dict[str, Any]:
    """Return how well probabilities tell right matches, and what is acted on at several."""
    chances = model.predict_proba(cases.features)[:, 1]
    acted = {}
    for least in (0.5, 0.7, 0.85):
        taken = chances >= least
        acted[f"{least:g}"] = {
            "precision": round(float(cases.right[taken].mean()), 3) if taken.any() else None,
            "recall": round(float((cases.right & taken).sum() / cases.inside.sum()), 3),
            "false_alarms": round(float(taken[~cases.inside].mean()), 4),
        }
    return {
        "nearest_accuracy": round(float(cases.right[cases.inside].mean()), 3),
        "auc": round(float(roc_auc_score(cases.right, chances)), 3),
        "acted_on": acted,
    }


def read(data: Path, one: Set) -> list[tuple[str, str]]:
    """Return the set's texts with their labels."""
    return [
        (row[one.text], "/".join(str(row[column]) for column in one.label))
        for row in _rows(data / one.file)
    ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            yield from csv.DictReader(file)
        else:
            yield from (json.loads(line) for line in file)


if __name__ == "__main__":
    raise SystemExit(main())
