"""Tables of texts through a function: columns, bad rows, resumption, memory. The function is here
deterministic and instant; ``models/test_texts_commands.py`` runs models and kills real runs."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from assistant import batch_journal
from assistant.errors import InvalidInputError, StorageError
from assistant.resumable import Progress, in_order
from assistant.streaming import StreamReport, TextTable, stream_table, text_problem

ADDED = ("label", "probability", "probabilities")


class Labeller:
    """Labels a text with its length; can be told to stop at a given call, as a kill would."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.texts: list[str] = []
        self.calls = 0
        self.stop_at = stop_at

    def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        self.texts += texts
        return [
            {"label": f"n{len(t)}", "probability": 0.5, "probabilities": {"a": 0.5, "汉": 0.5}}
            for t in texts
        ]


def labels(values: Mapping[str, Any]) -> Iterator[str]:
    yield values["label"]


def run(source: Path, work: Labeller | None = None, **changes: Any) -> StreamReport:
    output = changes.pop("output", source.parent / "out.jsonl")
    progress = changes.pop("progress", None)
    table = TextTable(source, output, ADDED, **{"model": "m@v1", "block_rows": 4, **changes})
    return stream_table(table, work or Labeller(), labels, progress)


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def table_of(folder: Path, count: int = 10) -> Path:
    path = folder / "in.csv"
    path.write_text("id,text\n" + "".join(f"r{n},text {n}\n" for n in range(count)))
    return path


