"""Find entities in texts of any length: the best labelling that makes sense, in code points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assistant.errors import ModelError, TooLargeError
from assistant.models.headed import HeadedModel, Served
from assistant.models.heads import HeadSpec
from assistant.models.session import Outputs
from assistant.models.spans import joined_to_previous, snapped, token_spans
from assistant.models.tokens import Windowed, probabilities
from indexes.types import FloatArray

MAX_CHARACTERS = 1_000_000
"""Longest text, in code points."""

_PURPOSE = "find entities"
_NEVER = -1e9
_OUTSIDE = "O"


@dataclass(frozen=True, slots=True)
class Entity:
    """A name found: ``text == source[start:end]``, half-open code points.

    ``probability`` in [0, 1] is the least of its tokens' probabilities of the label given to them:
    an entity is right only where all of its tokens are, so it can be no likelier than any of them.
    """

    text: str
    label: str
    start: int
    end: int
    probability: float


class Tagger(Served):
    """Finds entities with a token head of BIO labels ("O", "B-ORG", "I-ORG", ...). Thread-safe.

    Tokens are labelled as in training: the first of a word B, all others of the entity I. Of all
    labellings where I follows B or I of its own kind and no entity begins or ends inside a word,
    the most probable one is taken (Viterbi). Long texts are read in overlapping windows; in an
    overlap each token counts from the window in which it stands further from the edge.
    """

    def __init__(self, model: HeadedModel, head: str | None = None) -> None:
        """Take the head of this name, or the only one. Raises ModelError when it is no tagger."""
        super().__init__(model, model.head(head, "token", _PURPOSE))
        if self.head.activation != "softmax" or _OUTSIDE not in self.head.labels:
            raise model.refusal(_PURPOSE, f"head {self.head.name} has no BIO labels with an O")
        self._rules = TagRules(self.head)

    def tag(self, texts: Sequence[str]) -> list[tuple[Entity, ...]]:
        """Return the entities of each text in their order; they do not overlap.

        Raises TooLargeError for a text of more than ``MAX_CHARACTERS``; a few texts may raise
        BusyError (see HeadedModel).
        """
        self.check_lengths(texts)
        items = self.model.tokenizer.windows(texts)
        outputs = iter(self.model.run([w.tokens for item in items for w in item.windows]))
        return [
            self.decoded(text, item, [next(outputs) for _ in item.windows])
            for text, item in zip(texts, items, strict=True)
        ]

    def decoded(self, text: str, item: Windowed, outputs: Sequence[Outputs]) -> tuple[Entity, ...]:
        """Return the entities of a text from what the graph gave for its windows."""
        logits = merged(item, [values[self.head.name] for values in outputs])
        return self._rules.entities(text, item.offsets, probabilities(self.head, logits))

    @staticmethod
    def check_lengths(texts: Sequence[str]) -> None:
        """Raise TooLargeError for a text too long to be read."""
        for text in texts:
            if len(text) > MAX_CHARACTERS:
                raise TooLargeError(
                    f"A text has {len(text):,} characters; the limit is {MAX_CHARACTERS:,}: "
                    "split it."
                )


def merged(item: Windowed, logits: Sequence[FloatArray]) -> FloatArray:
    """Return one row of logits a token, float32 (tokens, labels), from those of the windows."""
    whole = np.empty((len(item.offsets), logits[0].shape[1]), dtype=np.float32)
    covered = 0
    for window, rows in zip(item.windows, logits, strict=True):
        own = rows[window.lead : window.lead + window.count]
        # Where two windows overlap, the first half stays with the window before.
        kept = (covered - window.start + 1) // 2 if window.start else 0
        whole[window.start + kept : window.start + window.count] = own[kept:]
        covered = window.start + window.count
    return whole


class TagRules:
    """Which label may follow which, and how labels become entities."""

    def __init__(self, head: HeadSpec) -> None:
        """Raise ModelError for a label that is neither O, B-TYPE nor I-TYPE."""
        for label in head.labels:
            if label != _OUTSIDE and not (label[:2] in ("B-", "I-") and label[2:]):
                raise ModelError(
                    f"Head {head.name} has the label {label[:40]!r}; a tagger's labels are O, "
                    "B-TYPE and I-TYPE."
                )
        self.labels = head.labels
        self._types = [label[2:] for label in head.labels]
        self._inside = np.array([label[:2] == "I-" for label in head.labels])
        # Data may mark entities by I- alone; then I- begins them.
        may_begin = [
            label[:2] != "I-" or f"B-{label[2:]}" not in head.labels for label in head.labels
        ]
        count = len(head.labels)
        same = np.array([[a == b for b in self._types] for a in self._types])
        follows = same & self._inside[None]
        free = np.broadcast_to(np.array(may_begin), (count, count))
        outside = np.array([label == _OUTSIDE for label in head.labels])
        self._first = np.where(may_begin, 0.0, _NEVER)
        # allowed[0]: between words; allowed[1]: inside a word, where only the same goes on.
        self._allowed = np.stack([free | follows, follows | (outside[:, None] & outside[None])])
        self._penalty = np.where(self._allowed, 0.0, _NEVER)

    def path(self, shares: FloatArray, joined: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the most probable allowed labels, int (tokens,).

        ``shares`` (tokens, labels) are probabilities; ``joined`` (tokens,) marks the tokens that
        continue the word of the one before.
        """
        greedy: NDArray[np.int64] = shares.argmax(axis=1)
        # The best labels without any rule are the best under the rules when they keep them.
        if len(greedy) == 0 or self._keeps_rules(greedy, joined):
            return greedy
        scores = np.log(np.maximum(shares.astype(np.float64), 1e-30))
        return self._viterbi(scores, joined.astype(np.int64))

    def _keeps_rules(self, path: NDArray[np.int64], joined: NDArray[np.bool_]) -> bool:
        steps = self._allowed[joined[1:].astype(np.int64), path[:-1], path[1:]]
        return bool(self._first[path[0]] == 0 and steps.all())

    def _viterbi(self, scores: FloatArray, joined: NDArray[np.int64]) -> NDArray[np.int64]:
        best = self._first + scores[0]
        origins = np.zeros(scores.shape, dtype=np.int64)
        columns = np.arange(scores.shape[1])
        for place in range(1, len(scores)):
            ways = best[:, None] + self._penalty[joined[place]]
            origins[place] = ways.argmax(axis=0)
            best = ways[origins[place], columns] + scores[place]
        path = np.empty(len(scores), dtype=np.int64)
        path[-1] = best.argmax()
        for place in range(len(scores) - 1, 0, -1):
            path[place - 1] = origins[place, path[place]]
        return path

    def entities(
        self, text: str, offsets: NDArray[np.int64], shares: FloatArray
    ) -> tuple[Entity, ...]:
        """Return the entities of ``text``; ``offsets`` (tokens, 2), ``shares`` (tokens, labels)."""
        spans = token_spans(text, offsets)
        path = self.path(shares, joined_to_previous(text, spans))
        found: list[Entity] = []
        for first, last in self._runs(path):
            covering = [place for place in range(first, last) if spans[place][0] < spans[place][1]]
            if not covering:
                continue
            end = max(spans[place][1] for place in covering)
            start, end = snapped(text, spans[covering[0]][0], end)
            start = max(start, found[-1].end if found else 0)
            if start < end:
                least = min(float(shares[place, path[place]]) for place in covering)
                label = self._types[path[first]]
                found.append(Entity(text[start:end], label, start, end, least))
        return tuple(found)

    def _runs(self, path: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        """Yield the token ranges of entities."""
        start = -1
        for place, label in enumerate([*path.tolist(), -1]):
            goes_on = (
                start >= 0
                and label >= 0
                and self._inside[label]
                and self._types[label] == self._types[path[start]]
            )
            if goes_on:
                continue
            if start >= 0:
                yield start, place
            start = place if label >= 0 and self.labels[label] != _OUTSIDE else -1
