"""Credit risk: the shipped text model beside logistic regression and gradient boosting.

    python -m benchmarks.risk

All three learn from the training rows of the recipe and are judged on its test rows: the text model
through the served int8 file, the other two from the same records as a table (one column a value of
a category, numbers scaled), with the settings of scikit-learn.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from assistant.evaluation import classification_report
from assistant.models.loading import open_classifier
from assistant.settings import Settings
from training.data.pipeline import prepare
from training.data.rows import LabelledText, Row
from training.recipe import RECIPES, read_recipe
from training.records import table

LABELS = ("bad", "good")
TABLE_MODELS = {
    "logistic regression": lambda: LogisticRegression(max_iter=2000),
    "gradient boosting": lambda: GradientBoostingClassifier(random_state=0),
}


def scores(truth: Sequence[str], bad: np.ndarray) -> dict[str, str]:
    """Return ROC AUC and calibration error of the probabilities that a credit turns out bad."""
    chances = np.stack([bad, 1 - bad], axis=1)
    found = classification_report(
        truth,
        [LABELS[int(chance < 0.5)] for chance in bad],
        probabilities=chances,
        labels=LABELS,
        positive="bad",
    ).metrics
    return {name: f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]" for name, m in found.items()
            if name in {"roc_auc", "ece", "accuracy", "brier"}}  # fmt: skip


def main() -> int:
    recipe = read_recipe(RECIPES / "shipped-risk-credit.toml", [])
    assert recipe.data is not None
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(recipe.data, "classify", Path(folder))
    train, test = _texts((*data.train, *data.valid)), _texts(data.test)
    truth = [row.labels[0] for row in test]
    result = {}
    for name, make in TABLE_MODELS.items():
        model = make_pipeline(DictVectorizer(), MaxAbsScaler(), make())
        model.fit([table(row.text) for row in train], [row.labels[0] for row in train])
        column = list(model.classes_).index("bad")
        chances = model.predict_proba([table(row.text) for row in test])[:, column]
        result[name] = scores(truth, chances)
    with closing(open_classifier(Settings(), "risk", "credit")) as served:
        given = served.classify([row.text for row in test])
    result["shipped text model"] = scores(truth, np.array([p.probabilities["bad"] for p in given]))
    json.dump({"train": len(train), "test": len(test), **result}, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def _texts(rows: Sequence[Row]) -> list[LabelledText]:
    return [row for row in rows if isinstance(row, LabelledText)]


if __name__ == "__main__":
    sys.exit(main())
