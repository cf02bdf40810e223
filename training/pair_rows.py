"""From rows of pairs to training examples of an encoder: tokens, families, hard negatives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from assistant.errors import InvalidInputError
from assistant.models.plain import plain_question
from assistant.models.tokens import ModelTokenizer, Tokenized
from indexes.language import simplified
from indexes.sentences import split_sentences
from indexes.types import FloatArray
from training.contrast import Pair
from training.data.rows import Row, TextPair
from training.families import Families, Ints, is_positive
from training.job import Job
from training.mining import hard_negatives

_SAMPLE = 64


class PairTexts:
    """Tokenises the two sides of pairs as they are served: queries and passages."""

    def __init__(self, job: Job) -> None:
        """Both sides are queries where ``contrast.symmetric`` says so."""
        base, limit = job.base, job.recipe.train.max_tokens
        query, passage = base.original.query_prefix, base.original.passage_prefix
        self._symmetric = job.recipe.contrast.symmetric
        second = query if self._symmetric else passage
        longest = min(limit, base.weights.shape.max_positions)
        self._sides = tuple(
            ModelTokenizer(base.tokenizer, longest, prefix, prefix) for prefix in (query, second)
        )

    def queries(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return first texts ready to run."""
        return self._sides[0].texts([plain_question(text) for text in texts])

    def passages(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return second texts ready to run."""
        made = plain_question if self._symmetric else simplified
        return self._sides[1].texts([made(text) for text in texts])


def pairs_of(rows: Sequence[Row]) -> list[TextPair]:
    """Return the rows that are pairs."""
    return [row for row in rows if isinstance(row, TextPair)]


def sample_texts(pairs: Sequence[TextPair]) -> list[str]:
    """Return texts of both sides, for the gates of the export."""
    step = max(1, 2 * len(pairs) // _SAMPLE)
    return [text for pair in pairs[::step] for text in (pair.text_a, pair.text_b)][:_SAMPLE]


def make_examples(
    job: Job, pairs: Sequence[TextPair], encode: Callable[[Sequence[Tokenized]], FloatArray]
) -> list[Pair]:
    """Return an example for each positive pair, with its labelled and its mined hard negatives.

    ``encode`` gives the vectors to mine with; it is called only when negatives are to be mined.
    Raises InvalidInputError when no two positive pairs mean different things.
    """
    texts = PairTexts(job)
    positive = [pair for pair in pairs if is_positive(pair)]
    families = Families(pairs, groups=True)
    own = families.all_of([pair.text_a for pair in positive])
    if len(set(own.tolist())) < 2:
        raise InvalidInputError(
            f"{len(pairs)} training pairs hold {len(positive)} positive ones of {len(set(own))} "
            "different meanings; at least 2 are needed, as one is the other's wrong answer. Check "
            "data.columns and the labels (1 = belong together)."
        )
    said = list(dict.fromkeys(pair.text_b for pair in pairs))
    place = {text: i for i, text in enumerate(said)}
    section = job.recipe.contrast
    units = _Units.sentences(said) if section.sentences else _Units.whole(said)
    corpus, corpus_families = texts.passages(units.texts), families.all_of(said)[units.owners]
    queries = texts.queries([pair.text_a for pair in positive])
    labelled = _labelled_negatives(pairs, positive, place)
    wanted = section.hard_negatives
    mining = wanted > 0 and any(len(row) < wanted for row in labelled)
    vectors = (encode(queries), encode(corpus)) if mining or section.sentences else None
    own_places = [place[pair.text_b] for pair in positive]
    targets = np.array([units.nearest(text, i, vectors) for i, text in enumerate(own_places)])
    chosen = [[units.nearest(text, i, vectors) for text in row] for i, row in enumerate(labelled)]
    if mining and vectors is not None:
        mined = hard_negatives(
            *vectors, targets, own, corpus_families,
            count=wanted, top=section.mine_top, margin=section.mine_margin,
        )  # fmt: skip
        both = zip(chosen, mined, strict=True)
        chosen = [list(dict.fromkeys([*a, *b.tolist()])) for a, b in both]
    return [
        Pair(
            query,
            corpus[target],
            int(family),
            tuple(corpus[i] for i in negatives[:wanted]),
            tuple(int(corpus_families[i]) for i in negatives[:wanted]),
        )
        for query, target, family, negatives in zip(queries, targets, own, chosen, strict=True)
    ]


@dataclass(frozen=True)
class _Units:
    """What queries look for: texts, or the sentences of texts. ``owners`` (units,), ascending, are
    the places of the texts they are of."""

    texts: list[str]
    owners: Ints

    @classmethod
    def whole(cls, texts: Sequence[str]) -> _Units:
        return cls(list(texts), np.arange(len(texts), dtype=np.int64))

    @classmethod
    def sentences(cls, texts: Sequence[str]) -> _Units:
        found = [
            [text[span.start : span.end] for span in split_sentences(text, 0, len(text))] or [text]
            for text in texts
        ]
        owners = [i for i, units in enumerate(found) for _ in units]
        return cls(list(chain.from_iterable(found)), np.array(owners, dtype=np.int64))

    def nearest(self, text: int, query: int, vectors: tuple[FloatArray, FloatArray] | None) -> int:
        """Return the place of the unit of a text nearest to a query; ``vectors``: of all queries
        and all units, needed where a text has more than one."""
        first, end = np.searchsorted(self.owners, [text, text + 1]).tolist()
        if vectors is None or end - first == 1:
            return int(first)
        queries, units = vectors
        return int(first) + int((units[first:end] @ queries[query]).argmax())


def _labelled_negatives(
    pairs: Sequence[TextPair], positive: Sequence[TextPair], place: dict[str, int]
) -> list[list[int]]:
    """Return for each positive pair the places of texts labelled as no match of its query."""
    wrong: dict[str, list[int]] = defaultdict(list)
    for pair in pairs:
        if not is_positive(pair):
            wrong[pair.text_a].append(place[pair.text_b])
    return [wrong[pair.text_a] for pair in positive]
