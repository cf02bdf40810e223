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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns 0 done, 1 the leak check failed, 2 wrong use."""
    options = _parser().parse_args(arguments)
    try:
        spec, kind = read_spec(options.spec, options.kind)
        if options.out:
            return _show(prepare(spec, kind, options.out, _progress(options.json)), options.json)
        with tempfile.TemporaryDirectory() as folder:
            prepared = prepare(spec, kind, Path(folder), _progress(options.json))
            return _show(prepared, options.json, kept=False)
    except LeakError as error:
        return _fail(error, options.json, 1)
    except AssistantError as error:
        return _fail(error, options.json, 2 if isinstance(error, InvalidInputError) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.data",
        description="Read, clean, split and check the data of a recipe; print its card.",
    )
    parser.add_argument("spec", type=Path, help="a recipe, or a TOML file with [data] or its keys")
    parser.add_argument("--kind", choices=KINDS, help="kind of rows; by default the recipe's task")
    parser.add_argument("--out", type=Path, help="keep the prepared rows in this folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def read_spec(path: Path, kind: str | None = None) -> tuple[DataSpec, Kind]:
    """Read a recipe's ``[data]``, or a file that holds only its keys, and the kind of its rows.

    Raises ``NotFoundError`` and ``InvalidInputError``; an unknown key is named with the nearest.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror or error}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name}: not valid TOML: {error}") from None
    data = dict(value.get("data", value))
    recipe = value.get("recipe", {})
    task = str(recipe.get("task", "")) if isinstance(recipe, dict) else ""
    stated = data.pop("kind", None)
    found = kind or stated or _TASK_KINDS.get(task)
    if found not in KINDS:
        raise InvalidInputError(
            f"{path.name}: which kind of rows? State --kind: {', '.join(KINDS)}."
        )
    data["root"] = path.parent / data.get("root", ".")
    try:
        return DataSpec.model_validate(data), found
    except ValidationError as error:
        raise InvalidInputError(f"{path.name}: {_explain(error)}") from None


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


def _show(prepared: Prepared, as_json: bool, *, kept: bool = True) -> int:
    if as_json:
        value = {"card": card_json(prepared.card), "report": report_json(prepared.report)}
        if kept:
            value["folder"] = {"path": str(prepared.folder)}
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
        return 0
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
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
    return 0


def _fail(error: AssistantError, as_json: bool, code: int) -> int:
    if as_json:
        value: dict[str, Any] = {"error": str(error)}
        if isinstance(error, LeakError):
            value["leaks"] = error.as_json()
        sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    else:
        sys.stderr.write(f"{error}\n")
    return code
