"""Masked language modelling: blocks of running text, whole words masked, a head tied to the words.

Devlin et al. 2019 (arXiv:1810.04805): of the places chosen, 80 % become a mask, 10 % another piece,
10 % stay. Whole words are chosen, Chinese ones too (Cui et al. 2019, arXiv:1906.08101), so that a
piece cannot be told from the rest of its own word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from assistant.models.build.weights import EncoderWeights, Vocabulary
from indexes.types import FloatArray
from training.loop import Example
from training.modeling import TunedModel

HEAD = "head.mlm."
"""Where a version keeps the head, so that pre-training can go on. Serving has no use for it."""
MASK = "<mask>"
IGNORED = -100
_AT_ONCE = 512

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of running text: ``ids`` int64 (tokens,) with the special tokens at both ends, and
    for each the number of the word it belongs to, -1 for special tokens."""

    ids: Ints
    words: Ints


def make_blocks(texts: Sequence[str], tokenizer: Tokenizer, tokens: int) -> list[Block]:
    """Return the texts one after the other, cut into blocks of ``tokens`` tokens; the rest of the
    last block is kept when it fills a quarter of one."""
    bos, eos = tokenizer.encode("").ids
    ids: list[int] = []
    words: list[int] = []
    count = 0
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    for text, encoding in zip(texts, encodings, strict=True):
        places = word_numbers(text, encoding.offsets)
        ids += [*encoding.ids, eos]
        words += [*(count + place for place in places), -1]
        count += max(places, default=0) + 1
    room = tokens - 2
    blocks = []
    for start in range(0, len(ids), room):
        part = slice(start, start + room)
        inside = ids[part]
        if start == 0 or 4 * len(inside) >= room:
            blocks.append(
                Block(
                    np.array([bos, *inside, eos], dtype=np.int64),
                    np.array([-1, *words[part], -1], dtype=np.int64),
                )
            )
    return blocks


