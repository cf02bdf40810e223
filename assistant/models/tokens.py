"""Text and pairs of texts to what a graph takes, and logits to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from assistant.models.encoder import clean
from assistant.models.heads import HeadSpec
from assistant.models.session import Tokens
from indexes.types import FloatArray

# A token covers far fewer characters than this; it bounds the work a huge text can cause.
_MAX_CHARACTERS_PER_TOKEN = 64


class _Part(NamedTuple):
    """Token ids of one text, the code points each covers, and how many are of the prefix."""

    ids: list[int]
    offsets: NDArray[np.int64]
    prefix: int


@dataclass(frozen=True, slots=True)
class Tokenized:
    """A text ready to run. ``offsets`` int (tokens, 2): code points of the text each token covers,
    half-open, (0, 0) for special tokens, prefixes and, in a pair, the first text's; ``cut``: the
    text had more tokens than fit."""

    tokens: Tokens
    offsets: NDArray[np.int64]
    cut: bool


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a long text, ready to run: its tokens from ``start`` on, ``count`` of them,
    stand at ``lead`` and after in ``tokens``."""

    tokens: Tokens
    lead: int
    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Windowed:
    """A text of any length in overlapping windows. ``offsets`` int (tokens, 2) are those of all
    its own tokens, without special ones, prefix and, in a pair, the first text's."""

    offsets: NDArray[np.int64]
    windows: tuple[Window, ...]


class ModelTokenizer:
    """Turns texts and pairs into token ids as the model was trained on them. Thread-safe.

    A text is ``<s> prefix text </s>``, a pair ``<s> query_prefix a </s> passage_prefix b </s>``.
    Of a pair too long, b is cut first, a only where it alone takes more than half.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        query_prefix: str,
        passage_prefix: str,
        pooling: str = "mean",
    ) -> None:
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._prefixes = query_prefix, passage_prefix
        self._first = pooling == "first"
        self._bos, self._eos = tokenizer.encode("").ids

    def text(self, text: str) -> Tokenized:
        """Return one text ready to run."""
        return self.texts([text])[0]

    def pair(self, a: str, b: str) -> Tokenized:
        """Return one pair ready to run."""
        return self.pairs([(a, b)])[0]

    def texts(self, texts: Sequence[str]) -> list[Tokenized]:
        """Return single texts ready to run, each with the query prefix."""
        return [self._joined([part]) for part in self._parts(texts, self._prefixes[0])]

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Tokenized]:
        """Return pairs ready to run; their offsets are those of the second text."""
        first = self._parts([a for a, _ in pairs], self._prefixes[0])
        second = self._parts([b for _, b in pairs], self._prefixes[1])
        return [self._joined([a, b]) for a, b in zip(first, second, strict=True)]

    def windows(self, texts: Sequence[str], overlap: int = 64) -> list[Windowed]:
        """Return single texts in windows of at most ``max_tokens``, each with the query prefix.

        Neighbours share ``overlap`` tokens, or a quarter of the room where that is less.
        """
        parts = self._parts(texts, self._prefixes[0], cut=False)
        return [self._windowed([self._bos], part, overlap) for part in parts]

    def pair_windows(self, pairs: Sequence[tuple[str, str]], overlap: int = 128) -> list[Windowed]:
        """Return pairs with the second text in windows; the first may take half of the room."""
        first = self._parts([a for a, _ in pairs], self._prefixes[0])
        second = self._parts([b for _, b in pairs], self._prefixes[1], cut=False)
        found = []
        for a, b in zip(first, second, strict=True):
            length, _ = _fitted([len(a.ids), len(b.ids)], self.max_tokens - 3)
            lead = [self._bos, *a.ids[:length], self._eos]
            found.append(self._windowed(lead, b, overlap))
        return found

    def _parts(self, texts: Sequence[str], prefix: str, *, cut: bool = True) -> list[_Part]:
        limit = self.max_tokens * _MAX_CHARACTERS_PER_TOKEN
        encodings = self._tokenizer.encode_batch(
            [prefix + clean(text[:limit] if cut else text) for text in texts],
            add_special_tokens=False,
        )
        parts = []
        for encoding in encodings:
            offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2) - len(prefix)
            own = np.flatnonzero(offsets[:, 1] > 0)
            of_prefix = int(own[0]) if len(own) else len(offsets)
            offsets[offsets[:, 1] <= 0] = 0
            parts.append(_Part(encoding.ids, np.maximum(offsets, 0), of_prefix))
        return parts

    def _windowed(self, lead: list[int], part: _Part, overlap: int) -> Windowed:
        lead = [*lead, *part.ids[: part.prefix]]
        own = part.ids[part.prefix :]
        room = max(1, self.max_tokens - len(lead) - 1)
        step = room - min(overlap, room // 4)
        windows = []
        for start in range(0, max(1, len(own) - room + step), step):
            inside = own[start : start + room]
            tokens = self._tokens([*lead, *inside, self._eos])
            windows.append(Window(tokens, len(lead), start, len(inside)))
        return Windowed(part.offsets[part.prefix :], tuple(windows))

    def _tokens(self, ids: list[int]) -> Tokens:
        pool = np.zeros((1, len(ids)), dtype=np.float32)
        if self._first:
            pool[0, 0] = 1
        else:
            pool[0] = 1 / len(ids)
        return Tokens(np.array(ids, dtype=np.int32), pool)

    def _joined(self, parts: Sequence[_Part]) -> Tokenized:
        room = self.max_tokens - 1 - len(parts)
        lengths = _fitted([len(part.ids) for part in parts], room)
        ids, offsets = [self._bos], [np.zeros((1, 2), dtype=np.int64)]
        for place, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            ids += [*part.ids[:length], self._eos]
            last = place == len(parts) - 1
            offsets.append(part.offsets[:length] if last else np.zeros((length, 2), dtype=np.int64))
            offsets.append(np.zeros((1, 2), dtype=np.int64))
        return Tokenized(
            self._tokens(ids),
            np.concatenate(offsets),
            cut=sum(lengths) < sum(len(part.ids) for part in parts),
        )


def _fitted(lengths: Sequence[int], room: int) -> list[int]:
    """Return how many tokens of each part fit: all but the last may take half of the room."""
    if len(lengths) == 1:
        return [min(lengths[0], room)]
    first, second = lengths
    first = min(first, max(room - second, room // 2))
    return [first, min(second, room - first)]


def probabilities(head: HeadSpec, logits: FloatArray) -> FloatArray:
    """Return the head's probabilities, float32 of the shape of ``logits``, calibrated."""
    scaled = logits.astype(np.float64) / head.temperature
    if head.activation == "sigmoid":
        result: FloatArray = (1 / (1 + np.exp(-np.clip(scaled, -60, 60)))).astype(np.float32)
        return result
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: FloatArray = (powers / powers.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares
