"""Ranks a corpus as search and answers do: hybrid search, nearest sentences, reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from assistant.commands.common import progress_bar
from assistant.types import ChunkHit, Retrieved
from indexes.language import detect_language
from indexes.sentences import split_sentences
from indexes.spelling import mended

if TYPE_CHECKING:
    from assistant.models.encoder import Encoder
    from assistant.models.reranker import Reranker
    from assistant.storage.codec import Sentences
    from indexes.evaluate import RetrievalSet
    from indexes.search import HybridIndex
    from indexes.types import FloatArray, Hit

_AT_ONCE = 16
_BATCH = 256
_POOL = 50
_TITLE = 60
"""A first line not longer than this, in code points, is the title of what follows."""


class Ranking:
    """Ranks over the index that answers use, made of the corpus in a folder.

    ``method``: hybrid, or one half of it, dense or lexical. ``candidates``: how many texts a
    reranker reads for a query.
    """

    def __init__(
        self,
        encoder: Encoder,
        test: RetrievalSet,
        folder: Path,
        method: str,
        *,
        reranker: Reranker | None = None,
        candidates: int = 0,
    ) -> None:
        import numpy as np

        from indexes.search import HybridIndex
        from indexes.types import IndexItem

        self._encoder, self._method = encoder, method
        self._reranker, self._candidates = reranker, candidates
        self._ids, texts = list(test.corpus), list(test.corpus.values())
        self._passages: dict[int, Passage] = {}
        # The lexical half needs no vectors; zero ones leave the dense half without a say.
        if method == "lexical":
            vectors = np.zeros((len(texts), encoder.dim), dtype=np.float32)
        else:
            vectors, found = passages(encoder, texts)
            self._passages = dict(enumerate(found, start=1))
        self._index = HybridIndex.open(folder, encoder.space)
        items = (IndexItem(n, text, vectors[n - 1]) for n, text in enumerate(texts, start=1))
        self._index.rebuild(items, 0)

    def dense(self) -> Ranking:
        """Return the same ranking by the dense half alone."""
        half = copy(self)
        half._method = "dense"
        return half

    def __call__(self, queries: Sequence[str], depth: int) -> list[list[str]]:
        count = max(depth, _POOL)
        known, frequencies = self._encoder.are_words, self._index.frequencies
        queries = [mended(query, known, frequencies) for query in queries]
        orders = (
            self._lexical(queries, count)
            if self._method == "lexical"
            else self._as_for_answers(queries, count)
        )
        return [[self._ids[item - 1] for item in order[:depth]] for order in orders]

    def _lexical(self, queries: Sequence[str], count: int) -> list[list[int]]:
        import numpy as np

        nothing = np.zeros((len(queries), self._encoder.dim), dtype=np.float32)
        return [
            [hit.item_id for hit in sorted(hits, key=lambda hit: -hit.coverage)]
            for hits in _search(self._index, queries, nothing, count)
        ]

    def _as_for_answers(self, queries: Sequence[str], count: int) -> list[list[int]]:
        asked = _encode(self._encoder, queries)
        dense = self._method == "dense"
        hits = _search(self._index, [""] * len(queries) if dense else queries, asked, count)
        floor = self._encoder.cosine_floor
        found = [
            as_chunks(own, self._passages, vector, floor)
            for own, vector in zip(hits, asked, strict=True)
        ]
        if dense:  # below the floor scores are equal, cosines not
            found = [tuple(sorted(own, key=lambda hit: -hit.cosine)) for own in found]
        if self._reranker is not None:
            found = reranked(self._reranker, queries, asked, found, candidates=self._candidates)
        return [[hit.chunk_id for hit in own] for own in found]


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of the corpus as ingestion would store it: its title apart, sentences with vectors."""

    title: str
    start: int
    text: str
    sentences: Sentences


def passages(encoder: Encoder, texts: Sequence[str]) -> tuple[FloatArray, list[Passage]]:
    """Return unit vectors of ``texts`` (n, dim), and the texts with those of their sentences."""
    import numpy as np

    from assistant.encoding import AT_ONCE
    from assistant.storage.codec import Sentences, encode_sentences

    bodies = [_body(text) for text in texts]
    spans = [
        tuple(split_sentences(text, start, len(text)))
        for text, start in zip(texts, bodies, strict=True)
    ]
    whole, found = [], []
    with progress_bar() as bar:
        task = bar.add_task("Corpus", total=len(texts))
        for first in range(0, len(texts), AT_ONCE):
            part = range(first, min(first + AT_ONCE, len(texts)))
            own, sentences = encoder.encode_passages_with_spans(
                [texts[i] for i in part], [""] * len(part), [spans[i] for i in part]
            )
            whole.append(own)
            for i, rows in zip(part, sentences, strict=True):
                start, body = bodies[i], texts[i][bodies[i] :]
                stored = Sentences(encode_sentences(spans[i], rows), body, start)
                found.append(Passage(texts[i][:start].strip(), start, body, stored))
            bar.advance(task, len(part))
    return np.concatenate(whole), found


def as_chunks(
    hits: Sequence[Hit], passages: Mapping[int, Passage], query: FloatArray, floor: float
) -> tuple[ChunkHit, ...]:
    """Return hits as the chunks that search would hand to an answer, best first.

    ``query``: unit vector (dim,); ``floor``: the cosine of unrelated texts.
    """
    from assistant.evidence import by_sentence

    return by_sentence([_as_chunk(hit, passages[hit.item_id]) for hit in hits], query, floor)


def reranked(
    reranker: Reranker,
    queries: Sequence[str],
    vectors: FloatArray,
    found: Sequence[tuple[ChunkHit, ...]],
    *,
    candidates: int,
) -> list[tuple[ChunkHit, ...]]:
    """Return chunks in the order an answer would take them; the first ``candidates`` are read."""
    from assistant.dialogue.policy import Understood
    from assistant.dialogue.reranking import rerank_chunks

    orders: list[tuple[ChunkHit, ...]] = []
    with progress_bar() as bar:
        task = bar.add_task("Reranking", total=len(queries))
        for first in range(0, len(queries), _AT_ONCE):
            part = range(first, min(first + _AT_ONCE, len(queries)))
            asked = [Understood(queries[i], detect_language(queries[i]), vectors[i]) for i in part]
            seen = [Retrieved(found[i], ()) for i in part]
            ordered = rerank_chunks(reranker.score, asked, seen, candidates)
            orders += [one.chunks for one in ordered]
            bar.advance(task, len(part))
    return orders


def _as_chunk(hit: Hit, passage: Passage) -> ChunkHit:
    return ChunkHit(
        chunk_id=hit.item_id,
        document_id="",
        title=passage.title,
        source="",
        language=detect_language(passage.text),
        start=passage.start,
        end=passage.start + len(passage.text),
        text=passage.text,
        heading_path=(),
        page=None,
        sentences=passage.sentences,
        score=hit.score,
        cosine=hit.cosine,
        coverage=hit.coverage,
    )


def _body(text: str) -> int:
    """Where the text after its title begins; 0 when it has none."""
    line = text.find("\n")
    return line + 1 if 0 < line <= _TITLE and text[line + 1 :].strip() else 0


def _encode(encoder: Encoder, queries: Sequence[str]) -> FloatArray:
    import numpy as np

    parts = []
    with progress_bar() as bar:
        task = bar.add_task("Queries", total=len(queries))
        for start in range(0, len(queries), _BATCH):
            parts.append(encoder.encode_queries(queries[start : start + _BATCH]))
            bar.advance(task, len(parts[-1]))
    encoded: FloatArray = np.concatenate(parts)
    return encoded


def _search(
    index: HybridIndex, queries: Sequence[str], vectors: FloatArray, k: int
) -> list[list[Hit]]:
    found: list[list[Hit]] = []
    for start in range(0, len(queries), _BATCH):
        end = start + _BATCH
        found += index.search(queries[start:end], vectors[start:end], k)
    return found
