"""Reading examples: SQuAD JSON (1.1 and 2.0), and tables of questions with their paragraphs.

Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine Comprehension of Text" (2016) and "Know
What You Don't Know" (2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError, NotFoundError
from assistant.tables import json_line
from training.data.ledger import Ledger, RowProblem
from training.data.readers.cells import Table, Values, cell, extra_of, optional_text, text_of
from training.data.readers.files import read_json
from training.data.rows import ReadingAnswer, ReadingExample, TextPair
from training.data.spans import find_nearest
from training.data.spec import DataSpec

PARAGRAPH_COLUMN = "pid"


def read_squad(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[ReadingExample]:
    """Yield examples of a ``.json`` in SQuAD form, or of a table of questions.

    A table holds the context itself, or ``pid`` naming one in a file of paragraphs (``pid``,
    ``context``): those of ``data.paragraphs``, or the file beside it whose name has ``paragraphs``
    for ``questions``. An answer whose start is wrong moves to the nearest place where it stands;
    one that stands nowhere is left out, and the row with it when no other answer is left.
    """
    examples = (
        _nested(path, spec, ledger) if path.suffix.lower() == ".json" else _flat(path, spec, ledger)
    )
    for source, example in examples:
        try:
            yield _example(source, example, ledger)
        except RowProblem as problem:
            ledger.reject(source, problem.reason, problem.detail, problem.text)


def as_passage_pairs(examples: Iterator[ReadingExample], ledger: Ledger) -> Iterator[TextPair]:
    """Turn answerable examples into pairs of question and passage; the rest is counted."""
    for example in examples:
        if example.answers:
            yield TextPair(
                text_a=example.question,
                text_b=example.context,
                group=example.group,
                source=example.source,
                extra=example.extra,
            )
        else:
            ledger.reject(example.source, "question without an answer", "", example.question)


def _example(source: str, raw: Values, ledger: Ledger) -> ReadingExample:
    question, context = text_of(raw["question"], "question"), text_of(raw["context"], "context")
    given = _given_answers(raw["answers"])
    answers = [_placed(text, start, context, ledger) for text, start in given]
    found = tuple(dict.fromkeys(answer for answer in answers if answer))
    if given and not found:
        raise RowProblem("answer not in context", json_line({"answers": given}).strip(), question)
    return ReadingExample(
        str(raw["id"]) or source, question, context, found, raw["group"], source, raw["extra"]
    )


def _given_answers(value: Any) -> list[tuple[str, int]]:
    """Return texts and starts: a list of objects, Hugging Face's object of lists, or a text."""
    if isinstance(value, dict) and isinstance(value.get("text"), list):
        starts = value.get("answer_start") or [-1] * len(value["text"])
        value = [
            {"text": t, "answer_start": s} for t, s in zip(value["text"], starts, strict=False)
        ]
    if isinstance(value, str):
        value = [value] if value else []
    if not isinstance(value, list):
        raise RowProblem("bad answers", f"a {type(value).__name__}; a list was expected")
    return [_given(item) for item in value]


def _given(item: Any) -> tuple[str, int]:
    if isinstance(item, str):
        return item, -1
    if not isinstance(item, dict) or "text" not in item:
        raise RowProblem("bad answers", f"{item!r} is no object with a text")
    start = item.get("answer_start", item.get("start", -1))
    return text_of(item["text"], "answers"), int(start) if isinstance(start, int | float) else -1


def _placed(text: str, start: int, context: str, ledger: Ledger) -> ReadingAnswer | None:
    if text and start >= 0 and context.startswith(text, start):
        return ReadingAnswer(text, start)
    for candidate in dict.fromkeys((text, text.strip())):
        place = find_nearest(context, candidate, max(start, 0))
        if place is not None:
            ledger.mend("answer starts mended" if start >= 0 else "answer starts found")
            return ReadingAnswer(candidate, place)
    ledger.mend("answers that stand nowhere, left out")
    return None


def _nested(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[tuple[str, Values]]:
    value = read_json(path, spec)
    articles = value.get("data") if isinstance(value, dict) else value
    if not isinstance(articles, list):
        raise InvalidInputError(f"{path.name}: no list under 'data'; is it SQuAD JSON?")
    for a, article in enumerate(articles):
        for p, paragraph in enumerate(_list(article, "paragraphs")):
            group = f"{path.name}#{a}.{p}"
            for q, question in enumerate(_list(paragraph, "qas")):
                source = f"{path.name}#{a}.{p}.{q}"
                if not isinstance(question, dict) or "question" not in question:
                    ledger.reject(source, "bad question", "no object with a question")
                    continue
                answers = [] if question.get("is_impossible") else question.get("answers", [])
                yield source, {
                    "id": question.get("id", ""), "question": question["question"],
                    "context": paragraph.get("context"), "answers": answers, "group": group,
                    "extra": (),
                }  # fmt: skip


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name, []) if isinstance(value, dict) else []
    return found if isinstance(found, list) else []


def _flat(path: Path, spec: DataSpec, ledger: Ledger) -> Iterator[tuple[str, Values]]:
    columns = spec.columns
    contexts = _paragraphs(path, spec, ledger)
    needed = (columns.question, columns.answers, PARAGRAPH_COLUMN if contexts else columns.context)
    table = Table(
        path,
        spec,
        ledger,
        needed=needed,
        known=(columns.id, columns.group),
        optional=("id", "is_impossible", PARAGRAPH_COLUMN),
    )
    for source, values in table.rows():
        pid = str(cell(values, PARAGRAPH_COLUMN) or "")
        if contexts and pid not in contexts:
            ledger.reject(source, "no such paragraph", f"pid {pid!r}", str(dict(values)))
            continue
        context = contexts[pid] if contexts else cell(values, columns.context)
        answers = [] if cell(values, "is_impossible") is True else cell(values, columns.answers)
        yield source, {
            "id": optional_text(values, columns.id or "id"),
            "question": cell(values, columns.question), "context": context, "answers": answers,
            "group": optional_text(values, columns.group) or pid, "extra": extra_of(values, spec),
        }  # fmt: skip


def paragraph_files(path: Path, spec: DataSpec) -> list[Path]:
    """Return the files that hold the paragraphs of a table of questions, if it needs any."""
    named = [(spec.root or Path()) / name for name in spec.paragraphs]
    missing = next((file for file in named if not file.is_file()), None)
    if missing is not None:
        raise NotFoundError(f"data.paragraphs: no such file {missing.name!r} in {missing.parent}.")
    beside = path.with_name(path.name.replace("questions", "paragraphs"))
    return named or ([beside] if beside != path and beside.is_file() else [])


def _paragraphs(path: Path, spec: DataSpec, ledger: Ledger) -> Mapping[str, str]:
    """Return paragraph id to context; empty where the questions carry their own."""
    contexts: dict[str, str] = {}
    for paragraphs in paragraph_files(path, spec):
        columns = (PARAGRAPH_COLUMN, spec.columns.context)
        for _, values in Table(paragraphs, spec, ledger, needed=columns).rows():
            key = str(cell(values, PARAGRAPH_COLUMN))
            contexts[key] = text_of(cell(values, spec.columns.context), spec.columns.context)
    return contexts
