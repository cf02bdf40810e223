"""The export's gate: does the served model compute what PyTorch computes?

Three comparisons with the merged fp32 weights in PyTorch: the logits after prompts of many
lengths, below and above the attention window; the text each writes greedily; and on real rows how
much likelihood the right answer's tokens lose, in nats a token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assistant.errors import ModelError
from assistant.models.generation.generator import Generator
from assistant.models.generation.prompts import lead
from indexes.types import FloatArray
from training.generator.model import load_decoder
from training.generator.rows import Row
from training.generator.tokens import Codec

LENGTHS = (2, 7, 16, 33, 64, 128, 257, 513, 700)
GREEDY_TOKENS = 24
_MAX_FP32_DIFFERENCE = 0.01
"""Of a logit, where logits span about 50: order of sums, nothing else."""


def measure(
    merged: Path, opened: Generator, codec: Codec, rows: Sequence[Row], greedy_prompts: int = 4
) -> dict[str, float]:
    """Return the figures of the gate.

    ``logit_cosine`` and ``logit_difference``: least and largest over the lengths; ``top_equal``:
    share of lengths with the same best token; ``greedy_equal``: share of tokens before the greedy
    texts part; ``loss_added``: mean cross-entropy of the right tokens, served minus PyTorch;
    ``loss``: PyTorch's own.
    """
    import torch

    model = load_decoder(merged, bf16=False).eval()
    with torch.inference_mode():
        figures = _logits(model, opened, codec, rows)
        figures |= _greedy(model, opened, codec, rows[:greedy_prompts])
        figures |= _losses(model, opened, codec, rows)
    return figures


def check(figures: Mapping[str, float], precision: str, max_loss: float) -> None:
    """Raise ModelError when the figures do not pass.

    fp32 must equal PyTorch but for rounding; any precision may add at most ``max_loss``.
    """
    difference = figures["logit_difference"]
    if precision == "fp32" and difference > _MAX_FP32_DIFFERENCE:
        raise ModelError(
            f"The fp32 export differs from PyTorch by {difference:.4f} in a logit; at most "
            f"{_MAX_FP32_DIFFERENCE}. The exported graph is wrong: check the builder's version."
        )
    added = figures["loss_added"]
    if not added <= max_loss:
        raise ModelError(
            f"The {precision} export adds {added:.4f} to the loss of the right answers; "
            f"export.max_loss allows {max_loss}. Choose a finer precision or raise the limit."
        )


def _logits(model: Any, opened: Generator, codec: Codec, rows: Sequence[Row]) -> dict[str, float]:
    text = "\n".join(row.prompt + lead(row.prompt) + row.response for row in rows)
    ids = codec.encode(text)
    ids = ids * (1 + max(LENGTHS) // max(1, len(ids)))
    cosines, differences, equal = [], [], []
    longest = opened.manifest.max_tokens - 1
    for length in sorted({min(length, longest) for length in LENGTHS}):
        row = (codec.bos, *ids[: length - 1])
        want = _torch_logits(model, row)[-1]
        found = opened.last_logits_of(row)
        norms = float(np.linalg.norm(want) * np.linalg.norm(found))
        cosines.append(float(want @ found) / norms)
        differences.append(float(np.abs(want - found).max()))
        equal.append(float(want.argmax() == found.argmax()))
    return {
        "logit_cosine": min(cosines),
        "logit_difference": max(differences),
        "top_equal": float(np.mean(equal)),
    }


def _greedy(model: Any, opened: Generator, codec: Codec, rows: Sequence[Row]) -> dict[str, float]:
    import torch

    shares = []
    for row in rows:
        prompt = (codec.bos, *codec.encode(row.prompt))
        made = model.generate(
            torch.tensor([prompt]), max_new_tokens=GREEDY_TOKENS, do_sample=False, top_k=None,
            top_p=None, eos_token_id=codec.eos, pad_token_id=codec.eos,
        )  # fmt: skip
        want = [int(i) for i in made[0][len(prompt) :] if int(i) != codec.eos]
        found = opened.generate_ids(prompt, GREEDY_TOKENS)
        same = 0
        for a, b in zip(want, found, strict=False):
            if a != b:
                break
            same += 1
        longest = max(len(want), len(found))
        shares.append(same / longest if longest else 1.0)
    return {"greedy_equal": float(np.mean(shares))} if shares else {}


def _losses(model: Any, opened: Generator, codec: Codec, rows: Sequence[Row]) -> dict[str, float]:
    """At the first, a middle and the last token of each right answer (the end mark)."""
    wanted, served = [], []
    for row in rows:
        prompt = [codec.bos, *codec.encode(row.prompt)]
        answer = [*codec.encode(lead(row.prompt) + row.response), codec.eos]
        if len(prompt) + len(answer) > opened.manifest.max_tokens:
            continue
        whole = (*prompt, *answer)
        logits = _torch_logits(model, whole)
        for place in sorted({0, len(answer) // 2, len(answer) - 1}):
            upto = len(prompt) + place
            wanted.append(_surprise(logits[upto - 1], answer[place]))
            served.append(_surprise(opened.last_logits_of(whole[:upto]), answer[place]))
    if not wanted:
        return {"loss": 0.0, "loss_added": 0.0}
    return {
        "loss": float(np.mean(wanted)),
        "loss_added": float(np.mean(served) - np.mean(wanted)),
    }


def _torch_logits(model: Any, ids: Sequence[int]) -> FloatArray:
    import torch

    logits: FloatArray = model(input_ids=torch.tensor([list(ids)])).logits[0].float().numpy()
    return logits


def _surprise(logits: FloatArray, token: int) -> float:
    """Return -ln p(token), in nats."""
    shifted = logits.astype(np.float64) - float(logits.max())
    return float(np.log(np.exp(shifted).sum()) - shifted[token])
