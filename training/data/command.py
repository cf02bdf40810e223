"""The command that prepares data and prints its card: ``python -m training.data SPEC.toml``."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from assistant.errors import AssistantError, InvalidInputError, NotFoundError
from training.data.card_text import card_markdown
from training.data.leaks import LeakError
from training.data.pipeline import prepare
from training.data.rows import KINDS, Kind
from training.data.spec import DataSpec
from training.data.storage import REJECTED, Prepared, card_json, report_json
from training.recipe import read_recipe

_TASK_KINDS: dict[str, Kind] = {
    "encoder": "pairs",
    "reranker": "pairs",
    "reader": "read",
    "classifier": "classify",
    "tagger": "tag",
    "generator": "chat",
    "pretrain": "text",
}
_SHOWN_CONFLICTS = 5


Part = tuple[str, DataSpec, Kind]
"""A name (empty for the only one), what to prepare, and the kind of its rows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 done, 1 a check failed or the disk refused, 2 wrong use."""
    options = _parser().parse_args(arguments)
    try:
        parts = read_parts(options.spec, options.kind, options.set)
        if options.out:
            return _prepare(parts, options.out, options.json, kept=True)
        with tempfile.TemporaryDirectory() as folder:
            return _prepare(parts, Path(folder), options.json, kept=False)
    except LeakError as error:
        return _fail(error, options.json, 1)
    except AssistantError as error:
        wrong_use = isinstance(error, InvalidInputError | NotFoundError)
        return _fail(error, options.json, 2 if wrong_use else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.data",
        description="Read, clean, split and check the data of a recipe; print its card.",
    )
    parser.add_argument("spec", type=Path, help="a recipe, or a TOML file with the keys of [data]")
    parser.add_argument("--kind", choices=KINDS, help="kind of rows; by default the recipe's task")
    parser.add_argument("--set", action="append", default=[], help="change a recipe: key=value")
    parser.add_argument("--out", type=Path, help="keep the prepared rows in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def read_parts(path: Path, kind: Kind | None = None, changes: Sequence[str] = ()) -> list[Part]:
    """Read the data tables of a recipe, or a file that holds only the keys of one.

    A recipe with several heads has a part for each. Raises ``NotFoundError`` and
    ``InvalidInputError``; an unknown key is named with the nearest.
    """
    if not path.suffix or (path.is_file() and "recipe" in _toml(path)):
        return _recipe_parts(path, kind, changes)
    data = _toml(path)
    data = dict(data.get("data", data))
    found = data.pop("kind", None)
    found = kind or found
    if found not in KINDS:
        raise InvalidInputError(
            f"{path.name}: which kind of rows? State --kind or kind: {', '.join(KINDS)}."
        )
    data["root"] = path.parent / data.get("root", ".")
    try:
        return [("", DataSpec.model_validate(data), found)]
    except ValidationError as error:
        raise InvalidInputError(f"{path.name}: {_explain(error)}") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name}: not valid TOML: {error}") from None


def _recipe_parts(path: Path, kind: Kind | None, changes: Sequence[str]) -> list[Part]:
    recipe = read_recipe(path, changes)
    found: list[Part] = []
    for name, head in recipe.heads.items():
        if head.data is not None:
            found.append((name, head.data, head.kind))
    if recipe.data is not None:
        own = kind or _TASK_KINDS.get(recipe.recipe.task)
        if own is None:
            raise InvalidInputError(
                f"{path.name}: which kind of rows? State --kind: {', '.join(KINDS)}."
            )
        found.append(("", recipe.data, own))
    if not found:
        raise InvalidInputError(f"{path.name}: the recipe has no [data].")
    return found


def _prepare(parts: Sequence[Part], folder: Path, as_json: bool, *, kept: bool) -> int:
    shown: dict[str, Any] = {}
    for name, spec, kind in parts:
        prepared = prepare(spec, kind, folder, _progress(as_json))
        if as_json:
            shown[name] = _as_json(prepared, kept)
        else:
            _show(prepared, name, kept)
    if as_json:
        value = shown[""] if list(shown) == [""] else {"parts": shown}
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    return 0


def _explain(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        where = ".".join(str(part) for part in ("data", *problem["loc"]))
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {where}.{_nearest_key(problem['loc'])}")
        else:
            parts.append(f"{where}: {problem['msg']}")
    return "; ".join(parts)


def _nearest_key(location: tuple[int | str, ...]) -> str:
    model: Any = DataSpec
    for part in location[:-1]:
        model = _inner(model.model_fields[str(part)].annotation)
    near = difflib.get_close_matches(str(location[-1]), list(model.model_fields), n=1, cutoff=0.4)
    return f" Did you mean {near[0]!r}?" if near else ""


def _inner(annotation: Any) -> Any:
    options = [annotation, *get_args(annotation)]
    return next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))


def _progress(quiet: bool) -> Any:
    if quiet or not sys.stderr.isatty():
        return None

    def show(stage: str, done: int) -> None:
        sys.stderr.write(f"\r{stage}: {done:,} rows\x1b[K")
        sys.stderr.flush()

    return show


def _as_json(prepared: Prepared, kept: bool) -> dict[str, Any]:
    value: dict[str, Any] = {
        "card": card_json(prepared.card),
        "report": report_json(prepared.report),
    }
    if kept:
        value["folder"] = str(prepared.folder)
    return value


def _show(prepared: Prepared, name: str, kept: bool) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    if name:
        sys.stdout.write(f"Head {name}\n\n")
    sys.stdout.write(card_markdown(prepared.card))
    for conflict in prepared.report.conflicts[:_SHOWN_CONFLICTS]:
        sys.stdout.write(
            f"\n{conflict.kind} duplicates disagree: {conflict.first_source} "
            f"{list(conflict.first_answer)} {conflict.first_text!r} and {conflict.second_source} "
            f"{list(conflict.second_answer)} {conflict.second_text!r}\n"
        )
    if prepared.report.leaks.rows or prepared.report.leaks.dropped:
        sys.stdout.write(f"\n{prepared.report.leaks.describe()}\n")
    if kept:
        sys.stdout.write(f"\nRows: {prepared.folder}; dropped rows: {REJECTED} there.\n")


def _fail(error: AssistantError, as_json: bool, code: int) -> int:
    if as_json:
        value: dict[str, Any] = {"error": str(error)}
        if isinstance(error, LeakError):
            value["leaks"] = error.as_json()
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"{error}\n")
    return code
