"""Batch answering: order, resumption, bad rows. The answerer here is deterministic and instant;
``test_cli_batch.py`` kills real runs over the real service."""

from __future__ import annotations

import csv
import errno
import json
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from assistant import batch, batch_journal
from assistant.batch import BatchReport, BatchRequest, run_batch
from assistant.errors import BusyError, InvalidInputError, StorageError
from assistant.resumable import Progress
from assistant.types import Answer, AnswerKind, Candidate, Citation, Question, Scope


class Echo:
    """Answers with the question itself; can be told to stop at a given call, as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.asked: list[str] = []
        self.calls = 0
        self.stop_at = stop_at

    def answer_many(self, questions: Sequence[Question]) -> list[Answer]:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        for question in questions:
            if "refuse me" in question.text:
                raise InvalidInputError("refused by the service")
        self.asked += [question.text for question in questions]
        return [self.answer(question.text) for question in questions]

    def answer(self, text: str) -> Answer:
        return Answer(
            answer=f"={text}",
            kind=AnswerKind.GROUNDED,
            confidence=0.75,
            language="en",
            citations=(Citation("d1", "Title", "a.md", "c1", 0, 5, "quote"),),
            candidates=(Candidate("f1", "问题?", 0.5),),
        )


def request(tmp_path: Path, source: Path, **changes: object) -> BatchRequest:
    values: dict[str, object] = {
        "source": source,
        "output": tmp_path / "out.jsonl",
        "scope": Scope(),
        "slice_rows": 4,
        **changes,
    }
    return BatchRequest(**values)  # type: ignore[arg-type]


def questions_file(tmp_path: Path, count: int = 10) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("id,question\n" + "".join(f"q{n},question {n}\n" for n in range(count)))
    return path


def read_jsonl(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def leftovers(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in tmp_path.iterdir() if p.name.startswith("out.jsonl."))


def test_rows_come_back_in_order_with_the_whole_answer(tmp_path: Path) -> None:
    told: list[Progress] = []
    report = run_batch(Echo(), request(tmp_path, questions_file(tmp_path)), told.append)
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"q{n}" for n in range(10)]
    assert [row["question"] for row in rows] == [f"question {n}" for n in range(10)]
    expected = Echo().answer("question 3").to_json()
    assert rows[3] == {"id": "q3", "question": "question 3", **expected, "error": None}
    assert [(p.done, p.total, p.failed) for p in told] == [
        (0, 10, 0),
        (4, 10, 0),
        (8, 10, 0),
        (10, 10, 0),
    ]
    assert (report.rows, report.answered, report.failed) == (10, 10, 0)
    assert report.kinds == {"grounded": 10}
    assert leftovers(tmp_path) == []


def test_csv_output_is_safe_and_complete(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text('id,question\n=1+1,"@SUM(A1), ""x"""\n2,怎么开户？\n', encoding="utf-8")
    output = tmp_path / "out.csv"
    run_batch(Echo(), request(tmp_path, source, output=output))
    with output.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == batch.CSV_COLUMNS
    assert rows[0]["id"] == "'=1+1"
    assert rows[0]["question"] == '\'@SUM(A1), "x"'
    assert rows[0]["answer"].startswith("'=")
    assert (rows[1]["kind"], rows[1]["confidence"], rows[1]["language"]) == (
        "grounded",
        "0.75",
        "en",
    )
    assert json.loads(rows[1]["citations"])[0]["quote"] == "quote"
    assert json.loads(rows[1]["candidates"])[0]["question"] == "问题?"
    assert rows[1]["error"] == ""


