"""From a fully tuned model to a small adapter: the best low-rank part of what each matrix learnt.

Full tuning is as good as LoRA and takes less time a step; what it changed in a matrix is nearly of
low rank (Aghajanyan et al. 2021, arXiv:2012.13255; Hu et al. 2021, arXiv:2106.09685), so that the
truncated singular value decomposition of the change, the nearest matrix of that rank (Eckart and
Young 1936), keeps nearly all of what counts.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from assistant.models.build.tuned import LORA_A, LORA_B, TunedWeights, keep_layers
from assistant.models.build.weights import EncoderWeights
from indexes.types import FloatArray


def blended(tuned: TunedWeights, base: EncoderWeights, share: float) -> TunedWeights:
    """Return weights between base (``share`` 0) and ``tuned`` (1): WiSE-FT (Wortsman et al. 2022,
    arXiv:2109.01903), which keeps more of what the base knew beside what tuning taught.

    New tensors, such as heads, stay as they are; so does everything at share 1.
    """
    if share == 1:
        return tuned
    known = keep_layers(base, tuned.layers) if tuned.layers else base
    tensors: dict[str, FloatArray] = {}
    for name, value in tuned.tensors.items():
        before = known.tensors.get(name)
        if name.endswith(LORA_B):
            tensors[name] = value * np.float32(share)
        else:
            tensors[name] = (
                value if before is None else before + np.float32(share) * (value - before)
            )
    # Outlier factors belong to the weights they were found on.
    return replace(tuned, tensors=tensors, scales={})


def shrunk(tuned: TunedWeights, base: EncoderWeights, rank: int) -> TunedWeights:
    """Return ``tuned`` with every replaced matrix of a layer as two factors of ``rank`` at most.

    Biases, norms, heads, prompt, word vectors and factors there are already stay as they are; so
    does a matrix that factors would not make smaller.
    """
    known = keep_layers(base, tuned.layers) if tuned.layers else base
    tensors: dict[str, FloatArray] = {}
    for name, value in tuned.tensors.items():
        before = known.tensors.get(name)
        matrix = value.ndim == 2 and name.startswith("l") and before is not None
        if not matrix or rank * sum(value.shape) >= value.size:
            tensors[name] = value
            continue
        assert before is not None
        a, b = factors(value - before, rank)
        stem = name.removesuffix(".w")
        tensors[stem + LORA_A], tensors[stem + LORA_B] = a, b
    return replace(tuned, tensors=tensors)


def factors(change: FloatArray, rank: int) -> tuple[FloatArray, FloatArray]:
    """Return a (rank, in) and b (out, rank) with ``b @ a`` the nearest matrix to ``change``."""
    u, s, v = np.linalg.svd(change, full_matrices=False)
    root = np.sqrt(s[:rank])
    return (v[:rank] * root[:, None]).astype(np.float32), (u[:, :rank] * root).astype(np.float32)
