"""Batches of one head each, drawn so that small tables are heard beside large ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

POWER = 0.75
"""Tables are drawn in proportion to their size to this power: between each row counting alike (1)
and each table counting alike (0). Stickland & Murray 2019 (arXiv:1902.02671) move between these."""
_GROUP = 50


class HeadBatches(Sampler[int]):
    """Yields places of rows such that every ``batch_size`` in a row belong to one head.

    ``sizes`` and ``weights`` say how many rows each head has, in the order in which they stand, and
    how much more it is drawn. A head with more draws than rows starts over; the rest of a head that
    fills no batch waits for another epoch. With ``lengths``, rows of like length share batches.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        batch_size: int,
        seed: int,
        lengths: Sequence[int] | None = None,
    ) -> None:
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._sizes, self._batch, self._seed = list(sizes), batch_size, seed
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._epoch = 0
        self.batches = _shares(sizes, weights, -(-sum(sizes) // batch_size))

    def set_epoch(self, epoch: int) -> None:
        """Draw as in this epoch; the Trainer says which."""
        self._epoch = epoch

    def __len__(self) -> int:
        return sum(self.batches) * self._batch

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self._seed, self._epoch])
        batches = [
            batch
            for head, count in enumerate(self.batches)
            for batch in self._of(head, count, random)
        ]
        for place in random.permutation(len(batches)).tolist():
            yield from batches[place]

    def _of(self, head: int, count: int, random: np.random.Generator) -> list[list[int]]:
        """Return ``count`` batches of a head's rows."""
        size, wanted = self._sizes[head], count * self._batch
        passes = -(-wanted // size)
        order = np.concatenate([random.permutation(size) for _ in range(passes)])[:wanted]
        order = order + self._starts[head]
        if self._lengths is not None:
            step = self._batch * _GROUP
            groups = [order[i : i + step] for i in range(0, wanted, step)]
            order = np.concatenate(
                [g[np.argsort(-self._lengths[g], kind="stable")] for g in groups]
            )
        return [order[i : i + self._batch].tolist() for i in range(0, wanted, self._batch)]


def _shares(sizes: Sequence[int], weights: Sequence[float], total: int) -> list[int]:
    """Return how many of ``total`` batches each head gets, at least one."""
    wanted = np.array(sizes, dtype=np.float64) ** POWER * np.array(weights)
    return [max(1, round(float(share))) for share in total * wanted / wanted.sum()]
