"""The recipe of a training run: one TOML file, read strictly.

``read_recipe`` names a misspelt key and the nearest known one. Every default is written into the
passport of the version that comes out, so a version says wholly how it was made.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field, ValidationError, model_validator

from assistant.errors import InvalidInputError
from training.data.spec import DataSpec
from training.sections import (
    About,
    Base,
    Continual,
    Contrast,
    Distil,
    Export,
    Gate,
    Generation,
    Head,
    Pairs,
    Pretrain,
    Pseudo,
    Reading,
    Records,
    Search,
    Section,
    Train,
    Tuning,
)

RECIPES = Path(__file__).parent / "recipes"
CONSISTENT = ("classifier", "tagger", "reranker", "multitask")
"""Tasks whose heads can be read twice a step (``train.consistency``)."""


class Recipe(Section):
    """A whole recipe. Sections a task has no use for stay at their defaults."""

    recipe: About
    base: Base = Base()
    data: DataSpec | None = None
    tuning: Tuning = Tuning()
    train: Train = Train()
    export: Export = Export()
    gate: Gate = Gate()
    heads: Mapping[str, Head] = Field(default_factory=dict)
    contrast: Contrast = Contrast()
    pairs: Pairs = Pairs()
    reading: Reading = Reading()
    pretrain: Pretrain = Pretrain()
    distil: Distil = Distil()
    records: Records = Records()
    continual: Continual = Continual()
    pseudo: Pseudo = Pseudo()
    search: Search = Search()
    generation: Generation = Generation()

    @model_validator(mode="after")
    def _consistency_where_it_counts(self) -> Recipe:
        plain = self.tuning.method not in ("few_shot", "zero_shot") and not self.distil.teacher
        if self.train.consistency and not (self.recipe.task in CONSISTENT and plain):
            raise ValueError(
                f"train.consistency is {self.train.consistency:g}, which {self.recipe.task} with "
                f"tuning.method {self.tuning.method!r} or a teacher has no use for; set it to 0, "
                f"or take a {' or '.join(CONSISTENT)} with its rows in the loop"
            )
        return self

    @model_validator(mode="after")
    def _slips_where_they_are_made(self) -> Recipe:
        looped = self.tuning.method not in ("few_shot", "zero_shot")
        typed = self.recipe.task == "classifier" and not self.records.synthetic
        if self.train.slips and not (looped and typed):
            raise ValueError(
                f"train.slips is {self.train.slips:g}, but typing errors are made only in the rows "
                f"of a classifier of texts in the loop, not of {self.recipe.task} with "
                f"tuning.method {self.tuning.method!r}; set it to 0"
            )
        return self

    @property
    def registry_task(self) -> str:
        """The registry's name for what comes out."""
        if self.recipe.task == "pretrain":
            return "base" if self.pretrain.target == "encoder" else "generator"
        return self.recipe.kind if self.recipe.task == "classifier" else self.recipe.task

    def resolved(self) -> dict[str, Any]:
        """Return every value, defaults too, as JSON values."""
        values: dict[str, Any] = self.model_dump(mode="json")
        return values

    def digest(self) -> str:
        """Return 12 hexadecimal digits that change with any value."""
        text = json.dumps(self.resolved(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


Changes: TypeAlias = Sequence[str]


def read_recipe(path: Path, changes: Changes = ()) -> Recipe:
    """Read a recipe file, or a shipped one by name, with ``changes`` like ``train.epochs=1``.

    Relative data paths are taken from ``data.root``, or else from the file's folder. Raises
    InvalidInputError naming the key, the value and what is allowed.
    """
    path = _find(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not readable TOML: {error}.") from error
    for change in changes:
        _set(values, change)
    _root_data(values, path.parent)
    return make_recipe(values, str(path))


def make_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Return the recipe these values describe; InvalidInputError names the key that is wrong."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise InvalidInputError(_explain(error, origin)) from None


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe with dotted keys replaced: ``{"train.learning_rate": 1e-4}``."""
    values = recipe.resolved()
    for key, value in changes.items():
        _put(values, key, value)
    return make_recipe(values, recipe.recipe.name)


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    shipped = RECIPES / (path.name if path.suffix == ".toml" else f"{path.name}.toml")
    if shipped.is_file() and len(path.parts) == 1:
        return shipped
    names = sorted(p.stem for p in RECIPES.glob("*.toml"))
    near = difflib.get_close_matches(path.stem, names, 1)
    raise InvalidInputError(
        f"There is no recipe {path}"
        + (f"; did you mean {near[0]}?" if near else ".")
        + f" Shipped recipes: {', '.join(names)}."
    )


def _set(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise InvalidInputError(f"--set {change!r} is not of the form section.key=value.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        # Bare words need no quotes on a command line.
        value = text
    _put(values, key.strip(), value)


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        inner = place.setdefault(parent, {})
        if inner is None:
            inner = place[parent] = {}
        if not isinstance(inner, dict):
            raise InvalidInputError(f"{key}: {parent} is a value, not a section.")
        place = inner
    place[last] = value


def _root_data(values: dict[str, Any], folder: Path) -> None:
    """Give every data section the recipe's folder as its root, unless it states one."""
    root = values.get("data", {}).get("root") if isinstance(values.get("data"), dict) else None
    base = (folder / root).resolve() if root else folder.resolve()
    sections = [values.get("data"), (values.get("pseudo") or {}).get("texts")]
    sections.append((values.get("continual") or {}).get("replay_data"))
    heads = values.get("heads")
    sections += [head.get("data") for head in heads.values()] if isinstance(heads, dict) else []
    for section in sections:
        if isinstance(section, dict):
            own = section.get("root")
            section["root"] = str((folder / own).resolve() if own else base)


def _explain(error: ValidationError, origin: str) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _known(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, 1, cutoff=0.5)
        guess = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}."
        return f"{origin}: there is no key {place!r}; {guess}"
    if first["type"] == "missing":
        return f"{origin}: {place} is missing."
    shown = repr(first["input"])
    return f"{origin}: {place} is {shown[:120]}: {first['msg']}."


def _known(location: Sequence[int | str]) -> list[str]:
    """Return the keys allowed at a place in the recipe."""
    model: Any = Recipe
    for part in location:
        found = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if found is None:
            # The name of a head: what it holds is a Head.
            model = Head
            continue
        choices = getattr(found.annotation, "__args__", ()) or (found.annotation,)
        model = next((c for c in choices if hasattr(c, "model_fields")), found.annotation)
    return sorted(getattr(model, "model_fields", {}))
