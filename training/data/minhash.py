"""Near-duplicates among many texts: MinHash signatures and locality-sensitive hashing.

Broder, "On the resemblance and containment of documents" (1997); banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. Every pair found is checked by its true Jaccard
similarity, so there are no false pairs; a pair at the threshold is missed about once in a hundred.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.fingerprint import HashArray, IndexArray, Shingles, shingle

RECALL = 0.99
"""Least chance that a pair right at the threshold meets in a band."""
MAX_BUCKET_PAIRS = 32
"""In a bucket each text is compared with the first and with so many that follow it."""

_BLOCK = 1 << 20
_SLACK = 5.0
"""Standard errors by which a signature's estimate may fall short before a pair is left out."""


@dataclass(frozen=True, slots=True)
class NearPairs:
    """Pairs of resembling texts, ``first[i] < second[i]``, each once.

    ``first`` and ``second`` int64 (m,) positions; ``similarity`` float64 (m,) Jaccard, in (0, 1].
    """

    first: IndexArray
    second: IndexArray
    similarity: npt.NDArray[np.float64]


def near_pairs(
    texts: Sequence[str], *, threshold: float = 0.85, permutations: int = 128, seed: int = 1
) -> NearPairs:
    """Return the pairs of texts whose shingle sets have a Jaccard similarity >= ``threshold``."""
    shingles = shingle(texts)
    signatures = minhash(shingles, permutations, seed)
    bands = choose_bands(threshold, permutations)
    pairs = _candidates(signatures, bands, len(texts))
    return _verified(pairs, signatures, shingles, threshold)


def choose_bands(threshold: float, permutations: int) -> int:
    """Return the fewest bands that let a pair at the threshold meet with chance ``RECALL``.

    With ``r`` rows a band and ``b`` bands the chance is ``1 - (1 - threshold ** r) ** b``.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= RECALL:
            return bands
    return permutations


def minhash(shingles: Shingles, permutations: int, seed: int) -> npt.NDArray[np.uint32]:
    """Return signatures, uint32 (n, permutations); texts without shingles get the largest value.

    The hash family is multiply-shift on 64 bits (Dietzfelbinger et al. 1997).
    """
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 1 << 63, permutations, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(0, 1 << 63, permutations, dtype=np.uint64)
    signatures = np.full((len(shingles), permutations), 0xFFFFFFFF, dtype=np.uint32)
    for rows, block, starts in _blocks(shingles):
        for index in range(permutations):
            values = (block * factors[index] + shifts[index]) >> np.uint64(32)
            signatures[rows, index] = np.minimum.reduceat(values, starts)
    return signatures


def _blocks(shingles: Shingles) -> Iterator[tuple[IndexArray, HashArray, IndexArray]]:
    """Yield texts that have shingles, about a million shingles at a time."""
    counts = np.diff(shingles.starts)
    filled = np.flatnonzero(counts)
    begin = 0
    while begin < len(filled):
        limit = shingles.starts[filled[begin]] + _BLOCK
        end = max(int(np.searchsorted(shingles.starts[filled + 1], limit, "right")), begin + 1)
        rows = filled[begin:end]
        first, last = shingles.starts[rows[0]], shingles.starts[rows[-1] + 1]
        yield rows, shingles.hashes[first:last], shingles.starts[rows] - first
        begin = end


def _candidates(signatures: npt.NDArray[np.uint32], bands: int, count: int) -> IndexArray:
    """Return pairs that share a band, coded ``first * count + second``, int64, ascending."""
    if count < 2:
        return np.zeros(0, dtype=np.int64)
    rows = signatures.shape[1] // bands
    weights = np.random.default_rng(7).integers(0, 1 << 63, rows, dtype=np.uint64)
    weights = weights * np.uint64(2) + np.uint64(1)
    filled = np.flatnonzero((signatures != 0xFFFFFFFF).any(axis=1))
    if not len(filled):
        return filled
    found = [np.zeros(0, dtype=np.int64)]
    for band in range(bands):
        part = signatures[filled, band * rows : (band + 1) * rows].astype(np.uint64)
        keys = (part * weights).sum(axis=1, dtype=np.uint64)
        found.append(np.unique(_bucket_pairs(keys, filled, count)))
    return np.unique(np.concatenate(found))


def _bucket_pairs(keys: HashArray, texts: IndexArray, count: int) -> IndexArray:
    """Pair every text with the first of its bucket and with up to 32 that follow it."""
    order = np.argsort(keys, kind="stable")
    sorted_keys, members = keys[order], texts[order]
    begins = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    sizes = np.diff(np.r_[begins, len(members)])
    firsts = np.repeat(members[begins], sizes)
    found = [(firsts * count + members)[firsts != members]]
    for step in range(1, min(MAX_BUCKET_PAIRS, int(sizes.max(initial=1)) - 1) + 1):
        same = sorted_keys[step:] == sorted_keys[:-step]
        found.append(members[:-step][same] * count + members[step:][same])
    return np.concatenate(found)


def _verified(
    pairs: IndexArray,
    signatures: npt.NDArray[np.uint32],
    shingles: Shingles,
    threshold: float,
) -> NearPairs:
    """Keep the pairs whose true similarity reaches the threshold; the estimate goes first."""
    count = max(len(shingles), 1)
    first, second = pairs // count, pairs % count
    error = _SLACK * np.sqrt(threshold * (1 - threshold) / signatures.shape[1])
    kept = np.zeros(len(pairs), dtype=bool)
    for begin in range(0, len(pairs), _BLOCK // 16):
        part = slice(begin, begin + _BLOCK // 16)
        equal = (signatures[first[part]] == signatures[second[part]]).mean(axis=1)
        kept[part] = equal >= threshold - error
    first, second = first[kept], second[kept]
    exact = [shingles.jaccard(int(a), int(b)) for a, b in zip(first, second, strict=True)]
    similarity = np.array(exact, dtype=np.float64)
    enough = similarity >= threshold
    return NearPairs(first[enough], second[enough], similarity[enough])


class Components:
    """Groups of things linked to one another (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, item: int) -> int:
        """Return the least member of the item's group."""
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def link(self, first: int, second: int) -> None:
        """Unite the groups of two items."""
        a, b = self.find(first), self.find(second)
        self._parent[max(a, b)] = min(a, b)

    def roots(self) -> list[int]:
        """Return for every item the least member of its group."""
        return [self.find(item) for item in range(len(self._parent))]
