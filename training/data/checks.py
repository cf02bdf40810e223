"""Refuse or warn of rows from which nothing can be learnt, and labels that train does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from assistant.errors import InvalidInputError
from training.data.ledger import Ledger
from training.data.rows import Kind, Row, row_labels, row_texts
from training.data.spec import DataSpec

FEW_ROWS = 5
"""A label with fewer training rows is warned of."""


def require_rows(rows: Sequence[Row], ledger: Ledger, split: str = "train") -> None:
    """Raise ``InvalidInputError`` when no row of a split is left, saying where rows went."""
    if rows:
        return
    reasons = ", ".join(f"{n} × {reason}" for reason, n in ledger.rejected.most_common(5))
    raise InvalidInputError(
        f"data.{split} gives no usable row. "
        + (f"Rejected: {reasons}." if reasons else "The files are empty.")
    )


def require_learnable(rows: Sequence[Row], kind: Kind, spec: DataSpec, ledger: Ledger) -> None:
    """Raise ``InvalidInputError`` when training rows have one class, no entity or no answer."""
    counts = Counter(label for row in rows for label in row_labels(row))
    labels = sorted(counts)
    if kind == "classify" and len(labels) < (1 if spec.multi_label else 2):
        raise InvalidInputError(
            f"All {len(rows)} training rows have "
            + (f"one label, {labels[0]!r}" if labels else "no label")
            + "; a classifier needs two. Is columns.label the right column?"
        )
    if kind == "tag" and not labels:
        raise InvalidInputError(
            "No training row has an entity. Are columns.tags and columns.entities right?"
        )
    if kind == "read" and labels == ["no_answer"]:
        raise InvalidInputError("No training question has an answer; a reader needs some.")
    if kind == "pairs" and len(labels) == 1:
        ledger.warn(f"All training pairs have the label {labels[0]}.")
    rare = sorted((count, label) for label, count in counts.items() if count < FEW_ROWS)
    if rare and spec.per_label is None:
        shown = ", ".join(f"{label!r} ({count})" for count, label in rare[:8])
        ledger.warn(
            f"{len(rare)} labels have fewer than {FEW_ROWS} training rows: {shown}. Misspelt? "
            "data.label_map renames, data.labels keeps a closed set."
        )


def handle_unseen_labels(
    splits: dict[str, list[Row]], kind: Kind, spec: DataSpec, ledger: Ledger
) -> dict[str, dict[str, int]]:
    """Find labels of valid and test that no training row has; treat their rows as the spec asks.

    Returns them by split with their counts. ``splits`` is changed for ``unseen_labels = "reject"``;
    ``fail`` raises ``InvalidInputError``.
    """
    if kind not in ("classify", "tag"):
        return {}
    known = {label for row in splits["train"] for label in row_labels(row)}
    unseen: dict[str, dict[str, int]] = {}
    for name in ("valid", "test"):
        found = [label for row in splits[name] for label in row_labels(row) if label not in known]
        if not found:
            continue
        counts = Counter(found)
        unseen[name] = dict(counts)
        shown = ", ".join(f"{label!r} ({n})" for label, n in counts.most_common(5))
        message = f"{name} has labels that no training row has: {shown}"
        if spec.unseen_labels == "fail":
            raise InvalidInputError(
                f"{message}. Add training rows, rename with data.label_map, or set "
                "data.unseen_labels to reject or keep."
            )
        ledger.warn(f"{message}.")
        if spec.unseen_labels == "reject":
            splits[name] = _known_only(splits[name], known, ledger)
    return unseen


def _known_only(rows: Sequence[Row], known: set[str], ledger: Ledger) -> list[Row]:
    kept = []
    for row in rows:
        strange = [label for label in row_labels(row) if label not in known]
        if strange:
            ledger.reject(row.source, "label not in train", ", ".join(strange), row_texts(row)[0])
        else:
            kept.append(row)
    return kept