def test_excel_mark(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    run_batch(Echo(), request(tmp_path, questions_file(tmp_path, 1), output=output, excel=True))
    assert output.read_bytes().startswith(b"\xef\xbb\xbfid,question,")


def interrupted(tmp_path: Path, source: Path, at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_batch(Echo(stop_at=at), request(tmp_path, source))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, at: int) -> None:
    source = questions_file(tmp_path)
    run_batch(Echo(), request(tmp_path, source, output=tmp_path / "whole.jsonl"))
    interrupted(tmp_path, source, at)
    assert not (tmp_path / "out.jsonl").exists()
    echo = Echo()
    report = run_batch(echo, request(tmp_path, source))
    assert report.resumed_at == 4 * (at - 1)
    assert echo.asked == [f"question {n}" for n in range(report.resumed_at, 10)]
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (report.rows, report.kinds) == (10, {"grounded": 10})
    assert leftovers(tmp_path) == []


def test_bytes_written_after_the_last_journal_are_dropped(tmp_path: Path) -> None:
    source = questions_file(tmp_path)
    interrupted(tmp_path, source, 2)
    with (tmp_path / "out.jsonl.partial").open("ab") as stream:
        stream.write(b'{"id": "q4", "half a row')
    run_batch(Echo(), request(tmp_path, source))
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [f"q{n}" for n in range(10)]


@pytest.mark.parametrize("damage", ["journal gone", "journal cut", "partial gone", "partial cut"])
def test_a_damaged_unfinished_run_starts_anew(tmp_path: Path, damage: str) -> None:
    source = questions_file(tmp_path)
    interrupted(tmp_path, source, 3)
    file = tmp_path / f"out.jsonl.{damage.split()[0]}"
    if damage.endswith("gone"):
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20])
    report = run_batch(Echo(), request(tmp_path, source))
    assert report.resumed_at == 0
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input", "the input file has changed"),
        ("collection", "another collection"),
        ("knowledge", "the collection or the models have changed"),
        ("options", "made with other options"),
    ],
)
def test_two_states_are_never_mixed(tmp_path: Path, change: str, message: str) -> None:
    source = questions_file(tmp_path)
    interrupted(tmp_path, source, 2)
    changes: dict[str, object] = {
        "input": {},
        "collection": {"scope": Scope(collection="other")},
        "knowledge": {"knowledge": "v2"},
        "options": {"slice_rows": 5},
    }[change]  # type: ignore[assignment]
    if change == "input":
        source.write_text(source.read_text().replace("question 9", "question nine"))
    with pytest.raises(InvalidInputError, match=message) as caught:
        run_batch(Echo(), request(tmp_path, source, **changes))  # type: ignore[arg-type]
    assert "--restart" in str(caught.value)
    assert "4 answered rows" in str(caught.value)
    echo = Echo()
    report = run_batch(echo, request(tmp_path, source, **{**changes, "restart": True}))  # type: ignore[dict-item]
    assert report.resumed_at == 0
    assert len(echo.asked) == 10


