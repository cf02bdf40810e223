"""Batch answering: a table of questions in, a table of answers out, in order.

The output appears whole or not at all. Until then answers go to ``OUT.partial``, and a journal says
how many rows and bytes of it are safely on disk; a run killed at any moment is taken up there.
Rows are answered in slices cut at fixed places, so a resumed run sees the same slices.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from assistant.batch_input import Survey, id_value, question_error, survey_input
from assistant.batch_journal import Journal, sync, sync_folder, take_up, write_journal
from assistant.errors import BusyError, InvalidInputError, StorageError
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
FAILURES_LISTED = 1000
_AT_ONCE = 2
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
class RowFailure:
    """A row that got no answer. ``row`` counts from 1, ``line`` is its place in the input file."""

    row: int
    line: int
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """Told at the start and after each slice: ``failed`` of the ``done`` rows have no answer."""

    done: int
    total: int
    failed: int


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
    progress: Callable[[BatchProgress], None] | None = None,
) -> BatchReport:
    """Answer every row of ``request.source`` into ``request.output``.

    Raises ``InvalidInputError`` for an unusable input or one that does not belong to the unfinished
    output found, ``StorageError`` when the disk refuses (what is written stays resumable), and
    whatever the runtime raises about its models or stores.
    """
    check_paths(request)
    lock = FileLock(f"{request.output}.lock", timeout=0)
    try:
        with lock:
            try:
                return _run_locked(runtime, request, progress)
            finally:
                Path(lock.lock_file).unlink(missing_ok=True)
    except Timeout:
        raise InvalidInputError(
            f"{request.output}: another batch is writing it; wait for it or choose another output."
        ) from None
    except OSError as error:
        raise StorageError(
            f"{request.output}: {error.strerror or error}. Rows answered so far are kept; "
            "mend the cause and run the same command again."
        ) from error


def check_paths(request: BatchRequest) -> None:
    """Refuse, before anything is loaded, what cannot work. Raises ``InvalidInputError``."""
    table_kind(request.source)
    if table_kind(request.output) == "csv" and request.output.suffix.lower() != ".csv":
        raise InvalidInputError(f"{request.output.name}: name the output .csv or .jsonl.")
    if not request.source.is_file():
        raise InvalidInputError(f"{request.source}: no such file.")
    if request.output.is_dir():
        raise InvalidInputError(f"{request.output} is a folder; name a file in it.")
    if not request.output.resolve().parent.is_dir():
        raise InvalidInputError(f"{request.output.parent}: no such folder; make it first.")
    if request.output.exists() and request.output.samefile(request.source):
        raise InvalidInputError("Input and output are the same file; choose another output.")


def _run_locked(
    runtime: Answerer,
    request: BatchRequest,
    progress: Callable[[BatchProgress], None] | None,
) -> BatchReport:
    started = time.perf_counter()
    survey = survey_input(
        request.source, request.question_field, request.id_field, request.encoding
    )
    partial = Path(f"{request.output}.partial")
    journal_path = Path(f"{request.output}.journal")
    journal = take_up(journal_path, partial, _identity(request, survey), request.restart)
    resumed_at = journal.rows
    rows = islice(read_rows(request.source, survey.table), resumed_at, None)
    with (
        partial.open("r+b" if partial.exists() else "w+b") as stream,
        ThreadPoolExecutor(_AT_ONCE, "batch") as pool,
    ):
        stream.truncate(journal.bytes)
        stream.seek(journal.bytes)
        if journal.bytes == 0:
            stream.write(_header(request).encode())
        tell = progress or _ignore
        tell(BatchProgress(journal.rows, survey.rows, journal.failed))
        for batch, outcomes in _answered_slices(pool, runtime, request, rows):
            stream.write(_output(request, survey, batch, outcomes, journal).encode())
            sync(stream)
            journal.rows += len(batch)
            journal.bytes = stream.tell()
            write_journal(journal_path, journal)
            tell(BatchProgress(journal.rows, survey.rows, journal.failed))
        sync(stream)
    os.replace(partial, request.output)
    sync_folder(request.output.resolve().parent)
    journal_path.unlink(missing_ok=True)
    return _report(request, journal, resumed_at, time.perf_counter() - started)


def _ignore(_progress: BatchProgress) -> None:
    return None


def _report(
    request: BatchRequest, journal: Journal, resumed_at: int, seconds: float
) -> BatchReport:
    return BatchReport(
        output=str(request.output),
        rows=journal.rows,
        answered=journal.rows - journal.failed,
        failed=journal.failed,
        kinds=dict(journal.kinds),
        failures=tuple(RowFailure(**item) for item in journal.failures),
        resumed_at=resumed_at,
        seconds=round(seconds, 3),
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


def _answered_slices(
    pool: ThreadPoolExecutor, runtime: Answerer, request: BatchRequest, rows: Iterator[Row]
) -> Iterator[tuple[list[Row], list[Answer | str]]]:
    """Yield slices with their outcomes, in order.

    Two are under way at a time: while one is being decided on, in Python, the other is being
    encoded, outside of it. The outcome of a row does not depend on its neighbours.
    """
    waiting: deque[tuple[list[Row], Future[list[Answer | str]]]] = deque()
    while True:
        while len(waiting) < _AT_ONCE and (batch := list(islice(rows, request.slice_rows))):
            waiting.append((batch, pool.submit(_outcomes, runtime, request, batch)))
        if not waiting:
            return
        batch, future = waiting.popleft()
        yield batch, future.result()


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


def _output(
    request: BatchRequest,
    survey: Survey,
    batch: Sequence[Row],
    outcomes: Sequence[Answer | str],
    journal: Journal,
) -> str:
    """Return the output of a slice and count it in the journal."""
    question_key, id_key = column_key(request.question_field), column_key(request.id_field)
    lines = []
    kinds = Counter(journal.kinds)
    for row, outcome in zip(batch, outcomes, strict=True):
        identifier = id_value(row, id_key) if survey.has_ids else row.number
        if isinstance(outcome, Answer):
            kinds[outcome.kind.value] += 1
        else:
            _count_failure(journal, RowFailure(row.number, row.line, str(identifier), outcome))
        lines.append(_output_line(request, identifier, row.values.get(question_key), outcome))
    journal.kinds = dict(kinds)
    return "".join(lines)


def _count_failure(journal: Journal, failure: RowFailure) -> None:
    journal.failed += 1
    if len(journal.failures) < FAILURES_LISTED:
        journal.failures.append(asdict(failure))


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
