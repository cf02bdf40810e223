"""Metrics of taggers: whole entities as seqeval counts them, and single tokens.

An entity is right when its type and both ends are. Tags are read as conlleval reads them (Tjong
Kim Sang and Buchholz, CoNLL-2000): ``I-`` after ``O`` or after another type begins an entity, so
IOB1, IOB2 and IOBES give the same entities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from assistant.evaluation.bootstrap import SAMPLES, Floats, Metric, Statistic, bootstrap_all
from assistant.evaluation.counts import LabelScores, f1_statistic, label_scores
from assistant.evaluation.scores import mean_statistic, ratio_statistic

OUTSIDE = "O"
_NO_TYPE = "_"


class EntitySpan(NamedTuple):
    """An entity over tokens ``start`` to ``end``, half-open."""

    label: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class EntityReport:
    """What an evaluation of a tagger found.

    ``types``: by type of entity; ``tags``: by tag of single tokens, ``O`` among them.
    ``unknown_labels``: types of the data that the model cannot give, with their entities, which
    count as missed.
    """

    metrics: Mapping[str, Metric]
    types: tuple[LabelScores, ...]
    tags: tuple[LabelScores, ...]
    unknown_labels: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers."""
        return {
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "types": [asdict(scores) for scores in self.types],
            "tags": [asdict(scores) for scores in self.tags],
            "unknown_labels": dict(self.unknown_labels),
        }


def entity_spans(tags: Sequence[str]) -> list[EntitySpan]:
    """Return the entities of a sentence's tags (IOB1, IOB2 or IOBES), in order."""
    found: list[EntitySpan] = []
    before, start = (OUTSIDE, ""), 0
    for place, tag in enumerate([*tags, OUTSIDE]):
        here = _split(tag)
        if _ends(before, here) and before[0] != OUTSIDE:
            found.append(EntitySpan(before[1], start, place))
        if _begins(before, here):
            start = place
        before = here
    return found


def _split(tag: str) -> tuple[str, str]:
    """Return prefix and type: "B-ORG" gives B and ORG, "B" alone has the type "_"."""
    prefix, rest = tag[:1], tag[1:]
    if tag in {OUTSIDE, ""}:
        return OUTSIDE, ""
    return prefix, (rest.partition("-")[2] if "-" in rest else rest) or _NO_TYPE


def _ends(before: tuple[str, str], here: tuple[str, str]) -> bool:
    """Whether an entity ends between two neighbouring tags."""
    return before[0] in "ES" or here[0] in "BSO" or before[1] != here[1]


def _begins(before: tuple[str, str], here: tuple[str, str]) -> bool:
    """Whether an entity begins with the second of two neighbouring tags."""
    if here[0] == OUTSIDE:
        return False
    return here[0] in "BS" or before[0] in "ESO" or before[1] != here[1]


def iob2_tags(spans: Sequence[EntitySpan], length: int) -> list[str]:
    """Return IOB2 tags of ``length`` tokens; of overlapping spans the earlier one stays."""
    tags = [OUTSIDE] * length
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if any(tag != OUTSIDE for tag in tags[span.start : span.end]):
            continue
        for place in range(span.start, min(span.end, length)):
            tags[place] = f"{'B' if place == span.start else 'I'}-{span.label}"
    return tags


def entity_report(
    expected: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    *,
    labels: Sequence[str] = (),
    seed: int = 0,
    samples: int = SAMPLES,
) -> EntityReport:
    """Measure tags of sentences: entity precision, recall and F1, and every tag by itself.

    Intervals are over sentences. ``labels``: the types the model can give, if known. Raises
    ValueError when sentences or tokens do not pair up, or there are none.
    """
    _check(expected, predicted)
    gold = [entity_spans(tags) for tags in expected]
    said = [entity_spans(tags) for tags in predicted]
    types = sorted({span.label for row in (*gold, *said) for span in row})
    entities = _entity_counts(gold, said, types)
    tags, tokens = _tag_counts(gold, said, expected)
    same = [set(a) == set(b) for a, b in zip(gold, said, strict=True)]
    statistics = {
        **_entity_statistics(entities),
        **_token_statistics(tokens),
        "sentence_accuracy": mean_statistic(same),
    }
    known = set(labels) or set(types)
    unknown = Counter(span.label for row in gold for span in row if span.label not in known)
    return EntityReport(
        bootstrap_all(statistics, len(expected), seed=seed, samples=samples),
        label_scores(types, *entities.sum(axis=0)),
        label_scores(tags, *tokens.sum(axis=0)),
        dict(unknown.most_common()),
    )


def _check(expected: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
    if len(expected) != len(predicted):
        raise ValueError(f"{len(predicted)} tagged sentences for {len(expected)}")
    if not expected:
        raise ValueError("nothing to measure: there are no sentences")
    for number, (a, b) in enumerate(zip(expected, predicted, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"sentence {number}: {len(b)} tags for {len(a)} tokens")


def _entity_counts(
    gold: Sequence[Sequence[EntitySpan]],
    said: Sequence[Sequence[EntitySpan]],
    types: Sequence[str],
) -> Floats:
    """Return counts (sentences, 3, types): entities right, expected, predicted."""
    place = {label: number for number, label in enumerate(types)}
    counts = np.zeros((len(gold), 3, len(types)))
    for row, (a, b) in enumerate(zip(gold, said, strict=True)):
        for kind, spans in enumerate((set(a) & set(b), a, b)):
            for span in spans:
                counts[row, kind, place[span.label]] += 1
    return counts


def _entity_statistics(counts: Floats) -> dict[str, Statistic]:
    right, there, said = (counts[:, kind] for kind in range(3))
    hits = right.sum(axis=1)
    return {
        "precision": ratio_statistic(hits, said.sum(axis=1)),
        "recall": ratio_statistic(hits, there.sum(axis=1)),
        "f1": f1_statistic(right, there, said, "micro"),
        "macro_f1": f1_statistic(right, there, said, "macro"),
    }


def _token_statistics(counts: Floats) -> dict[str, Statistic]:
    """Accuracy over tokens (micro F1, each token having one tag) and macro F1 over the tags."""
    right, there, said = (counts[:, kind] for kind in range(3))
    return {
        "token_accuracy": ratio_statistic(right.sum(axis=1), there.sum(axis=1)),
        "token_macro_f1": f1_statistic(right, there, said, "macro"),
    }


def _tag_counts(
    gold: Sequence[Sequence[EntitySpan]],
    said: Sequence[Sequence[EntitySpan]],
    sentences: Sequence[Sequence[str]],
) -> tuple[list[str], Floats]:
    """Return IOB2 tags and counts (sentences, 3, tags): tokens right, expected, predicted."""
    pairs = [
        (iob2_tags(a, len(tags)), iob2_tags(b, len(tags)))
        for a, b, tags in zip(gold, said, sentences, strict=True)
    ]
    names = sorted({tag for both in pairs for tags in both for tag in tags})
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(pairs), 3, len(names)))
    for row, (first, second) in enumerate(pairs):
        for a, b in zip(first, second, strict=True):
            counts[row, 0, place[a]] += a == b
            counts[row, 1, place[a]] += 1
            counts[row, 2, place[b]] += 1
    return names, counts
