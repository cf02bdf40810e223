"""Open the base encoder that tuned weights are merged into."""

from __future__ import annotations

from dataclasses import dataclass

from assistant.models.build.pipeline import trimmed
from assistant.models.build.recipe import BASES, Recipe, recipe_for
from assistant.models.build.sources import locate
from assistant.models.build.weights import EncoderWeights


@dataclass(frozen=True, slots=True)
class BaseEncoder:
    """A base. ``sha256`` is the hash of its files; ``source`` and ``version`` say whose they are.

    ``licence`` is empty where the source does not state one.
    """

    weights: EncoderWeights
    name: str
    sha256: str
    source: str
    version: str
    query_prefix: str
    passage_prefix: str
    licence: str


def open_base(model: str) -> BaseEncoder:
    """Return a built-in base by name, or one from a folder or hub id; ModelError if none is there.

    The vocabulary is trimmed as the served encoder's is, so both number their tokens alike.
    """
    recipe = base_recipe(model)
    source = locate(recipe.source)
    weights = source.read()
    return BaseEncoder(
        weights=trimmed(weights) if recipe.trim else weights,
        name=model,
        sha256=source.sha256,
        source=source.label,
        version=source.version,
        query_prefix=recipe.query_prefix,
        passage_prefix=recipe.passage_prefix,
        licence=recipe.licence if model in BASES else "",
    )


def base_recipe(model: str) -> Recipe:
    """Return how the base ``model`` is built."""
    return recipe_for(model, None if model in BASES else model)
