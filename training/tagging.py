"""From tagged sentences to labels of sub-tokens, as the served tagger will read them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assistant.errors import InvalidInputError
from assistant.evaluation.entities import EntitySpan, entity_spans
from assistant.models.heads import HeadSpec
from assistant.models.spans import token_spans
from assistant.models.tagger import Entity, TagRules
from assistant.models.tokens import ModelTokenizer, Windowed
from training.data.rows import Row, TaggedText
from training.fitting import example
from training.loop import Example
from training.serving import bare

IGNORED = -100
"""Label of tokens that teach nothing: special ones, the prefix, padding."""
OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class Scores:
    """Micro-averaged scores of whole entities, in [0, 1]."""

    precision: float
    recall: float
    f1: float


def tagged(rows: Iterable[Row]) -> list[TaggedText]:
    """Return the rows that are tagged sentences with any text."""
    return [row for row in rows if isinstance(row, TaggedText) and row.text.strip()]


def make_head(name: str, rows: Sequence[TaggedText], known: Sequence[str] = ()) -> HeadSpec:
    """Return the head for the types in ``rows``; ``known`` labels (a parent's) keep their places.

    Raises InvalidInputError when no row has an entity.
    """
    types = Counter(span.label for row in rows for span in entity_spans(row.tags))
    if not types:
        raise InvalidInputError(
            f"None of the {len(rows)} training rows has an entity, so there is nothing to learn. "
            "Check data.columns.tags or data.columns.entities."
        )
    labels = [OUTSIDE, *(f"{prefix}-{kind}" for kind in sorted(types) for prefix in "BI")]
    new = [label for label in labels if label not in known]
    return HeadSpec(name=name, kind="token", labels=(*known, *new))


def character_spans(row: TaggedText) -> list[EntitySpan]:
    """Return a row's entities over the characters of its text."""
    return [
        EntitySpan(span.label, row.offsets[span.start][0], row.offsets[span.end - 1][1])
        for span in entity_spans(row.tags)
    ]


def examples(
    tokenizer: ModelTokenizer, rows: Sequence[TaggedText], head: HeadSpec, mark: str = ""
) -> list[Example]:
    """Return training rows, one a window of each text; ``labels`` int64 (tokens,).

    Each names its ``head`` as ``mark`` says, for a model with several.
    """
    values = {"head": mark} if mark else {}
    found = []
    for row, item in zip(rows, tokenizer.windows([row.text for row in rows]), strict=True):
        labels = sub_token_labels(row, item, head)
        for window in item.windows:
            own = np.full(len(window.tokens.ids), IGNORED, dtype=np.int64)
            inside = labels[window.start : window.start + window.count]
            own[window.lead : window.lead + window.count] = inside
            if window.count:
                found.append(example(bare(window.tokens), labels=own, **values))
    return found


def sub_token_labels(row: TaggedText, item: Windowed, head: HeadSpec) -> NDArray[np.int64]:
    """Return a label for each of the text's own sub-tokens, int64 (tokens,).

    The first sub-token that covers any of an entity is B, its others are I. A sub-token belongs to
    the entity that holds at least half of its characters; types the head does not know are O.
    """
    places = {label: place for place, label in enumerate(head.labels)}
    labels = np.full(len(item.offsets), places[OUTSIDE], dtype=np.int64)
    entities = [span for span in character_spans(row) if f"B-{span.label}" in places]
    if not entities:
        return labels
    spans = np.array(token_spans(row.text, item.offsets), dtype=np.int64).reshape(-1, 2)
    starts, ends = spans[:, 0], spans[:, 1]
    for entity in entities:
        shared = np.minimum(ends, entity.end) - np.maximum(starts, entity.start)
        inside = np.flatnonzero((shared * 2 >= ends - starts) & (shared > 0))
        if len(inside):
            # Sub-tokens of blanks alone cover nothing; within an entity they go on with it.
            labels[inside[0] : inside[-1] + 1] = places[f"I-{entity.label}"]
            labels[inside[0]] = places[f"B-{entity.label}"]
    return labels


def collate(pad: int) -> Any:
    """Return what makes a batch: padded ids, and labels padded with ``IGNORED``."""
    import torch

    from training.modeling import padded

    def batch(rows: list[Example]) -> dict[str, Any]:
        ids, mask = padded([row["item"] for row in rows], pad)
        labels = torch.full(ids.shape, IGNORED, dtype=torch.int64)
        for place, row in enumerate(rows):
            labels[place, : len(row["labels"])] = torch.from_numpy(row["labels"])
        found: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        if "head" in rows[0]:
            found["head"] = rows[0]["head"]
        return found

    return batch


def counts(rows: Sequence[Example], head: HeadSpec) -> list[int]:
    """Return how many sub-tokens have each of the head's labels."""
    total = np.zeros(len(head.labels), dtype=np.int64)
    for row in rows:
        own = row["labels"][row["labels"] != IGNORED]
        total += np.bincount(own, minlength=len(head.labels))
    return [int(count) for count in total]


def spans_of(entities: Iterable[Entity]) -> list[EntitySpan]:
    """Return what a tagger found as spans over characters."""
    return [EntitySpan(entity.label, entity.start, entity.end) for entity in entities]


def micro_scores(
    expected: Sequence[Sequence[EntitySpan]], found: Sequence[Sequence[EntitySpan]]
) -> Scores:
    """Return precision, recall and F1 over all entities; 0 where there are none."""
    right = sum(len(set(a) & set(b)) for a, b in zip(expected, found, strict=True))
    said, there = sum(map(len, found)), sum(map(len, expected))
    return Scores(
        precision=right / said if said else 0.0,
        recall=right / there if there else 0.0,
        f1=2 * right / (said + there) if said + there else 0.0,
    )


def ceiling(tokenizer: ModelTokenizer, rows: Sequence[TaggedText], head: HeadSpec) -> Scores:
    """Return what a tagger without error would reach on ``rows``.

    Below 1 where entities begin or end inside a sub-token, or two touch inside a word.
    """
    rules = TagRules(head)
    found = []
    for row, item in zip(rows, tokenizer.windows([row.text for row in rows]), strict=True):
        shares = np.eye(len(head.labels), dtype=np.float32)[sub_token_labels(row, item, head)]
        found.append(spans_of(rules.entities(row.text, item.offsets, shares)))
    return micro_scores([character_spans(row) for row in rows], found)


def known_types(head: HeadSpec) -> Mapping[str, int]:
    """Return the types of entities a head can give, with their places in order."""
    types = dict.fromkeys(label[2:] for label in head.labels if label != OUTSIDE)
    return {kind: place for place, kind in enumerate(types)}