def written(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_column_and_the_order_are_kept(tmp_path: Path) -> None:
    told: list[Progress] = []
    report = run(table_of(tmp_path), progress=told.append)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(10)]
    assert list(rows[0]) == ["id", "text", *ADDED, "error"]
    assert rows[0]["probabilities"] == {"a": 0.5, "汉": 0.5} and rows[0]["error"] is None
    assert (report.rows, report.done, report.failed) == (10, 10, 0)
    assert report.counts == {"n6": 10}
    assert told[0] == Progress(0, 10, 0) and told[-1] == Progress(10, 10, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.jsonl"]


@pytest.mark.parametrize("given", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("wanted", ["csv", "jsonl"])
def test_every_way_from_table_to_table(tmp_path: Path, given: str, wanted: str) -> None:
    records = [{"Text": 'a, "b"\nc', "n": "1"}, {"Text": "手续费", "n": "-2.50"}]
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t" if given == "tsv" else ",")
    writer.writerow(records[0])
    writer.writerows(record.values() for record in records)
    text = "".join(json.dumps(record) + "\n" for record in records)
    source = written(tmp_path, f"in.{given}", text if given == "jsonl" else buffer.getvalue())
    output = tmp_path / f"out.{wanted}"
    run(source, output=output)
    found = rows_of(output)
    assert [{k: row[k] for k in ("Text", "n")} for row in found] == records
    probabilities = found[1]["probabilities"]
    assert (probabilities if wanted == "jsonl" else json.loads(probabilities)) == {
        "a": 0.5,
        "汉": 0.5,
    }
    assert float(found[1]["probability"]) == 0.5


def test_columns_with_the_names_of_added_ones_are_kept(tmp_path: Path) -> None:
    source = written(tmp_path, "in.csv", "text,Label,input_label,x,x,\nhi,gold,g2,1,2,\n")
    report = run(source, output=tmp_path / "out.csv")
    assert report.renamed == {"Label": "input_input_Label"}
    with (tmp_path / "out.csv").open(newline="") as stream:
        header, cells = list(csv.reader(stream))
    new = report.renamed["Label"]
    assert header == ["text", new, "input_label", "x", "x", "", *ADDED, "error"]
    assert cells[:6] == ["hi", "gold", "g2", "1", "2", ""]
    assert len({name.casefold() for name in header[:3]}) == 3
    run(source)
    row = rows_of(tmp_path / "out.jsonl")[0]
    assert (row[new], row["x"], row["label"]) == ("gold", "1", "n2")
    assert len(row) == 6 + 4
    lines = '{"text": "hi", "label": "gold", "n": [1, {"a": null}]}\n{"text": "ho"}\n'
    run(written(tmp_path, "in.jsonl", lines), output=tmp_path / "o.jsonl")
    rows = rows_of(tmp_path / "o.jsonl")
    assert (rows[0]["input_label"], rows[0]["n"]) == ("gold", [1, {"a": None}])
    assert "input_label" not in rows[1]


def test_another_column_can_be_the_text(tmp_path: Path) -> None:
    source = written(tmp_path, "in.csv", "id,Ｑuestion,text\n1,how?,other\n")
    work = Labeller()
    run(source, work, column="question")
    assert work.texts == ["how?"]


def test_bad_rows_stay_in_their_place_with_the_reason(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good"}',
        b"{broken",
        b'["text"]',
        b'{"text": 7}',
        b'{"text": " "}',
        b'{"other": 1}',
        b'{"text": "\xff"}',
        json.dumps({"text": "x" * 60}).encode(),
        b'{"text": "\\ud800"}',
        '{"text": "好"}'.encode(),
    ]
    report = run(written(tmp_path, "in.jsonl", b"\n".join(lines)), max_chars=50)
    rows = rows_of(tmp_path / "out.jsonl")
    assert [row["label"] for row in rows] == ["n4", *[None] * 8, "n1"]
    errors = [row["error"] for row in rows[1:9]]
    assert errors[0].startswith("broken JSON")
    assert errors[1] == "not a JSON object"
    assert errors[2] == "the text is not text but 7"
    assert errors[3] == "the text is empty"
    assert errors[4] == "no text"
    assert "0xff at character" in errors[5]
    assert errors[6] == "the text has 60 characters; the limit is 50: split it"
    assert "lone surrogate" in errors[7]
    assert report.failed == 8 and report.done == 2
    assert [failure.row for failure in report.failures] == list(range(2, 10))
    assert rows[5]["other"] == 1


def test_mixed_encodings_and_a_cell_of_five_megabytes(tmp_path: Path) -> None:
    text = b"text,n\n"
    text += b"".join(f"手续费,{n}\n".encode() for n in range(5))
    text += "手续费,gb\n".encode("gb18030")
    text += b'"' + b"x" * 5_000_000 + b'",big\n'
    report = run(written(tmp_path, "in.csv", text), output=tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert [row["label"] for row in rows] == ["n3"] * 5 + ["", ""]
    assert "is not valid utf-8" in rows[5]["error"]
    assert "5,000,000 characters; the limit is 100,000" in rows[6]["error"]
    assert report.failed == 2


def test_formulas_are_made_text_and_amounts_stay(tmp_path: Path) -> None:
    source = written(tmp_path, "in.csv", "text,a,b,c\n=1+1,-12.50,+86 10,-007\n@who,@x,-1e9,-3\n")
    run(source, output=tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert [rows[0][k] for k in ("text", "a", "b", "c")] == ["'=1+1", "-12.50", "'+86 10", "'-007"]
    assert [rows[1][k] for k in ("text", "a", "b", "c")] == ["'@who", "'@x", "'-1e9", "-3"]


def test_rows_with_too_few_or_too_many_cells(tmp_path: Path) -> None:
    source = written(tmp_path, "in.csv", "a,text,b\n1,hello\n2,hi,x,,\n3,hi,x,more\n")
    run(source, output=tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert [(row["b"], row["label"]) for row in rows] == [("", "n5"), ("x", "n2"), ("x", "")]
    assert rows[2]["error"].startswith("4 cells where the header has 3")


def test_a_missing_column_names_those_there_are(tmp_path: Path) -> None:
    found = r"Columns found: 'id', 'txet'\. Nearest: 'txet'"
    with pytest.raises(InvalidInputError, match=found):
        run(written(tmp_path, "in.csv", "id,txet\n1,a\n"))
    with pytest.raises(InvalidInputError, match=found):
        run(written(tmp_path, "in.jsonl", '{"id": 1, "txet": "a"}\n'))
    with pytest.raises(InvalidInputError, match="2 times"):
        run(written(tmp_path, "in.csv", "text,Text\na,b\n"))
    with pytest.raises(InvalidInputError, match="no header"):
        run(written(tmp_path, "in.csv", ""))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "in.jsonl"]


def test_an_empty_table_gives_an_empty_table(tmp_path: Path) -> None:
    report = run(written(tmp_path, "in.csv", "text\n"), output=tmp_path / "out.csv")
    assert report.rows == 0
    assert (tmp_path / "out.csv").read_text() == "text,label,probability,probabilities,error\n"
    assert run(written(tmp_path, "in.jsonl", "")).rows == 0


def test_a_csv_cannot_have_a_thousand_different_fields(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": "a", f"f{n}": n}) + "\n" for n in range(1001))
    source = written(tmp_path, "in.jsonl", lines)
    with pytest.raises(InvalidInputError, match="more than 1000 different fields"):
        run(source, output=tmp_path / "out.csv")
    assert run(source, block_rows=1024).done == 1001


def test_excel_finds_the_mark(tmp_path: Path) -> None:
    run(table_of(tmp_path), output=tmp_path / "out.csv", excel=True)
    assert (tmp_path / "out.csv").read_bytes().startswith(b"\xef\xbb\xbfid,text,")


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path, at: int) -> None:
    source = table_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(source, Labeller(stop_at=at))
    assert not (tmp_path / "out.jsonl").exists()
    work = Labeller()
    report = run(source, work)
    assert report.resumed_at % 4 == 0 and report.resumed_at <= 4 * (at - 1)
    assert work.texts == [f"text {n}" for n in range(report.resumed_at, 10)]
    assert report.counts == {"n6": 10} and report.rows == 10
    assert [row["id"] for row in rows_of(tmp_path / "out.jsonl")] == [f"r{n}" for n in range(10)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "m@v2"}, "the models have changed"),
        ({"column": "id"}, "other options"),
        ({"rows": 11}, "input file has changed"),
    ],
)
def test_two_models_are_never_mixed(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    source = table_of(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(source, Labeller(stop_at=3))
    if "rows" in change:
        table_of(tmp_path, change.pop("rows"))
    with pytest.raises(InvalidInputError, match=message):
        run(source, **change)
    work = Labeller()
    run(source, work, restart=True, **change)
    assert len(work.texts) >= 10


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = table_of(tmp_path)
    real_fsync, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 3:  # the second block: rows, then journal, are synced for each
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(batch_journal.os, "fsync", fsync)
        with pytest.raises(StorageError, match="No space left on device"):
            run(source)
    assert run(source).resumed_at == 4
    assert len(rows_of(tmp_path / "out.jsonl")) == 10


def test_blocks_end_by_characters_too(tmp_path: Path) -> None:
    row = "x" * 10 + "," + "y" * 20 + "\n"
    source = written(tmp_path, "in.csv", "text,other\n" + row * 12)
    sizes: list[int] = []

    class Sizes(Labeller):
        def __call__(self, texts: Sequence[str]) -> list[dict[str, Any]]:
            sizes.append(len(texts))
            return super().__call__(texts)

    run(source, Sizes(), block_rows=8, block_chars=90)
    assert sizes == [3, 3, 3, 3]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    def work(texts: Sequence[str]) -> list[dict[str, Any]]:
        return [{"label": "a", "probability": 1.0, "probabilities": {"a": 1.0}} for _ in texts]

    def peak(count: int) -> int:
        table = TextTable(
            table_of(tmp_path, count), tmp_path / "out.csv", ADDED, "m", block_rows=256
        )
        tracemalloc.start()
        try:
            stream_table(table, work, labels)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports
    assert peak(20_000) < 1.5 * peak(2_000)


def test_work_is_done_ahead_but_not_far(tmp_path: Path) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for n in range(6):
            taken.append(n)
            yield n

    results = in_order(lambda n: n * n, items())
    assert next(results) == 0
    assert taken == [0, 1]
    assert list(results) == [1, 4, 9, 16, 25]


def test_text_problems() -> None:
    assert text_problem("fine", "text", 10) is None
    assert text_problem(True, "body", 10) == "the body is not text but true"
    assert text_problem("\udcff", "text", 10) is not None
