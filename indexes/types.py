"""Values that travel through loading, chunking, indexing and search.

Every offset is a half-open range of code points into ``Document.text``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Language = Literal["zh", "en"]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of code points, ``0 <= start <= end``."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading as found in the source: ``level`` 1 is the outermost."""

    level: int
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a paginated source; ``number`` counts from 1."""

    number: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FaqEntry:
    """One approved question and answer. ``answer_span`` points into the document's text."""

    faq_id: str
    question: str
    answer: str
    answer_span: Span
    paraphrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A loaded source as plain text with its structure.

    ``source`` is what a reader recognises (a relative path or file name); tables are part of
    ``text`` as one line a row (``Header: value; Header: value``). ``faq`` is filled only for
    question-and-answer tables.
    """

    source: str
    title: str
    text: str
    language: Language
    media_type: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[Page, ...] = ()
    faq: tuple[FaqEntry, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A token-bounded passage: ``text == document.text[start:end]``.

    ``context`` (title and heading path) is encoded and indexed with the text but never quoted.
    ``sentences`` cover the parts worth quoting, in order, offsets into the document's text.
    """

    start: int
    end: int
    text: str
    context: str
    heading_path: tuple[str, ...]
    page: int | None
    token_count: int
    sentences: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """Whose vectors an index holds. ``encoder``: its fingerprint; ``cosine_floor``, below 1: the
    cosine that it gives unrelated texts."""

    encoder: str
    dim: int
    cosine_floor: float


@dataclass(frozen=True, slots=True)
class IndexItem:
    """What an index stores of a chunk or an FAQ question. ``vector``: float32 (dim,), unit length.

    ``item_id`` is unique in its index, positive, and grows with time.
    """

    item_id: int
    text: str
    vector: FloatArray
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result: fused ``score`` and lexical ``coverage`` in [0, 1], ``cosine`` in [-1, 1].

    ``coverage`` is the BM25 score over the best score any text could reach for that query.
    """

    item_id: int
    score: float
    cosine: float
    coverage: float