def test_bad_rows_stay_in_their_place_with_the_reason(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [
        b'{"id": "a", "question": "fine"}',
        b'{"id": "b"}',
        b'{"id": "c", "question": "  "}',
        b'{"id": "d", "question": 5}',
        b'{"id": "e", "question": "nul \\u0000"}',
        b'{"id": "f", "question": "half \\ud83d"}',
        b'{"id": "g", "question": "' + b"x" * 5000 + b'"}',
        b'{"id": "h", "question": "cut',
        b'{"id": "i", "question": "\xff\xfe"}',
        b'{"id": "j", "question": "please refuse me"}',
        b'{"id": "k", "question": "also fine"}',
    ]
    source.write_bytes(b"\n".join(lines))
    report = run_batch(Echo(), request(tmp_path, source))
    rows = read_jsonl(tmp_path / "out.jsonl")
    assert [row["error"] for row in rows] == [
        None,
        "no question",
        "the question is empty",
        "the question is not text but 5",
        "the question holds a NUL character at character 5",
        "half a character (lone surrogate U+D83D) at character 6",
        "the question has 5,000 characters; the limit is 4,000",
        "broken JSON: Unterminated string starting at",
        "byte 0xff at character 26 is not valid utf-8",
        "refused by the service",
        None,
    ]
    assert rows[0]["answer"] == "=fine"
    assert rows[10]["answer"] == "=also fine"
    assert "answer" not in rows[1]
    assert (report.answered, report.failed) == (2, 9)
    assert [failure.row for failure in report.failures] == list(range(2, 11))
    assert report.failures[0].id == "b"


def test_rows_without_any_id_are_numbered(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("question\none\ntwo\n")
    run_batch(Echo(), request(tmp_path, source))
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [1, 2]


def test_numeric_ids_keep_their_type(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": 7, "question": "a"}\n{"question": "b"}\n')
    run_batch(Echo(), request(tmp_path, source))
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [7, None]


def test_doubled_ids_are_refused_before_anything_is_answered(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,question\n7,a\n8,b\n 7 ,c\n")
    echo = Echo()
    with pytest.raises(InvalidInputError, match="id '7' stands on line 2 and on line 4"):
        run_batch(echo, request(tmp_path, source))
    assert echo.calls == 0
    assert leftovers(tmp_path) == []


def test_equal_hashes_of_different_ids_are_no_double(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assistant.batch_input._short_hash", lambda text: 1)
    report = run_batch(Echo(), request(tmp_path, questions_file(tmp_path)))
    assert report.answered == 10


@pytest.mark.parametrize(
    ("source", "output", "message"),
    [
        ("in.csv", "in.csv", "the same file"),
        ("in.csv", "missing/out.csv", "no such folder"),
        ("in.csv", "folder.csv", "is a folder"),
        ("in.csv", "out.xlsx", "is not a table"),
        ("in.csv", "out.tsv", "name the output .csv or .jsonl"),
        ("none.csv", "out.csv", "no such file"),
    ],
)
def test_impossible_paths_are_refused(
    tmp_path: Path, source: str, output: str, message: str
) -> None:
    questions_file(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InvalidInputError, match=message):
        run_batch(Echo(), request(tmp_path, tmp_path / source, output=tmp_path / output))
    assert (tmp_path / "in.csv").read_text().startswith("id,question")


def test_jsonl_without_any_question_names_the_fields(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"query": "a"}\n{"questions": "b"}\n')
    with pytest.raises(InvalidInputError, match=r"'query', 'questions'\. Nearest: 'questions'"):
        run_batch(Echo(), request(tmp_path, source))


def test_two_runs_cannot_write_one_output(tmp_path: Path) -> None:
    source = questions_file(tmp_path)

    class Nested(Echo):
        def answer_many(self, questions: Sequence[Question]) -> list[Answer]:
            with pytest.raises(InvalidInputError, match="another run is writing it"):
                run_batch(Echo(), request(tmp_path, source))
            return super().answer_many(questions)

    assert run_batch(Nested(), request(tmp_path, source)).answered == 10


def test_a_busy_service_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(batch.time, "sleep", waits.append)

    class Busy(Echo):
        def answer_many(self, questions: Sequence[Question]) -> list[Answer]:
            if len(waits) < 2:
                raise BusyError("full")
            return super().answer_many(questions)

    assert run_batch(Busy(), request(tmp_path, questions_file(tmp_path))).answered == 10
    assert waits == [0.5, 1.0]


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = questions_file(tmp_path)
    real_fsync, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the second slice: answers, then journal, are synced for each
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(batch_journal.os, "fsync", fsync)
        with pytest.raises(StorageError, match="No space left on device"):
            run_batch(Echo(), request(tmp_path, source))
    report = run_batch(Echo(), request(tmp_path, source))
    assert report.resumed_at == 4
    assert [row["id"] for row in read_jsonl(tmp_path / "out.jsonl")] == [f"q{n}" for n in range(10)]


def test_an_empty_table_gives_an_empty_table(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("question\n")
    output = tmp_path / "out.csv"
    report: BatchReport = run_batch(Echo(), request(tmp_path, source, output=output))
    assert report.rows == 0
    assert output.read_text() == ",".join(batch.CSV_COLUMNS) + "\n"


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    class Forgetful(Echo):
        def answer_many(self, questions: Sequence[Question]) -> list[Answer]:
            return [self.answer(question.text) for question in questions]

    def peak(count: int) -> int:
        source = questions_file(tmp_path, count)
        tracemalloc.start()
        try:
            run_batch(Forgetful(), request(tmp_path, source, slice_rows=64))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports
    # Twenty times the rows; the collector of cycles accounts for what difference there is.
    assert peak(4000) < 4 * peak(200)


def test_an_older_output_is_replaced_only_at_the_end(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("older")
    interrupted(tmp_path, questions_file(tmp_path), 2)
    assert output.read_text() == "older"
    run_batch(Echo(), request(tmp_path, tmp_path / "in.csv"))
    assert len(read_jsonl(output)) == 10
