"""Encode loaded documents: a vector for each chunk, each sentence and each FAQ wording."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Protocol

from assistant.errors import BusyError
from assistant.storage.codec import encode_sentences, encode_vector
from assistant.storage.names import clean_text
from assistant.storage.values import (
    Content,
    EncodedChunk,
    EncodedEntry,
    Fingerprint,
    QuestionKind,
)
from assistant.storage.writing import batched
from indexes.types import Chunk, Document, FaqEntry, FloatArray, Span

AT_ONCE = 128
"""Chunks or wordings given to the encoder in one call; it sorts them by length itself."""

_IN_MEMORY = 32 * 1024 * 1024
_PATIENCE_SECONDS = 120.0
_LENGTHS = struct.Struct("<II")
Inside = Callable[[str, int, int], None]
"""Told (source, done, total) while a group is being encoded."""


class PassageEncoder(Protocol):
    """What ingestion needs of ``assistant.models.encoder.Encoder``."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def dim(self) -> int: ...
    def count_tokens(self, texts: Sequence[str]) -> list[int]: ...
    def encode_queries(self, texts: Sequence[str]) -> FloatArray: ...
    def encode_passages(self, texts: Sequence[str]) -> FloatArray: ...
    def encode_passages_with_spans(
        self, texts: Sequence[str], contexts: Sequence[str], spans: Sequence[Sequence[Span]]
    ) -> tuple[FloatArray, list[FloatArray]]: ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A loaded and chunked document, ready to encode. ``size``: bytes of the source."""

    document: Document
    chunks: Sequence[Chunk]
    fingerprint: Fingerprint
    size: int

    @property
    def items(self) -> int:
        """How many vectors of its own it needs."""
        return len(self.chunks) + sum(2 + len(entry.paraphrases) for entry in self.document.faq)


class EncodedDocument:
    """A prepared document with its vectors; those of a long one are spooled to a file."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self._spool = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 (see close)
        self._wordings: dict[int, list[tuple[QuestionKind, str, bytes]]] = {}

    def add_chunk(self, vector: bytes, sentences: bytes) -> None:
        """Take the next chunk's vectors, in the order of ``prepared.chunks``."""
        self._spool.write(_LENGTHS.pack(len(vector), len(sentences)))
        self._spool.write(vector)
        self._spool.write(sentences)

    def add_wording(self, entry: int, kind: QuestionKind, text: str, vector: bytes) -> None:
        """Take a wording of the FAQ entry with this position."""
        self._wordings.setdefault(entry, []).append((kind, text, vector))

    def content(self) -> Content:
        """What to store. Its iterables can be read once."""
        entries = enumerate(self.prepared.document.faq)
        return Content(
            self._chunks(),
            (EncodedEntry(entry, self._wordings[number]) for number, entry in entries)
            if self._wordings
            else (),
        )

    def close(self) -> None:
        """Let go of the spool."""
        self._spool.close()

    def _chunks(self) -> Iterator[EncodedChunk]:
        self._spool.seek(0)
        for chunk in self.prepared.chunks:
            vector, sentences = _LENGTHS.unpack(self._spool.read(_LENGTHS.size))
            yield EncodedChunk(chunk, self._spool.read(vector), self._spool.read(sentences))


def encode_documents(
    encoder: PassageEncoder, group: Sequence[Prepared], inside: Inside
) -> list[EncodedDocument]:
    """Encode the chunks and FAQ wordings of several documents together; close each result."""
    documents = [EncodedDocument(prepared) for prepared in group]
    try:
        _encode_chunks(encoder, documents, inside)
        _encode_wordings(encoder, documents, inside)
    except BaseException:
        for document in documents:
            document.close()
        raise
    return documents


def _encode_chunks(
    encoder: PassageEncoder, documents: Sequence[EncodedDocument], inside: Inside
) -> None:
    jobs = [(document, chunk) for document in documents for chunk in document.prepared.chunks]
    done = 0
    for batch in batched(jobs, AT_ONCE):
        chunks = [chunk for _, chunk in batch]
        vectors, sentences = encoder.encode_passages_with_spans(
            [clean_text(chunk.text) for chunk in chunks],
            [clean_text(chunk.context) for chunk in chunks],
            [[_within(span, chunk) for span in chunk.sentences] for chunk in chunks],
        )
        for (document, chunk), vector, rows in zip(batch, vectors, sentences, strict=True):
            document.add_chunk(encode_vector(vector), encode_sentences(chunk.sentences, rows))
        done += len(batch)
        inside(batch[-1][0].prepared.document.source, done, len(jobs))


def _within(span: Span, chunk: Chunk) -> Span:
    return Span(span.start - chunk.start, span.end - chunk.start)


def _encode_wordings(
    encoder: PassageEncoder, documents: Sequence[EncodedDocument], inside: Inside
) -> None:
    jobs = [
        (document, number, kind, clean_text(text))
        for document in documents
        for number, entry in enumerate(document.prepared.document.faq)
        for kind, text in _wordings(entry)
    ]
    done = 0
    for batch in batched(jobs, AT_ONCE):
        pairs = [job for job in batch if job[2] == "pair"]
        questions = [job for job in batch if job[2] != "pair"]
        for part, encode in (
            (questions, encoder.encode_queries),
            (pairs, encoder.encode_passages),
        ):
            vectors = _patiently(encode, [job[3] for job in part]) if part else ()
            for (document, number, kind, text), vector in zip(part, vectors, strict=True):
                document.add_wording(number, kind, text, encode_vector(vector))
        done += len(batch)
        inside(batch[-1][0].prepared.document.source, done, len(jobs))


def _patiently(encode: Callable[[Sequence[str]], FloatArray], texts: Sequence[str]) -> FloatArray:
    """Encode, waiting while those who ask questions keep the encoder's queue full."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return encode(texts)
        except BusyError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _wordings(entry: FaqEntry) -> Iterator[tuple[QuestionKind, str]]:
    yield "question", entry.question
    for paraphrase in entry.paraphrases:
        yield "paraphrase", paraphrase
    # Found by what the answer says, when the question words it otherwise.
    yield "pair", f"{entry.question}\n{entry.answer}"
