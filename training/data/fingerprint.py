"""What makes two texts the same: a folded form for equality, shingle hashes for resemblance."""

from __future__ import annotations

import re
import sys
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from indexes.language import simplified

HashArray = npt.NDArray[np.uint64]
IndexArray = npt.NDArray[np.int64]

HAN_SHINGLE = 3
"""Characters a shingle, in text that is mostly Chinese."""
WORD_SHINGLE = 2
"""Words a shingle, in other text."""
MAX_SHINGLES = 1024
"""Of longer texts the shingles with the least hashes are kept (bottom-k sketch, Broder 1997)."""

_UNITS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\W_]+")
_HAN_FROM = "\u3400"
_HAN_BIT = 1 << 33
_BLOCK_UNITS = 1 << 20
# What punctuation must survive in numbers: "-5%" is not "5", "1.5" is not "15".
_SIGN = re.compile(r"(?<![\w.])[-−](?=\d)")
_POINT = re.compile(r"(?<=\d)\.(?=\d)")
_PERCENT = re.compile(r"(?<=\d)\s*[%％]")
_KEPT = str.maketrans({"\ue000": "-", "\ue001": ".", "\ue002": "%"})
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@cache
def _punctuation() -> dict[int, None]:
    """Every character that is punctuation, a blank, a control or a formatting mark."""
    return {
        code: None
        for code in range(min(sys.maxunicode, 0x1FFFF) + 1)
        if unicodedata.category(chr(code))[0] in "PZ" or unicodedata.category(chr(code)) in _CONTROL
    }


_CONTROL = ("Cc", "Cf")


def folded(text: str) -> str:
    """Return ``text`` folded for comparison: two texts with one folded form are duplicates.

    NFKC, case folded, simplified characters, without punctuation and blanks; signs, decimal points
    and percent signs of numbers stay. Text of punctuation only folds to itself.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    marked = _SIGN.sub("\ue000", _POINT.sub("\ue001", _PERCENT.sub("\ue002", plain)))
    bare = marked.translate(_punctuation()).translate(_KEPT)
    if not bare:
        return plain.strip()
    return bare if bare.isascii() else simplified(bare)


@dataclass(frozen=True, slots=True)
class Shingles:
    """Hashes of the distinct shingles of ``n`` texts, ascending within a text.

    ``hashes`` uint64 (total,); those of text ``i`` are ``hashes[starts[i]:starts[i + 1]]``;
    ``starts`` int64 (n + 1,). A text without letters or digits has none.
    """

    hashes: HashArray
    starts: IndexArray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, index: int) -> HashArray:
        """Return the hashes of one text."""
        return self.hashes[self.starts[index] : self.starts[index + 1]]

    def jaccard(self, first: int, second: int) -> float:
        """Return the Jaccard similarity of two texts, in [0, 1]; 0 where one has no shingles."""
        a, b = self.of(first), self.of(second)
        if not len(a) or not len(b):
            return 0.0
        common = len(np.intersect1d(a, b, assume_unique=True))
        return common / (len(a) + len(b) - common)


class _Codes(dict[str, int]):
    """A number for each unit, the same in every run; that of a Han character has a bit more."""

    def __missing__(self, unit: str) -> int:
        code = zlib.crc32(unit.encode("utf-8", "surrogatepass"))
        if len(unit) == 1 and unit >= _HAN_FROM:
            code |= _HAN_BIT
        self[unit] = code
        return code


def shingle(texts: Sequence[str]) -> Shingles:
    """Cut texts into shingles: 3 characters where Han prevails, else 2 words; hash each.

    Shorter texts are one shingle. Case, width and traditional or simplified characters do not
    count.
    """
    codes = _Codes()
    counts: list[IndexArray] = []
    hashes: list[HashArray] = []
    block: list[int] = []
    lengths: list[int] = []
    for text in texts:
        plain = unicodedata.normalize("NFKC", text).casefold()
        units = _UNITS.findall(plain if plain.isascii() else simplified(plain))
        block.extend(map(codes.__getitem__, units))
        lengths.append(len(units))
        if len(block) > _BLOCK_UNITS:
            _shingle_block(block, lengths, hashes, counts)
            block, lengths = [], []
    _shingle_block(block, lengths, hashes, counts)
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum(np.concatenate(counts), out=starts[1:])
    return Shingles(np.concatenate(hashes), starts)


def _shingle_block(
    units: list[int], lengths: list[int], hashes: list[HashArray], counts: list[IndexArray]
) -> None:
    """Hash the shingles of several texts at once; append hashes and how many each text has."""
    codes = np.array(units, dtype=np.uint64)
    length = np.array(lengths, dtype=np.int64)
    text = np.repeat(np.arange(len(length)), length)
    first = np.cumsum(length) - length
    han = np.bincount(text[codes >= _HAN_BIT], minlength=len(length))
    size = np.minimum(np.where(2 * han > length, HAN_SHINGLE, WORD_SHINGLE), length)
    # A shingle begins at every unit that has enough units of its text from there on.
    begins = np.flatnonzero(np.arange(len(codes)) - first[text] <= (length - size)[text])
    values = np.zeros(len(begins), dtype=np.uint64)
    for offset in range(max(HAN_SHINGLE, WORD_SHINGLE)):
        reach = size[text[begins]] > offset
        values[reach] = _mix(values[reach] + codes[begins[reach] + offset])
    _append_distinct(values, text[begins], len(length), hashes, counts)


def _append_distinct(
    values: HashArray,
    text: IndexArray,
    texts: int,
    hashes: list[HashArray],
    counts: list[IndexArray],
) -> None:
    """Sort the hashes within each text, drop repeats, keep the least ``MAX_SHINGLES``."""
    order = np.lexsort((values, text))
    values, text = values[order], text[order]
    new = np.ones(len(values), dtype=bool)
    new[1:] = (values[1:] != values[:-1]) | (text[1:] != text[:-1])
    values, text = values[new], text[new]
    count = np.bincount(text, minlength=texts)
    rank = np.arange(len(values)) - (np.cumsum(count) - count)[text]
    hashes.append(values[rank < MAX_SHINGLES])
    counts.append(np.minimum(count, MAX_SHINGLES).astype(np.int64))


def _mix(values: HashArray) -> HashArray:
    """Scramble 64-bit values (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: HashArray = (values ^ (values >> np.uint64(31))) + _MULTIPLIER
    return mixed
