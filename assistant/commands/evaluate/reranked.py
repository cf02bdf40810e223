"""The second half of ``assistant eval retrieval``: what was found is looked at by its sentences,
then read, and ordered anew as for an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistant.commands.common import progress_bar
from assistant.types import ChunkHit, Retrieved
from indexes.language import detect_language
from indexes.sentences import split_sentences

if TYPE_CHECKING:
    from assistant.models.encoder import Encoder
    from assistant.models.reranker import Reranker
    from assistant.storage.codec import Sentences
    from indexes.types import FloatArray, Hit

_AT_ONCE = 16
_TITLE = 60
"""A first line not longer than this, in code points, is the title of what follows."""


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

    spans = [tuple(split_sentences(text, _body(text), len(text))) for text in texts]
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
                start = _body(texts[i])
                body = texts[i][start:]
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
