"""Turn text into unit vectors: questions, passages, and the sentences of passages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer

from assistant.models.batching import MicroBatcher
from assistant.models.manifest import ModelManifest
from assistant.models.plain import plain_question
from assistant.models.session import Backend, Choice, Tokens
from assistant.models.unlike import unlike_cosine
from indexes.language import simplified
from indexes.types import FloatArray, Span, VectorSpace

# A token covers far fewer characters than this, so what is cut off could not have been encoded;
# it bounds the work a 1 MB text can cause.
_MAX_CHARACTERS_PER_TOKEN = 64
_LONE_CALL = 4
_ENCODED = "passages after their context, spans by themselves, in simplified characters"


class Encoder:
    """Encodes queries and passages. Thread-safe.

    Vectors are comparable only between encoders of the same ``fingerprint``.
    """

    def __init__(
        self,
        manifest: ModelManifest,
        tokenizer: Tokenizer,
        backend: Backend,
        *,
        threads: int = 1,
        queue_size: int = 256,
        choice: Choice | None = None,
    ) -> None:
        self.manifest = manifest
        self.name = manifest.name
        self.dim = manifest.dim
        self.max_tokens = manifest.max_tokens
        self.fingerprint = vectors_fingerprint(manifest)
        self.choice = choice
        self._floor: float | None = None
        self._tokenizer = tokenizer
        self._backend = backend
        self._eos = tokenizer.encode("").ids[-1]
        self._batcher: MicroBatcher[str, FloatArray] = MicroBatcher(
            self._encode_prefixed,
            workers=threads if backend.batch == 1 else 1,
            max_batch=max(backend.batch, 8),
            max_waiting=queue_size,
        )

    @property
    def space(self) -> VectorSpace:
        """What an index of its vectors must know."""
        return VectorSpace(self.fingerprint, self.dim, self.cosine_floor)

    @property
    def cosine_floor(self) -> float:
        """The cosine of queries that have nothing in common, measured when first asked for."""
        if self._floor is None:
            self._floor = unlike_cosine(self.encode_queries)
        return self._floor

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, without special tokens, not truncated."""
        encodings = self._tokenizer.encode_batch_fast(
            [clean(text) for text in texts], add_special_tokens=False
        )
        return [len(encoding) for encoding in encodings]

    def are_words(self, words: Sequence[str]) -> list[bool]:
        """Tell of each word in lower case whether the vocabulary has it whole, in any case."""
        forms = [form for w in words for form in (w, w.capitalize(), w.upper())]
        counts = self.count_tokens(forms)
        return [1 in counts[i : i + 3] for i in range(0, len(counts), 3)]

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors float32 (n, dim) of questions, made plain first.

        A call with a few texts joins the queue shared by all callers; raises BusyError when that is
        full. Longer lists are encoded on their own.
        """
        prefixed = [self.manifest.query_prefix + plain_question(text) for text in texts]
        if not prefixed:
            return np.empty((0, self.dim), dtype=np.float32)
        if len(prefixed) <= _LONE_CALL:
            return np.stack(self._batcher.submit(prefixed))
        return np.stack(self._encode_prefixed(prefixed))

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """Return unit vectors float32 (n, dim) of passages."""
        if not texts:
            return np.empty((0, self.dim), dtype=np.float32)
        prefix = self.manifest.passage_prefix
        return np.stack(self._encode_prefixed([prefix + simplified(text) for text in texts]))

    def encode_passages_with_spans(
        self,
        texts: Sequence[str],
        contexts: Sequence[str],
        spans: Sequence[Sequence[Span]],
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return unit vectors of passages, float32 (n, dim), and of each one's spans, (spans, dim).

        A passage is encoded after its context (title, headings); its spans, ranges of ``text``, by
        themselves: what surrounds them would make neighbours alike.
        """
        if not len(texts) == len(contexts) == len(spans):
            raise ValueError(
                f"{len(texts)} texts, {len(contexts)} contexts and {len(spans)} lists of spans; "
                "the three must be of one length."
            )
        whole = [f"{c}\n{text}" if c else text for c, text in zip(contexts, texts, strict=True)]
        parts = [
            text[span.start : span.end]
            for text, own in zip(texts, spans, strict=True)
            for span in own
        ]
        # A passage of one sentence without a context is that sentence.
        distinct = list(dict.fromkeys([*whole, *parts]))
        place = {text: i for i, text in enumerate(distinct)}
        vectors = self.encode_passages(distinct)
        ends = np.cumsum([len(own) for own in spans], dtype=np.int64)
        of_parts = vectors[[place[part] for part in parts]]
        return vectors[[place[text] for text in whole]], np.split(of_parts, ends)[:-1]

    def close(self) -> None:
        """Finish what is running and stop the workers."""
        self._batcher.close()
        self._backend.close()

    def _encode_prefixed(self, texts: Sequence[str]) -> list[FloatArray]:
        encodings = self._tokenizer.encode_batch_fast([self._limited(text) for text in texts])
        tokens = [self._tokens(encoding) for encoding in encodings]
        return [unit(rows)[0] for rows in self._backend.pooled(tokens)]

    def _limited(self, text: str) -> str:
        return clean(text[: self.max_tokens * _MAX_CHARACTERS_PER_TOKEN])

    def _tokens(self, encoding: Encoding) -> Tokens:
        ids = np.array(encoding.ids[: self.max_tokens], dtype=np.int32)
        ids[-1] = self._eos
        return Tokens(ids=ids, pool=np.full((1, len(ids)), 1 / len(ids), dtype=np.float32))


def unit(rows: FloatArray) -> FloatArray:
    """Return ``rows`` scaled to unit length; a zero row stays zero."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: FloatArray = rows / np.maximum(norms, 1e-12)
    return scaled


def clean(text: str) -> str:
    """Return ``text`` with lone surrogates, which no UTF-8 tokeniser accepts, replaced by U+FFFD.

    The length in code points is unchanged, so offsets stay valid.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def fingerprint(manifest: ModelManifest) -> str:
    """Return 16 hexadecimal digits that change with weights, tokeniser, graph or prefixes."""
    parts = [f"{name}:{digest}" for name, digest in sorted(manifest.files.items())]
    parts += [manifest.query_prefix, manifest.passage_prefix, str(manifest.max_tokens)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def vectors_fingerprint(manifest: ModelManifest) -> str:
    """Return 16 hexadecimal digits that change with the model, and with what of a text is given to
    it: vectors are comparable only where both are the same."""
    return hashlib.sha256(f"{fingerprint(manifest)}\n{_ENCODED}".encode()).hexdigest()[:16]
