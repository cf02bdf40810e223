"""``assistant classify`` and ``assistant entities`` with tiny models in a registry."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tuned_models as made
from support import ROOT
from versions_support import passport

from assistant.cli import run
from assistant.commands import texts as shared
from assistant.models.heads import HeadSpec
from assistant.models.store import ModelStore

Command = Callable[..., int]


def add(
    data: Path, task: str, name: str, *heads: HeadSpec, tenant: str = "shared", seed: int = 0
) -> None:
    """Build a tiny model and make it the one in use."""
    store = ModelStore(data / "models")
    folder = data / f"{tenant}-{task}-{name}-{seed}"
    made.built(folder / "int8", *heads, precision="int8", task=task, seed=seed)
    version = store.add(folder, tenant=tenant, task=task, name=name, passport=passport(task, name))
    store.promote(version)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    add(folder, "sentiment", "news", made.SENTIMENT)
    add(folder, "topic", "news", made.TOPICS)
    add(folder, "topic", "web", made.TOPICS, seed=4)
    add(folder, "tagger", "names", made.TAGS)
    add(folder, "sentiment", "news", made.SENTIMENT, tenant="acme", seed=8)
    add(folder, "multitask", "all", made.SENTIMENT, HeadSpec("risk", "sequence", ("a", "b")))
    return folder


@pytest.fixture
def command(data: Path) -> Command:
    return lambda *words: run([*map(str, words), "--data-dir", str(data)])


def texts_file(folder: Path, count: int = 20) -> Path:
    source = folder / "in.csv"
    words = ["lost card", "银行卡丢了？", "bank fee", "a ﬁee", "card card"]
    lines = [f"r{n},{words[n % 5]} {'abcd'[n % 4]}" for n in range(count)]
    source.write_text("\n".join(["id,text", *lines, ""]), encoding="utf-8")
    return source


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_classify_gives_every_row_its_label(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.csv"
    assert command("classify", "--task", "sentiment", texts_file(tmp_path), "--output", output) == 0
    assert "20 of 20 rows by sentiment/news@v1, 0 failed" in capsys.readouterr().out
    rows = csv_rows(output)
    assert [row["id"] for row in rows] == [f"r{n}" for n in range(20)]
    for row in rows:
        shares = json.loads(row["probabilities"])
        assert tuple(shares) == made.SENTIMENT.labels
        assert shares[row["label"]] == max(shares.values()) == float(row["probability"])
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["error"] == ""


def test_a_record_of_fields_is_read_as_the_text_it_was_learnt_as(
    command: Command, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    record = {"fee_paid": True, "card": "lost", "months": 12.0}
    rows = [{"data": record}, {"data": "fee paid: yes; card: lost; months: 12."}, {"data": {}}]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ("classify", "--task", "sentiment", source, "--column", "data", "--output", output)
    assert command(*words) == 3
    fields, text, empty = json_rows(output)
    assert fields["data"] == record
    assert fields["probabilities"] == text["probabilities"]
    assert fields["error"] is None and "not text" in empty["error"]


def test_multi_label_models_give_labels(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = texts_file(tmp_path), tmp_path / "out.jsonl"
    words = ("classify", "--task", "topic", source, "--output", output)
    assert command(*words) == 2
    assert "name one: news, web" in capsys.readouterr().err
    assert command(*words, "--model", "web", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["model"] == "topic/web@v1" and report["rows"] == 20
    for row in json_rows(output):
        shares = row["probabilities"]
        held = sorted((n for n in shares if shares[n] >= 0.5), key=lambda n: -shares[n])
        assert row["labels"] == held
        assert row["label"] == (held[0] if held else "")


def test_entities_are_places_in_the_text(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = ["lost card ﬁee", "🙂 银行卡 e\u0301", "Москва ㈱ bank"]
    source.write_text("".join(json.dumps({"body": line, "n": 1}) + "\n" for line in lines))
    assert command("entities", source, "--output", output, "--column", "body") == 0
    rows = json_rows(output)
    assert [row["body"] for row in rows] == lines
    found = [(row["body"], entity) for row in rows for entity in row["entities"]]
    assert found
    for text, entity in found:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert set(entity) == {"text", "label", "start", "end", "probability"}
    assert "tagger/names@v1" in capsys.readouterr().out


def test_a_tenant_has_its_own_model_or_the_shared_one(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = texts_file(tmp_path)
    outputs = []
    for tenant in ("shared", "acme", "other"):
        output = tmp_path / f"{tenant}.jsonl"
        words = ("classify", "--task", "sentiment", source, "--output", output)
        assert command(*words, "--tenant", tenant) == 0
        outputs.append([row["probabilities"] for row in json_rows(output)])
    assert outputs[0] == outputs[2] != outputs[1]


def test_one_pass_of_a_multitask_model(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = texts_file(tmp_path), tmp_path / "out.csv"
    assert command("classify", "--task", "multitask", source, "--output", output) == 0
    rows = csv_rows(output)
    assert {row["sentiment_label"] for row in rows} <= set(made.SENTIMENT.labels)
    assert {row["risk_label"] for row in rows} <= {"a", "b"}
    assert "sentiment: " in capsys.readouterr().out
    # A task without a model of its own is served by the head of its name.
    risk = tmp_path / "risk.csv"
    assert command("classify", "--task", "risk", source, "--output", risk) == 0
    assert [row["label"] for row in csv_rows(risk)] == [row["risk_label"] for row in rows]


def test_a_folder_or_a_version_can_be_named(
    command: Command, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = texts_file(tmp_path), tmp_path / "out.csv"
    words = ("classify", "--task", "sentiment", source, "--output", output, "--model")
    version = data / "models" / "shared" / "sentiment" / "news" / "v1"
    for model in ("news@v1", str(version), str(version / "int8")):
        assert command(*words, model) == 0
    assert command(*words, "news@v9") == 1
    assert "there is v1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("classify", "--task", "classifier"), 1, "assistant models promote classifier/"),
        (("classify", "--task", "mood"), 2, "heads of the multi-task model: sentiment, risk"),
        (("classify", "--task", "tagger"), 1, "cannot classify texts.*tagger \\(token\\)"),
        (("classify", "--task", "sentiment", "--column", "txt"), 2, "Columns found: 'id', 'text'"),
        (("classify", "--task", "sentiment", "--model", "./none"), 1, "No built model"),
        (("classify", "--task", "sentiment", "--model", "../x"), 1, "No built model"),
        (("classify",), 2, "--task"),
    ],
)
def test_wrong_use_says_what_is_right(
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    output = tmp_path / "out.csv"
    assert command(*words, texts_file(tmp_path), "--output", output) == code
    import re

    assert re.search(message, capsys.readouterr().err.replace("\n", " "))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv"]


def test_bad_rows_end_with_three(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes("text,label\ncard,x\n,y\n卡\n".encode() + b"\xff,z\n")
    for words in (("classify", "--task", "sentiment"), ("entities",)):
        assert command(*words, source, "--output", output) == 3
        told = capsys.readouterr()
        assert "the text is empty" in told.out and "not valid utf-8" in told.out
        assert [bool(row["error"]) for row in csv_rows(output)] == [False, True, False, True]
    assert command("classify", "--task", "sentiment", source, "--output", output) == 3
    assert "'label' is kept as 'input_label'" in capsys.readouterr().err


def test_a_damaged_model_is_not_opened(
    command: Command, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add(data, "classifier", "broken", made.SENTIMENT)
    model = next((data / "models").glob("shared/classifier/broken/v1/int8/model.onnx"))
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(content)
    output = tmp_path / "out.csv"
    assert (
        command("classify", "--task", "classifier", texts_file(tmp_path), "--output", output) == 1
    )
    assert "damaged" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_as_if_never_killed(data: Path, tmp_path: Path) -> None:
    source, whole, output = texts_file(tmp_path, 12_000), tmp_path / "w.jsonl", tmp_path / "o.jsonl"
    start = [sys.executable, "-m", "assistant", "entities", str(source), "--data-dir", str(data)]
    done = subprocess.run([*start, "--output", str(whole)], cwd=ROOT, check=False, timeout=120)
    assert done.returncode == 0
    journal = Path(f"{output}.journal")
    before = 0
    for delay in (0.0, 0.03, 0.1):
        process = subprocess.Popen(
            [*start, "--output", str(output)], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if journal.exists() and json.loads(journal.read_text())["rows"] > before:
                break
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not output.exists(), "finished before it was killed: give it more rows"
        before = json.loads(journal.read_text())["rows"]
        assert 0 < before < 12_000
    done = subprocess.run(
        [*start, "--output", str(output), "--json"],
        cwd=ROOT,
        check=False,
        timeout=120,
        capture_output=True,
    )
    assert json.loads(done.stdout)["resumed_at"] == before
    assert output.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in tmp_path.glob("o.jsonl*")) == ["o.jsonl"]


_PEAK = """
import resource, sys
from assistant.cli import run
assert run(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_is_bounded_whatever_the_rows(data: Path, tmp_path: Path) -> None:
    """50,000 and 200,000 rows through a real graph: the peak of the process, in kilobytes."""

    def peak(count: int) -> int:
        letters = random.Random(count)
        source = tmp_path / f"{count}.csv"
        with source.open("w") as stream:
            stream.write("id,text\n")
            for n in range(count):
                stream.write(f"{n},card {letters.choice('abcdefgh')} {n % 1000}\n")
        words = ["classify", "--task", "sentiment", str(source), "--data-dir", str(data)]
        done = subprocess.run(
            [sys.executable, "-c", _PEAK, *words, "--output", str(tmp_path / f"{count}.jsonl")],
            cwd=ROOT,
            check=True,
            timeout=600,
            capture_output=True,
            text=True,
        )
        assert sum(1 for _ in (tmp_path / f"{count}.jsonl").open()) == count
        return int(done.stdout.splitlines()[-1])

    assert peak(200_000) < peak(50_000) + 20_000


def test_the_report_lists_twenty_and_says_how_many_more(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.csv"
    source.write_text("id,text\n" + "".join(f"{n},\n" for n in range(30)))
    assert command("entities", source, "--output", tmp_path / "o.csv") == 3
    out = capsys.readouterr().out
    assert out.count("the text is empty") == shared._SHOWN
    assert "and 10 more; see the column error." in out
