"""Reading-comprehension sets: SQuAD-style JSON (1.1, 2.0, CMRC 2018) and flat JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError
from assistant.evaluation.folders import Faults, choose_file, shown
from assistant.tables import inspect_table, read_rows

QUESTION_SUFFIXES = (".json", ".jsonl")
_CONTEXTS = ("context", "context_text", "text", "passage")


@dataclass(frozen=True, slots=True)
class ReadingQuestion:
    """A question on a context. ``answers`` is empty where the context does not tell."""

    id: str
    question: str
    context: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReadingSet:
    """Questions of one file. ``empty``: questions without text; ``left_out``: what was wrong with
    faulty ones, where they were to be skipped."""

    file: Path
    questions: tuple[ReadingQuestion, ...]
    empty: int
    left_out: tuple[str, ...] = ()


def read_reading_set(path: Path, *, skip_bad: bool = False) -> ReadingSet:
    """Read a file, or the file a folder means (``choose_file``).

    Three shapes: SQuAD JSON (``data`` → ``paragraphs`` → ``qas``); JSON Lines of questions with
    ``pid`` beside ``…paragraphs.jsonl`` with ``pid`` and ``context``; JSON Lines whose rows hold
    ``question``, ``context`` (or ``text``) and ``answers`` (or ``answer``). Raises
    InvalidInputError that names file, place and value; with ``skip_bad`` faulty questions are left
    out instead.
    """
    file = choose_file(path, QUESTION_SUFFIXES, lambda file: "paragraphs" not in file.name.lower())
    faults = Faults(file)
    if file.suffix.lower() == ".json":
        questions = list(_from_squad(file, _parsed(file), faults))
    else:
        questions = list(_from_lines(file, faults))
    left_out = faults.settle(skip_bad)
    if not questions:
        raise InvalidInputError(f"{file}: no questions; {_SHAPE}.")
    empty = sum(not question.question.strip() for question in questions)
    return ReadingSet(file, tuple(questions), empty, left_out)


_SHAPE = 'SQuAD JSON is {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}'


def _parsed(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{file.name}, line {error.lineno}: broken JSON ({error.msg}). For one object a line, "
            "name the file .jsonl."
        ) from None
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{file.name}: byte 0x{error.object[error.start]:02x} at position {error.start:,} is "
            "not valid UTF-8; save the file as UTF-8."
        ) from None
    except RecursionError:
        raise InvalidInputError(f"{file.name}: nested too deeply; {_SHAPE}.") from None


# --- SQuAD -------------------------------------------------------------------------------------


def _from_squad(file: Path, data: Any, faults: Faults) -> Iterator[ReadingQuestion]:
    articles = data.get("data") if isinstance(data, dict) else data
    if not isinstance(articles, list):
        raise InvalidInputError(f"{file.name}: not a SQuAD file; {_SHAPE}.")
    number = 0
    for article in articles:
        for paragraph in _paragraphs(file, article):
            context = next((paragraph[key] for key in _CONTEXTS if key in paragraph), None)
            for entry in paragraph.get("qas") or ():
                number += 1
                try:
                    yield _question(entry, context, f"question {number}")
                except ValueError as error:
                    faults.add(f"question {number}", str(error))


def _paragraphs(file: Path, article: Any) -> list[Mapping[str, Any]]:
    """The paragraphs of an article; the older CMRC 2018 files list paragraphs themselves."""
    if not isinstance(article, dict):
        raise InvalidInputError(f"{file.name}: {shown(article)} is not an article; {_SHAPE}.")
    found = article.get("paragraphs", [article])
    if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
        raise InvalidInputError(f"{file.name}: {shown(found)} are not paragraphs; {_SHAPE}.")
    return found


def _question(entry: Any, context: Any, place: str) -> ReadingQuestion:
    """Return a question of any shape. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"{shown(entry)} is not an object with question and answers")
    question = entry.get("question", entry.get("query_text"))
    if not isinstance(question, str):
        raise ValueError(f"question is {shown(question)}; a text is needed")
    if not isinstance(context, str):
        raise ValueError(f"context is {shown(context)}; a text is needed")
    name = entry.get("id", entry.get("query_id", place))
    answers = () if entry.get("is_impossible") is True else _answers(entry)
    return ReadingQuestion(str(name), question, context, answers)


def _answers(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts of ``answers``: objects with ``text``, texts, or one object with a list of them."""
    value = entry.get("answers", entry.get("answer"))
    if isinstance(value, dict):
        value = value.get("text")
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"answers is {shown(value)}; a list is needed, [] where there is none")
    texts: dict[str, None] = {}
    for part in value:
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise ValueError(f"an answer is {shown(part)}; a text is needed")
        if text.strip():
            texts[text] = None
    return tuple(texts)


# --- JSON Lines --------------------------------------------------------------------------------


def _from_lines(file: Path, faults: Faults) -> Iterator[ReadingQuestion]:
    contexts = _contexts(file)
    for row in read_rows(file, inspect_table(file)):
        if row.error:
            faults.add(row.line, f"{row.error}.")
            continue
        pid = row.values.get("pid")
        context = next((row.values[key] for key in _CONTEXTS if key in row.values), None)
        if context is None and pid is not None and str(pid) in contexts:
            context = contexts[str(pid)]
        elif context is None and pid is not None:
            where = _paragraph_file(file).name
            faults.add(row.line, f"pid {shown(pid)} is not in {where}; add its paragraph there.")
            continue
        try:
            yield _question(dict(row.values), context, f"line {row.line}")
        except ValueError as error:
            faults.add(row.line, str(error))


def _paragraph_file(file: Path) -> Path:
    return file.with_name(file.name.replace("questions", "paragraphs"))


def _contexts(file: Path) -> dict[str, str]:
    """Return the contexts by ``pid`` of the paragraphs that go with a file of questions."""
    path = _paragraph_file(file)
    if path == file or not path.is_file():
        return {}
    faults = Faults(path)
    found: dict[str, str] = {}
    for row in read_rows(path, inspect_table(path)):
        pid, context = row.values.get("pid"), row.values.get("context")
        if row.error or pid is None or not isinstance(context, str):
            faults.add(row.line, row.error or "pid and context are needed.")
        else:
            found[str(pid)] = context
    faults.settle()
    return found
