"""Suspected label errors by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (2021).
The probabilities must be out of fold: predicted by a model that did not train on the row. Training
can give its own; ``out_of_fold_probabilities`` is a cheap default without a GPU.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assistant.errors import InvalidInputError
from training.data.rows import LabelledText

FloatMatrix = npt.NDArray[np.float64]
IntVector = npt.NDArray[np.int64]

MAX_FEATURES = 50_000
COMPONENTS = 200
"""Dimensions kept of the TF-IDF space (latent semantic analysis) for many classes."""
FEW_CLASSES = 20


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label is doubted. ``confidence`` is the model's probability of the given label,
    ``suggested_confidence`` that of the suggested one; both in [0, 1].
    """

    position: int
    given: str
    suggested: str
    confidence: float
    suggested_confidence: float
    source: str = ""
    text: str = ""


def confident_joint(probabilities: FloatMatrix, given: IntVector) -> npt.NDArray[np.int64]:
    """Return counts (k, k): rows labelled ``i`` that the model is confident are ``j``.

    ``probabilities`` (n, k) out of fold, rows sum to 1; ``given`` (n,) label indices. Confident
    means at least the mean probability of ``j`` among rows labelled ``j`` (the paper's threshold).
    """
    classes = probabilities.shape[1]
    confident = _confident_class(probabilities, given)
    known = confident >= 0
    joint = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(joint, (given[known], confident[known]), 1)
    return joint


def suspect_positions(probabilities: FloatMatrix, given: IntVector) -> IntVector:
    """Return the off-diagonal rows of the confident joint, the least probable label first.

    Shapes as in ``confident_joint``. Raises ``InvalidInputError`` where they do not fit.
    """
    _check(probabilities, given)
    confident = _confident_class(probabilities, given)
    doubted = np.flatnonzero((confident >= 0) & (confident != given))
    order: IntVector = np.argsort(probabilities[doubted, given[doubted]], kind="stable")
    found: IntVector = doubted[order]
    return found


def find_label_errors(
    rows: Sequence[LabelledText], probabilities: FloatMatrix, labels: Sequence[str]
) -> list[Suspect]:
    """Return rows whose label is doubted, most doubtful first.

    ``probabilities`` (n, k) out of fold, columns in the order of ``labels``. Rows must have exactly
    one label each, all in ``labels``; otherwise raises ``InvalidInputError``.
    """
    place = {label: index for index, label in enumerate(labels)}
    wrong = next((r for r in rows if len(r.labels) != 1 or r.labels[0] not in place), None)
    if wrong is not None:
        raise InvalidInputError(
            f"Label errors are looked for among rows of one known label; {wrong.source or 'a row'} "
            f"has {list(wrong.labels)}."
        )
    given = np.array([place[row.labels[0]] for row in rows], dtype=np.int64)
    confident = suspect_positions(probabilities, given)
    best = _confident_class(probabilities, given)
    return [
        Suspect(
            int(position),
            labels[int(given[position])],
            labels[int(best[position])],
            round(float(probabilities[position, given[position]]), 6),
            round(float(probabilities[position, best[position]]), 6),
            rows[int(position)].source,
            rows[int(position)].text,
        )
        for position in confident
    ]


def write_suspects(suspects: Sequence[Suspect], path: Path) -> None:
    """Write one JSON object a line, most doubtful first."""
    with path.open("w", encoding="utf-8") as stream:
        for suspect in suspects:
            stream.write(json.dumps(asdict(suspect), ensure_ascii=False) + "\n")


def out_of_fold_probabilities(
    rows: Sequence[LabelledText], labels: Sequence[str], *, folds: int = 5, seed: int = 13
) -> FloatMatrix:
    """Return probabilities (n, k) of TF-IDF character n-grams and logistic regression.

    Cross-validated by stratified folds; a label rarer than ``folds`` leaves fewer of them, and one
    with a single row raises ``InvalidInputError``.
    """
    place = {label: index for index, label in enumerate(labels)}
    given = np.array([place[row.labels[0]] for row in rows], dtype=np.int64)
    counts = np.bincount(given, minlength=len(labels))
    if counts.min() < 2:
        rare = labels[int(counts.argmin())]
        raise InvalidInputError(
            f"The label {rare!r} has {counts.min()} rows; cross-validation needs 2 of each."
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    split = StratifiedKFold(min(folds, int(counts.min())), shuffle=True, random_state=seed)
    model = LogisticRegression(C=10.0, max_iter=300)
    features = _features([row.text for row in rows], len(labels), seed)
    found: FloatMatrix = cross_val_predict(model, features, given, cv=split, method="predict_proba")
    return found


def _features(texts: Sequence[str], classes: int, seed: int) -> Any:
    """Return TF-IDF features, made dense and narrow where many classes would make the fit slow.

    Fitted on all folds at once: they see texts, never labels.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    features = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=MAX_FEATURES
    ).fit_transform(texts)
    if classes <= FEW_CLASSES or features.shape[1] <= 2 * COMPONENTS:
        return features
    return normalize(TruncatedSVD(COMPONENTS, random_state=seed).fit_transform(features))


def _confident_class(probabilities: FloatMatrix, given: IntVector) -> IntVector:
    """Return the likeliest class among those above their threshold, or -1."""
    classes = probabilities.shape[1]
    sums = np.zeros(classes)
    np.add.at(sums, given, probabilities[np.arange(len(given)), given])
    counts = np.bincount(given, minlength=classes)
    # A label without rows has no threshold; nothing can be confidently of it.
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    best: IntVector = above.argmax(axis=1).astype(np.int64)
    best[above.max(axis=1) < 0] = -1
    return best


def _check(probabilities: FloatMatrix, given: IntVector) -> None:
    if probabilities.ndim != 2 or len(probabilities) != len(given):
        raise InvalidInputError(
            f"Probabilities of shape {probabilities.shape} for {len(given)} rows; one row each."
        )
    if not np.isfinite(probabilities).all() or probabilities.min(initial=0) < 0:
        raise InvalidInputError("Probabilities must be finite and not negative.")
