"""Training rows of the generator: one prompt, one completion, and what it was made from.

A file of rows is JSON Lines. Only ``prompt`` and ``response`` are needed, so any chat-like table
serves; the other fields let an evaluation judge the answer against its evidence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast

from assistant.errors import InvalidInputError
from assistant.models.generation.prompts import (
    REFUSALS,
    grounded_answer,
    grounded_prompt,
    rewrite_prompt,
)
from indexes.language import detect_language
from training.generator.followups import FollowUp

Task = Literal["answer", "refuse", "rewrite", "other"]
_TASKS = ("answer", "refuse", "rewrite")
Language = Literal["zh", "en"]


@dataclass(frozen=True, slots=True)
class Row:
    """One example. ``evidence`` is the text the answer may draw on, ``references`` the right
    answers without marks (several where annotators differ); rows of one ``group`` never part into
    different splits."""

    prompt: str
    response: str
    task: Task = "other"
    language: Language = "en"
    group: str = ""
    source: str = ""
    evidence: str = ""
    references: tuple[str, ...] = ()


def answer_row(
    question: str,
    passages: Sequence[str],
    answers: Sequence[str],
    cited: Sequence[int],
    language: Language,
    *,
    group: str,
    source: str,
) -> Row:
    """Return the row whose completion is the first of ``answers``, citing ``cited`` (from 1)."""
    return Row(
        grounded_prompt(question, passages, language),
        grounded_answer(answers[0], cited),
        "answer",
        language,
        group,
        source,
        "\n".join(passages),
        tuple(dict.fromkeys(answers)),
    )


def refusal_row(
    question: str, passages: Sequence[str], language: Language, *, group: str, source: str
) -> Row:
    """Return the row whose completion is the refusal."""
    refusal = REFUSALS[language]
    prompt = grounded_prompt(question, passages, language)
    evidence = "\n".join(passages)
    return Row(prompt, refusal, "refuse", language, group, source, evidence, (refusal,))


def rewrite_row(item: FollowUp, language: Language, *, group: str, source: str) -> Row:
    """Return the row that turns a follow-up into a standalone question."""
    prompt = rewrite_prompt(item.question, item.history, language)
    evidence = "\n".join((*item.history, item.question))
    standalone = (item.standalone,)
    return Row(prompt, item.standalone, "rewrite", language, group, source, evidence, standalone)


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write rows as JSON Lines and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            # A list is no table cell: the answers go along as lines of one text too.
            values = {**asdict(row), "answers": "\n".join(row.references)}
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
            count += 1
    return count


def row_of(prompt: str, response: str, group: str, extra: Mapping[str, str]) -> Row:
    """Return the row of one chat example; ``extra`` holds whichever columns were kept."""
    task = extra.get("task", "other")
    language = extra.get("language") or detect_language(prompt)
    references = tuple(filter(None, extra.get("answers", "").split("\n")))
    return Row(
        prompt,
        response,
        cast("Task", task if task in _TASKS else "other"),
        "zh" if language == "zh" else "en",
        group,
        extra.get("source", ""),
        extra.get("evidence", prompt),
        references or (response,),
    )


def read_rows(path: Path, max_chars: int = 100_000) -> list[Row]:
    """Read rows; InvalidInputError names the first line that is not one.

    A line needs ``prompt`` and ``response``, both text, neither empty.
    """
    known = {f.name for f in fields(Row)}
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    rows.append(_parse(line, known, max_chars, f"{path.name}, line {number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if not rows:
        raise InvalidInputError(f"{path} holds no rows; give at least one prompt and response.")
    return rows


def _parse(line: str, known: set[str], max_chars: int, where: str) -> Row:
    try:
        data: Any = json.loads(line)
    except ValueError as error:
        raise InvalidInputError(f"{where} is not JSON ({error}).") from error
    if not isinstance(data, dict):
        raise InvalidInputError(f"{where} is not a JSON object.")
    for name in ("prompt", "response"):
        value = data.get(name)
        if not isinstance(value, str) or not value.strip():
            raise InvalidInputError(f"{where} has no text in {name!r}; both prompt and response.")
        if len(value) > max_chars:
            raise InvalidInputError(
                f"{where}: {name!r} has {len(value)} characters; at most {max_chars}."
            )
    values = {key: value for key, value in data.items() if key in known}
    values["references"] = tuple(str(v) for v in values.get("references") or (values["response"],))
    return Row(**values)