def word_numbers(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """Return for each token, given by its range of code points, the number of its word."""
    import rjieba

    of_char: list[int] = []
    for number, word in enumerate(rjieba.cut(text)):
        of_char += [number] * len(word)
    last = len(of_char) - 1
    # A piece may begin with the blank before its word, so its last character tells.
    return [of_char[min(max(start, end - 1), last)] for start, end in offsets] if of_char else []


class Masker:
    """Masks a share of a block's tokens, whole words. Draws from its own random numbers."""

    def __init__(self, vocabulary: Vocabulary, share: float, seed: int) -> None:
        """Where the vocabulary has lost its mask, the unknown piece stands in for it."""
        pieces = vocabulary.pieces
        self.mask = pieces.index(MASK) if MASK in pieces else vocabulary.unk
        self._special = {vocabulary.bos, vocabulary.eos, vocabulary.pad, vocabulary.unk, self.mask}
        self._pieces, self._share = len(pieces), share
        self._random = np.random.default_rng(seed)

    def __call__(self, block: Block) -> tuple[Ints, Ints]:
        """Return the masked ids, and what stood at the masked places, ``IGNORED`` elsewhere."""
        usable = (block.words >= 0) & ~np.isin(block.ids, list(self._special))
        labels = np.full(len(block.ids), IGNORED, dtype=np.int64)
        ids = block.ids.copy()
        wanted = max(1, round(self._share * int(usable.sum())))
        words = np.unique(block.words[usable])
        self._random.shuffle(words)
        for word in words:
            if (labels != IGNORED).sum() >= wanted:
                break
            places = np.flatnonzero(usable & (block.words == word))
            labels[places] = block.ids[places]
            ids[places] = self._hidden(block.ids[places])
        return ids, labels

    def _hidden(self, ids: Ints) -> Ints:
        """Return the masks of one word: all of its pieces meet the same fate."""
        draw = self._random.random()
        if draw < 0.8:
            return np.full_like(ids, self.mask)
        if draw < 0.9:
            return self._random.integers(0, self._pieces, len(ids))
        return ids


class MaskHead(nn.Module):
    """From an encoder's vector to a score of every piece: dense, GELU, layer norm, the word
    vectors themselves (Press & Wolf 2017, arXiv:1608.05859), a bias."""

    def __init__(self, hidden: int, pieces: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.bias = nn.Parameter(torch.zeros(pieces))
        nn.init.eye_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, vectors: Tensor, table: Tensor) -> Tensor:
        """Return logits (places, pieces) of vectors (places, hidden)."""
        inner = self.norm(nn.functional.gelu(self.dense(vectors)))
        return nn.functional.linear(inner, table.to(inner.dtype), self.bias.to(inner.dtype))

    def tensors(self) -> dict[str, FloatArray]:
        """Return its weights as a version keeps them."""
        return {HEAD + name: p.detach().cpu().numpy().copy() for name, p in self.named_parameters()}

    def load(self, tensors: Mapping[str, FloatArray]) -> bool:
        """Take the weights of an earlier head; False when there are none of this size."""
        own = dict(self.named_parameters())
        found = {name: tensors.get(HEAD + name) for name in own}
        if any(v is None or v.shape != tuple(own[n].shape) for n, v in found.items()):
            return False
        for name, value in found.items():
            own[name].data.copy_(torch.from_numpy(np.array(value)))
        return True


class MaskedModel(TunedModel):
    """An encoder that learns to tell what stood at masked places."""

    def __init__(self, weights: EncoderWeights, *, dropout: float = 0.1) -> None:
        super().__init__(weights, (), dropout=dropout)
        self.mlm = MaskHead(weights.shape.hidden, len(weights.vocabulary.pieces))

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Return the mean ``loss`` over the masked places of a batch."""
        hidden = self.hidden_states(input_ids, attention_mask)
        chosen = labels != IGNORED
        table = self.encoder.get_input_embeddings().weight
        logits = self.mlm(hidden[chosen], table)
        return {"loss": nn.functional.cross_entropy(logits.float(), labels[chosen])}


def word_bias(blocks: Sequence[Block], pieces: int) -> Tensor:
    """Return the logarithm of how often each piece stands in the blocks, (pieces,), mean 0.

    As a first bias it spares the head from learning which pieces are frequent.
    """
    counts = np.bincount(np.concatenate([block.ids for block in blocks]), minlength=pieces)
    logs = np.log(counts + 0.1)
    return torch.from_numpy((logs - logs.mean()).astype(np.float32))


def collate(masker: Masker, pad: int) -> Callable[[list[Example]], dict[str, Tensor]]:
    """Return what makes a batch of blocks, masked anew each time."""

    def batch(rows: list[Example]) -> dict[str, Tensor]:
        return masked_batch([masker(row["block"]) for row in rows], pad)

    return batch


def masked_batch(rows: Sequence[tuple[Ints, Ints]], pad: int) -> dict[str, Tensor]:
    """Return masked blocks padded to the longest."""
    longest = max(len(ids) for ids, _ in rows)
    shape = (len(rows), longest)
    ids, labels = np.full(shape, pad), np.full(shape, IGNORED)
    mask = np.zeros(shape, dtype=np.int64)
    for place, (own, wanted) in enumerate(rows):
        ids[place, : len(own)], labels[place, : len(own)] = own, wanted
        mask[place, : len(own)] = 1
    return {
        "input_ids": torch.from_numpy(ids.astype(np.int64)),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels.astype(np.int64)),
    }


@torch.inference_mode()
def judge(
    head: MaskHead, table: Tensor, vectors: FloatArray, wanted: Ints
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return for each masked place whether its piece is found first, and the loss in nats.

    ``vectors`` float32 (places, hidden) are the encoder's, ``wanted`` int (places,).
    """
    hits, losses = [], []
    for start in range(0, len(wanted), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        logits = head(torch.from_numpy(vectors[part]).to(table.device), table).float()
        truth = torch.from_numpy(wanted[part]).to(table.device)
        hits.append((logits.argmax(-1) == truth).cpu().numpy())
        losses.append(nn.functional.cross_entropy(logits, truth, reduction="none").cpu().numpy())
    return np.concatenate(hits), np.concatenate(losses)


def places(labels: Ints) -> tuple[Ints, Any]:
    """Return the masked places of a block and the rows of pooling that read exactly them."""
    found = np.flatnonzero(labels != IGNORED)
    pool = np.zeros((len(found), len(labels)), dtype=np.float32)
    pool[np.arange(len(found)), found] = 1
    return found, pool
