"""Write one Hugging Face folder as an ONNX Runtime GenAI model; run in a process of its own.

``python -m training.generator.genai_build FOLDER OUTPUT PRECISION``. The runtime's builder puts its
own modules on the path, prints as it goes and holds several copies of the weights: none of that
belongs into the caller's process.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

OPTIONS: dict[str, tuple[str, ...]] = {
    "fp32": (),
    "int8": ("accuracy_level=4", "shared_embeddings=false"),
    # Rounding to nearest loses the answers; k-quants with sensitive matrices in int8 keep more.
    "int4": (
        "accuracy_level=4",
        "algo_config=k_quant",
        "matmul_mixed_precision=last_matmul:int8,mixed_layers:int8",
        "shared_embeddings=false",
    ),
}
COMMON = ("hf_token=false", "hf_remote=false", "prune_lm_head=true")


def build(folder: Path, output: Path, precision: str) -> None:
    """Write ``output`` with model.onnx, model.onnx.data, genai_config.json and the tokenizer."""
    import onnxruntime_genai.models  # noqa: F401  puts the builder's modules on the path
    from onnxruntime_genai.models import builder

    with tempfile.TemporaryDirectory() as cache:
        source, target = str(folder), str(output)
        given = [*COMMON, *OPTIONS[precision]]
        options = builder.parse_extra_options("", source, target, precision, "cpu", cache, given)
        flatten_rope(options["hf_details"]["hf_config"])
        builder.create_model("", source, target, precision, "cpu", cache, **options)


def flatten_rope(config: Any) -> None:
    """Give the builder the rotary parameters as it reads them.

    transformers 5 nests them by attention type for models that mix local and global attention
    (Gemma 3); builder 0.18 expects the global ones flat and the local base as an attribute.
    """
    nested = getattr(config, "rope_parameters", None)
    if not isinstance(nested, dict) or "full_attention" not in nested:
        return
    glob, local = nested["full_attention"], nested["sliding_attention"]
    config.rope_parameters = {"rope_type": "default", **glob}
    config.rope_theta = glob["rope_theta"]
    config.rope_local_base_freq = local["rope_theta"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("precision", choices=sorted(OPTIONS))
    given = parser.parse_args(arguments)
    with contextlib.redirect_stdout(sys.stderr):
        build(given.folder, given.output, given.precision)
    return 0


if __name__ == "__main__":
    sys.exit(main())
