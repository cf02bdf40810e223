"""Texts as token rows: prompts masked for fine-tuning, packed blocks for pre-training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistant.errors import InvalidInputError
from assistant.models.generation.prompts import lead
from training.generator.rows import Row

if TYPE_CHECKING:
    from tokenizers import Tokenizer

IGNORED = -100
"""Label of a token that is not learnt, as PyTorch's cross-entropy knows it."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """``ids`` and ``labels``, equally many; labels are ids or ``IGNORED``."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Codec:
    """A tokenizer with its marks for begin and end. Markup in text is encoded as plain text."""

    tokenizer: Tokenizer
    bos: int
    eos: int

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` without begin and end."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def row(self, row: Row, max_tokens: int) -> TokenRow | None:
        """Return a fine-tuning row, or None when it is longer than ``max_tokens``.

        Prompt and completion are encoded apart, as in serving, where only the prompt is there. The
        labels are the completion and the end mark.
        """
        prompt = [self.bos, *self.encode(row.prompt)]
        answer = [*self.encode(lead(row.prompt) + row.response), self.eos]
        if len(prompt) + len(answer) > max_tokens:
            return None
        return TokenRow((*prompt, *answer), (IGNORED,) * len(prompt) + tuple(answer))

    def blocks(self, texts: Iterable[str], max_tokens: int) -> list[TokenRow]:
        """Return texts joined by end and begin marks and cut to blocks of ``max_tokens``.

        Every block but the last is full, so no padding is computed.
        """
        flat: list[int] = []
        for text in texts:
            flat.extend((self.bos, *self.encode(text), self.eos))
        cuts = [tuple(flat[i : i + max_tokens]) for i in range(0, len(flat), max_tokens)]
        return [TokenRow(cut, cut) for cut in cuts if len(cut) > 1]


def open_codec(folder: Any, config: dict[str, Any]) -> Codec:
    """Return the codec of a Hugging Face folder; InvalidInputError without begin or end mark."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    # A customer's text may spell "<eos>"; it must not end the prompt.
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bos, eos = config.get("bos_token_id"), config.get("eos_token_id")
    eos = eos[0] if isinstance(eos, list) else eos
    if bos is None or eos is None:
        raise InvalidInputError(f"{folder}/config.json names no bos_token_id or eos_token_id.")
    return Codec(tokenizer, int(bos), int(eos))


def encode_rows(codec: Codec, rows: Sequence[Row], max_tokens: int) -> tuple[list[TokenRow], int]:
    """Return the rows that fit and how many do not; InvalidInputError when none fits."""
    encoded = [codec.row(row, max_tokens) for row in rows]
    fitting = [row for row in encoded if row is not None]
    if not fitting:
        raise InvalidInputError(
            f"None of {len(rows)} rows fits {max_tokens} tokens; raise train.max_tokens."
        )
    return fitting, len(rows) - len(fitting)


def collate(rows: Sequence[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Return a batch padded on the right: ``input_ids``, ``attention_mask`` and ``labels``, each
    an integer tensor (rows, longest)."""
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    shape = (len(rows), longest)
    ids = torch.full(shape, pad, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED, dtype=torch.long)
    for i, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[i, :length] = torch.tensor(row["input_ids"])
        mask[i, :length] = 1
        labels[i, :length] = torch.tensor(row["labels"])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
