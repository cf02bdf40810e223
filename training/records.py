"""Records as text learn from models that read the same records as a table.

A few hundred records teach a text model little of what a number means. Table models learn it at
once; a text model learns it from them, on as many made-up records as it takes: model compression
with artificial data (Buciluǎ et al. 2006, doi:10.1145/1150402.1150464). A made-up record is one of
the training split in which each field may come from another (``records.swap``). The teacher is the
mean of a logistic regression and a random forest; it answers a real record only by models that
have not seen that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from assistant.errors import InvalidInputError
from assistant.records import FIELDS, NAME
from indexes.types import FloatArray
from training.data.rows import LabelledText
from training.sections import Records

Fields: TypeAlias = Mapping[str, str]
_FOLDS = 10
_TREES = 300
_LEAST = 1e-3


def fields(text: str) -> dict[str, str]:
    """Return the fields of a rendered record, in order (the reverse of ``render_record``).

    Raises InvalidInputError for a text that is no rendered record.
    """
    parts = [part.partition(NAME) for part in text.removesuffix(".").split(FIELDS)]
    if not all(middle for _, middle, _ in parts):
        raise InvalidInputError(
            f"records.synthetic is set, but this row is no record: {text[:60]!r}. Name the "
            "record's columns in data.columns.record, or set records.synthetic to 0."
        )
    return {name: value for name, _, value in parts}


def table(text: str) -> dict[str, str | float]:
    """Return a rendered record as a table model reads it: numbers as numbers."""
    return {name: _number(value) for name, value in fields(text).items()}


def taught(
    rows: Sequence[LabelledText], labels: Sequence[str], section: Records, seed: int
) -> tuple[FloatArray, list[str], FloatArray]:
    """Return the teacher's probabilities (n, labels) of ``rows``, the made-up records as texts, and
    its probabilities of those. Raises InvalidInputError for rows that are no records, or too few of
    a label to be told apart."""
    least = min(sum(label in row.labels for row in rows) for label in labels)
    if least < _FOLDS:
        raise InvalidInputError(
            f"records.synthetic needs at least {_FOLDS} training rows of every label; the rarest "
            f"has {least}. Add rows, or set records.synthetic to 0."
        )
    seen = [table(row.text) for row in rows]
    truth = [row.labels[0] for row in rows]
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    unseen = cross_val_predict(_teacher(seed), seen, truth, cv=folds, method="predict_proba")
    teacher = _teacher(seed).fit(seen, truth)
    texts = mixed([row.text for row in rows], section.synthetic, section.swap, seed)
    shares = teacher.predict_proba([table(text) for text in texts])
    order = [list(teacher.classes_).index(label) for label in labels]
    return _kept_off_zero(unseen[:, order]), texts, _kept_off_zero(shares[:, order])


def mixed(texts: Sequence[str], count: int, swap: float, seed: int) -> list[str]:
    """Return ``count`` rendered records, each one of ``texts`` with fields of others put in."""
    random = np.random.default_rng(seed)
    records = [fields(text) for text in texts]
    made = []
    for first in random.integers(len(records), size=count):
        record = dict(records[first])
        for name in record:
            other = records[random.integers(len(records))]
            if random.random() < swap and name in other:
                record[name] = other[name]
        made.append(FIELDS.join(f"{name}{NAME}{value}" for name, value in record.items()) + ".")
    return made


def _teacher(seed: int) -> Any:
    line = make_pipeline(DictVectorizer(), MaxAbsScaler(), LogisticRegression(max_iter=2000))
    forest = RandomForestClassifier(_TREES, min_samples_leaf=4, random_state=seed)
    trees = make_pipeline(DictVectorizer(), forest)
    return VotingClassifier([("line", line), ("trees", trees)], voting="soft")


def _kept_off_zero(shares: FloatArray) -> FloatArray:
    kept: FloatArray = np.clip(shares, _LEAST, 1).astype(np.float32)
    kept /= kept.sum(axis=1, keepdims=True)
    return kept


def _number(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value
