"""Batch answering: a table of questions in, a table of answers out, in order.

Rows are answered in slices cut at fixed places, so a resumed run sees the same slices.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from assistant.batch_input import Survey, id_value, question_error, survey_input
from assistant.errors import BusyError, InvalidInputError
from assistant.resumable import (
    Block,
    Progress,
    RowFailure,
    Written,
    alone,
    check_paths,
    in_order,
    write_blocks,
)
from assistant.tables import Row, column_key, csv_line, json_line, read_rows, table_kind
from assistant.types import Answer, Question, Scope

CSV_COLUMNS = (
    "id",
    "question",
    "answer",
    "kind",
    "confidence",
    "language",
    "faq_id",
    "citations",
    "candidates",
    "error",
)
_BOM = "\ufeff"


class Answerer(Protocol):
    """The part of the runtime a batch needs."""

    def answer_many(self, questions: Sequence[Question]) -> list[Answer]: ...


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What to answer and how.

    ``knowledge`` names the state of the collection and models; a resumed run refuses to mix two.
    ``excel`` starts a CSV with a byte-order mark, without which Excel garbles Chinese.
    """

    source: Path
    output: Path
    scope: Scope
    knowledge: str = ""
    question_field: str = "question"
    id_field: str = "id"
    encoding: str | None = None
    excel: bool = False
    restart: bool = False
    max_question_chars: int = 4000
    slice_rows: int = 256


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The outcome. ``failures`` lists the first thousand; the output names every one.

    ``resumed_at`` is the number of rows an earlier, interrupted run had already answered.
    """

    output: str
    rows: int
    answered: int
    failed: int
    kinds: Mapping[str, int]
    failures: tuple[RowFailure, ...]
    resumed_at: int
    seconds: float


def run_batch(
    runtime: Answerer,
    request: BatchRequest,
    progress: Callable[[Progress], None] | None = None,
) -> BatchReport:
    """Answer every row of ``request.source`` into ``request.output``.

    Raises ``InvalidInputError`` for an unusable input or one that does not belong to the unfinished
    output found, ``StorageError`` when the disk refuses (what is written stays resumable), and
    whatever the runtime raises about its models or stores.
    """
    check_paths(request.source, request.output)
    with alone(request.output):
        survey = survey_input(
            request.source, request.question_field, request.id_field, request.encoding
        )

        def blocks(done: int) -> Iterator[Block]:
            rows = islice(read_rows(request.source, survey.table), done, None)
            return in_order(
                lambda batch: _block(request, survey, batch, _outcomes(runtime, request, batch)),
                _slices(rows, request.slice_rows),
            )

        written = write_blocks(
            request.output,
            _identity(request, survey),
            blocks,
            header=_header(request),
            total=survey.rows,
            restart=request.restart,
            progress=progress,
        )
    return _report(request, written)


def _slices(rows: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(rows, size)):
        yield batch


def _report(request: BatchRequest, written: Written) -> BatchReport:
    return BatchReport(
        output=str(request.output),
        rows=written.rows,
        answered=written.rows - written.failed,
        failed=written.failed,
        kinds=written.counts,
        failures=written.failures,
        resumed_at=written.resumed_at,
        seconds=written.seconds,
    )


def _identity(request: BatchRequest, survey: Survey) -> dict[str, Any]:
    scope = request.scope
    return {
        "format": 1,
        "input": survey.table.sha256,
        "collection": [scope.tenant, scope.collection, sorted(scope.tags)],
        "knowledge": request.knowledge,
        "options": [
            request.question_field,
            request.id_field,
            survey.table.encoding,
            request.excel,
            request.slice_rows,
            request.max_question_chars,
        ],
    }


def _outcomes(runtime: Answerer, request: BatchRequest, batch: Sequence[Row]) -> list[Answer | str]:
    """Return for each row its answer, or why it has none."""
    key = column_key(request.question_field)
    problems = [
        row.error or question_error(row.values.get(key), request.max_question_chars)
        for row in batch
    ]
    questions = [
        Question(row.values[key].strip(), request.scope)
        for row, problem in zip(batch, problems, strict=True)
        if problem is None
    ]
    answers = iter(_answers(runtime, questions))
    return [next(answers) if problem is None else problem for problem in problems]


def _block(
    request: BatchRequest, survey: Survey, batch: Sequence[Row], outcomes: Sequence[Answer | str]
) -> Block:
    """Return the output of a slice."""
    question_key, id_key = column_key(request.question_field), column_key(request.id_field)
    lines, failures = [], []
    kinds: Counter[str] = Counter()
    for row, outcome in zip(batch, outcomes, strict=True):
        identifier = id_value(row, id_key) if survey.has_ids else row.number
        if isinstance(outcome, Answer):
            kinds[outcome.kind.value] += 1
        else:
            failures.append(RowFailure(row.number, row.line, str(identifier), outcome))
        lines.append(_output_line(request, identifier, row.values.get(question_key), outcome))
    return Block(len(batch), "".join(lines), failures, kinds)


def _answers(runtime: Answerer, questions: Sequence[Question]) -> list[Answer | str]:
    """Answer together; when one question is refused, halve until it alone carries the reason."""
    if not questions:
        return []
    try:
        return list(_patiently(runtime, questions))
    except InvalidInputError as error:
        if len(questions) == 1:
            return [str(error)]
    middle = len(questions) // 2
    return [*_answers(runtime, questions[:middle]), *_answers(runtime, questions[middle:])]


def _patiently(runtime: Answerer, questions: Sequence[Question]) -> list[Answer]:
    """Wait out a busy service: six tries over half a minute."""
    for pause_s in (0.5, 1.0, 2.0, 5.0, 20.0):
        try:
            return runtime.answer_many(questions)
        except BusyError:
            time.sleep(pause_s)
    return runtime.answer_many(questions)


def _header(request: BatchRequest) -> str:
    if table_kind(request.output) == "jsonl":
        return ""
    return (_BOM if request.excel else "") + csv_line(CSV_COLUMNS)


def _output_line(
    request: BatchRequest,
    identifier: str | int | float | None,
    question: object,
    outcome: Answer | str,
) -> str:
    error = outcome if isinstance(outcome, str) else None
    answer = outcome.to_json() if isinstance(outcome, Answer) else {}
    if table_kind(request.output) == "jsonl":
        return json_line({"id": identifier, "question": question, **answer, "error": error})
    return csv_line(_csv_cells(identifier, question, answer, error))


def _csv_cells(
    identifier: str | int | float | None,
    question: object,
    answer: Mapping[str, Any],
    error: str | None,
) -> list[Any]:
    shown = question if isinstance(question, str) or question is None else json.dumps(question)
    values: dict[str, Any] = {**answer, "id": identifier, "question": shown, "error": error}
    for name in ("citations", "candidates"):
        if name in values:
            values[name] = json.dumps(values[name], ensure_ascii=False)
    if "confidence" in values:
        values["confidence"] = round(values["confidence"], 6)
    return [values.get(name) for name in CSV_COLUMNS]
