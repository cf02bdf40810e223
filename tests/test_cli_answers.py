"""The commands that load and answer, in processes of their own, over the real parts."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import ROOT, Run, write_beir

from assistant.types import Answer, AnswerKind

FIELDS = set(Answer("", AnswerKind.FAQ, 0.0, "en").to_json())


def ask(run: Run, data: Path, question: str, *words: str) -> dict[str, Any]:
    done = run("ask", question, "--data-dir", data, "--json", *words)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    assert set(answer) == FIELDS
    return answer


def test_a_known_question_gets_the_approved_answer(bank: Path, run_assistant: Run) -> None:
    with (ROOT / "examples/bank/faq_zh.csv").open(encoding="utf-8-sig", newline="") as stream:
        entries = {row["id"]: row for row in csv.DictReader(stream)}
    entry = next(row for row in entries.values() if "年费" in row["question"])
    answer = ask(run_assistant, bank, entry["question"], "--collection", "bank")
    assert answer["kind"] == "faq"
    assert answer["faq_id"] == entry["id"]
    assert answer["answer"] == entry["answer"]
    assert answer["language"] == "zh"


def test_stdin_and_a_conversation(bank: Path, run_assistant: Run, tmp_path: Path) -> None:
    words = ("ask", "-", "--data-dir", bank, "--collection", "bank", "--json")
    done = run_assistant(*words, stdin="金卡年费多少？\n")
    first = json.loads(done.stdout)
    assert "300" in first["answer"]
    conversation = first["conversation_id"]
    second = ask(
        run_assistant, bank, "那白金卡呢？", "--collection", "bank", "--conversation", conversation
    )
    assert second["conversation_id"] == conversation
    assert "980" in second["answer"]


def test_people_see_answer_sources_and_kind(bank: Path, run_assistant: Run) -> None:
    done = run_assistant("ask", "金卡年费多少？", "--data-dir", bank, "--collection", "bank")
    assert done.stdout.startswith("金卡年费300元")
    assert "[1] " in done.stdout
    assert "\nfaq, confidence 0." in done.stdout


@pytest.mark.parametrize(
    ("question", "code", "message"),
    [
        ("", 2, "empty"),
        ("   ", 2, "empty"),
        ("x" * 4001, 2, "4,000"),
    ],
    ids=["empty", "blank", "long"],
)
def test_unusable_questions(
    question: str, code: int, message: str, bank: Path, run_assistant: Run
) -> None:
    done = run_assistant("ask", question, "--data-dir", bank, "--collection", "bank", "--json")
    assert done.returncode == code
    assert message in done.stderr
    assert done.stdout == ""


def test_one_megabyte_of_stdin_is_refused(bank: Path, run_assistant: Run) -> None:
    words = ("ask", "-", "--data-dir", bank, "--collection", "bank")
    done = run_assistant(*words, stdin="卡" * 350_000)
    assert done.returncode == 2
    assert "350,000 characters" in done.stderr


def test_ask_in_an_unknown_collection(bank: Path, run_assistant: Run) -> None:
    done = run_assistant("ask", "opening hours", "--data-dir", bank, "--collection", "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "bank" in done.stderr


@pytest.mark.slow
def test_documents_come_change_and_go(tmp_path: Path, run_assistant: Run) -> None:
    data, folder = tmp_path / "data", tmp_path / "handbook"
    folder.mkdir()
    handbook = folder / "leave.md"
    handbook.write_text("# Leave\n\nEvery employee has 25 days of paid leave a year.\n")
    (folder / "broken.pdf").write_bytes(b"\xff\xd8\xff\xe0 this is a JPEG")
    words = ("--data-dir", data, "--collection", "hb")

    def ingest(code: int) -> dict[str, Any]:
        done = run_assistant("ingest", folder, *words, "--json")
        assert done.returncode == code, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    report = ingest(3)
    assert [(f["source"], f["status"]) for f in report["files"]] == [
        ("broken.pdf", "failed"),
        ("leave.md", "added"),
    ]
    assert report["failed"][0]["reason"]
    question = "How many days of paid leave does an employee have?"
    answer = ask(run_assistant, data, question, "--collection", "hb")
    assert answer["kind"] == "grounded"
    assert "25 days" in answer["answer"]
    assert answer["citations"][0]["source"] == "leave.md"

    (folder / "broken.pdf").unlink()
    assert [f["status"] for f in ingest(0)["files"]] == ["unchanged"]
    handbook.write_text("# Leave\n\nEvery employee has 31 days of paid leave a year.\n")
    assert [f["status"] for f in ingest(0)["files"]] == ["replaced"]
    answer = ask(run_assistant, data, question, "--collection", "hb")
    assert "31 days" in answer["answer"]

    listed = json.loads(run_assistant("documents", "list", *words, "--json").stdout)
    assert [(d["source"], d["chunks"]) for d in listed] == [("leave.md", 1)]
    document = listed[0]["document_id"]
    done = run_assistant("documents", "delete", document, "no-such-id", *words, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["deleted"] == [document]
    assert json.loads(done.stdout)["failed"][0]["document_id"] == "no-such-id"
    assert ask(run_assistant, data, question, "--collection", "hb")["citations"] == []

    done = run_assistant("collections", "delete", "hb", "--data-dir", data, stdin="n\n")
    assert done.returncode == 130
    done = run_assistant("collections", "delete", "hb", "--yes", "--data-dir", data)
    assert done.returncode == 0
    assert (
        json.loads(run_assistant("collections", "list", "--json", "--data-dir", data).stdout) == []
    )


def test_build_is_idempotent_and_the_bank_is_whole(bank: Path, run_assistant: Run) -> None:
    done = run_assistant("build", "--data-dir", bank, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    statuses = {f["status"] for part in report["collections"] for f in part["files"]}
    assert statuses == {"unchanged"}
    stats = run_assistant("collections", "stats", "bank", "--json", "--data-dir", bank)
    numbers = json.loads(stats.stdout)
    assert numbers["documents"] >= 17
    assert numbers["faq_entries"] >= 300


def test_doctor_finds_a_sound_installation(bank: Path, run_assistant: Run) -> None:
    done = run_assistant("doctor", "--json", "--data-dir", bank)
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert {check["status"] for check in report["checks"]} == {"ok"}


def test_doctor_finds_a_changed_model_file(bank: Path, run_assistant: Run, tmp_path: Path) -> None:
    """One byte of a copy of the built model is flipped: nothing is served from it."""
    import shutil

    from assistant.settings import Settings

    cache = tmp_path / "cache"
    shutil.copytree(Settings().cache_dir / "models", cache / "models")
    for model in (cache / "models").rglob("model.onnx"):
        data = bytearray(model.read_bytes())
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    done = run_assistant(
        "doctor", "--json", "--data-dir", bank, env={"ASSISTANT_CACHE_DIR": str(cache)}
    )
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["model"]["status"] == "fail"
    assert "model.onnx" in checks["model"]["detail"]


@pytest.mark.parametrize("method", ["hybrid", "dense", "lexical"])
def test_eval_retrieval(method: str, tmp_path: Path, run_assistant: Run) -> None:
    write_beir(tmp_path / "beir")
    done = run_assistant(
        "eval", "retrieval", "--data", tmp_path / "beir", "--json", "--method", method
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["queries"], result["corpus"], result["method"]) == (3, 4, method)
    if method == "lexical":  # q2 shares no word with its text
        assert result["recall@1"] == pytest.approx(2 / 3)
    else:
        assert result["ndcg@10"] == result["recall@1"] == result["mrr@10"] == 1.0


def test_eval_names_what_is_wrong_with_a_folder(tmp_path: Path, run_assistant: Run) -> None:
    write_beir(tmp_path / "beir")
    (tmp_path / "beir" / "queries.jsonl").write_text('{"_id": "q1"}\n')
    done = run_assistant("eval", "retrieval", "--data", tmp_path / "beir", "--json")
    assert done.returncode == 2
    assert "queries.jsonl: line 1" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
def test_eval_scores_a_public_set(dev_data: Path, run_assistant: Run) -> None:
    folder = dev_data / "retrieval_xling_zh_en"
    scores = {}
    for method in ("hybrid", "lexical"):
        done = run_assistant(
            *("eval", "retrieval", "--data", folder, "--json", "--method", method), timeout=300
        )
        scores[method] = json.loads(done.stdout)["ndcg@10"]
    assert scores["hybrid"] > 0.55
    assert scores["lexical"] == pytest.approx(0.11, abs=0.05)


# --- batch -----------------------------------------------------------------------------------


def write_questions(path: Path, count: int) -> None:
    lines = (ROOT / "examples/bank/questions.jsonl").read_text(encoding="utf-8").splitlines()
    pool = [json.loads(line)["question"] for line in lines]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "question"])
        for number in range(count):
            extra = f" ({number})" if number >= len(pool) else ""
            writer.writerow([f"r{number}", pool[number % len(pool)] + extra])


def without_times(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row.pop("timings_ms", None)
    return rows


def test_batch_to_csv_with_bad_rows(bank: Path, run_assistant: Run, tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id;question\n1;金卡年费多少？\n2;\n3;=1+1 年费？\n", encoding="gb18030")
    words = ("batch", source, "--output", output, "--collection", "bank", "--data-dir", bank)
    done = run_assistant(*words, "--json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    assert (report["rows"], report["answered"], report["failed"]) == (3, 2, 1)
    assert report["failures"] == [
        {"row": 2, "line": 3, "id": "2", "reason": "the question is empty"}
    ]
    with output.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert "300" in rows[0]["answer"]
    assert json.loads(rows[0]["citations"])[0]["source"] == "faq_zh.csv"
    assert rows[1]["error"] == "the question is empty"
    assert rows[2]["question"] == "'=1+1 年费？"


def test_batch_without_the_column(bank: Path, run_assistant: Run, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,qusetion\n1,hello\n")
    words = ("--output", tmp_path / "out.csv", "--collection", "bank", "--data-dir", bank)
    done = run_assistant("batch", source, *words)
    assert done.returncode == 2
    assert "Columns found: 'id', 'qusetion'. Nearest: 'qusetion'." in done.stderr
    done = run_assistant("batch", source, "--field", "qusetion", *words)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_batch_killed_again_and_again_ends_as_if_never_killed(
    bank: Path, run_assistant: Run, tmp_path: Path
) -> None:
    source, whole, output = (tmp_path / name for name in ("in.csv", "whole.jsonl", "out.jsonl"))
    write_questions(source, 1500)
    words = ["--collection", "bank", "--data-dir", str(bank), "--json"]
    done = run_assistant("batch", source, "--output", whole, *words, timeout=300)
    assert done.returncode == 0, done.stderr
    journal = Path(f"{output}.journal")
    command = [sys.executable, "-m", "assistant", "batch", str(source), "--output", str(output)]
    rows_before = 0
    for delay in (0.0, 0.07, 0.2):  # into the middle of slices and of writes
        process = subprocess.Popen(
            [*command, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and json.loads(journal.read_text())["rows"] > rows_before:
                break
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists(), "finished before it was killed: give it more rows"
        rows_before = json.loads(journal.read_text())["rows"]
        assert 0 < rows_before < 1500
    done = run_assistant("batch", source, "--output", output, *words, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["resumed_at"] == rows_before
    assert [row["id"] for row in without_times(output)] == [f"r{n}" for n in range(1500)]
    assert without_times(output) == without_times(whole)
    assert sorted(p.name for p in tmp_path.glob("out.jsonl*")) == ["out.jsonl"]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_answered(bank: Path, run_assistant: Run, tmp_path: Path) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.jsonl"
    write_questions(source, 1500)
    words = ["--output", str(output), "--collection", "bank", "--data-dir", str(bank)]
    process = subprocess.Popen(
        [sys.executable, "-m", "assistant", "batch", str(source), *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    journal = Path(f"{output}.journal")
    deadline = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert not output.exists()
    assert json.loads(journal.read_text())["rows"] >= 256
