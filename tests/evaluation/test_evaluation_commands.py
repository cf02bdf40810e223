"""``assistant eval classify`` end to end: real ONNX models, figures checked by hand."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from served_models import (
    INTENT,
    SENTIMENT,
    TAGS,
    WORDS,
    Evaluate,
    add,
    check_shape,
    models,
    texts,
    versions,
    write_lines,
)
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from assistant.cli import run
from assistant.models.loading import open_classifier
from assistant.models.store import ModelStore
from assistant.settings import Settings

# --- classify ----------------------------------------------------------------------------------


def test_classify(evaluate: Evaluate, settings_of: Settings, tmp_path: Path) -> None:
    said = texts(120)
    model = open_classifier(settings_of, "sentiment")
    found = model.classify(said)
    model.close()
    dice = random.Random(1)
    gold = [p.label if dice.random() < 0.7 else dice.choice(SENTIMENT.labels) for p in found]
    with (tmp_path / "test.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *zip(said, gold, strict=True)])
    (tmp_path / "train.csv").write_text("text,label\nx,y\n")

    result = evaluate("classify", "--data", tmp_path, "--task", "sentiment")
    check_shape(result, "sentiment/mood@v1", 120, tmp_path / "test.csv")
    labels = [p.label for p in found]
    assert set(labels) == set(SENTIMENT.labels)
    metrics = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert metrics["accuracy"] == pytest.approx(accuracy_score(gold, labels), abs=1e-6)
    assert metrics["macro_f1"] == pytest.approx(f1_score(gold, labels, average="macro"), abs=1e-6)
    names = sorted(SENTIMENT.labels)
    table = np.array([[p.probabilities[name] for name in names] for p in found])
    table /= table.sum(axis=1, keepdims=True)
    assert metrics["log_loss"] == pytest.approx(log_loss(gold, table, labels=names), abs=1e-4)
    assert {row["label"] for row in result["labels"]} == {*gold, *labels}
    assert result["columns"] == {"text": ["text"], "label": "label"}
    assert result["warnings"] == []


def test_classify_with_out_of_scope_and_labels_unseen(
    evaluate: Evaluate, settings_of: Settings, tmp_path: Path
) -> None:
    said = texts(80, seed=3)
    model = open_classifier(settings_of, "intent")
    found = [p.label for p in model.classify(said)]
    model.close()
    assert set(found) == {*INTENT.labels, "out_of_scope"}
    gold = ["oos" if n % 4 == 0 else label for n, label in enumerate(found)]
    gold[1] = gold[2] = "mortgage"
    file = write_lines(
        tmp_path / "valid.jsonl",
        [{"text": t, "intent": g, "topic": "x"} for t, g in zip(said, gold, strict=True)],
    )
    wrong = tmp_path / "wrong.csv"
    result = evaluate("classify", "--data", tmp_path, "--task", "intent", "--errors", wrong)
    check_shape(result, "intent/desk@v1", 80, file)
    true = ["out_of_scope" if g == "oos" else g for g in gold]
    metrics = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert metrics["accuracy"] == pytest.approx(accuracy_score(true, found), abs=1e-6)
    inside = [(a, b) for a, b in zip(true, found, strict=True) if a != "out_of_scope"]
    assert metrics["in_scope_accuracy"] == pytest.approx(
        np.mean([a == b for a, b in inside]), abs=1e-6
    )
    outside = [b for a, b in zip(true, found, strict=True) if a == "out_of_scope"]
    assert metrics["out_of_scope_recall"] == pytest.approx(
        np.mean([b == "out_of_scope" for b in outside]), abs=1e-6
    )
    assert result["unknown_labels"] == {"mortgage": 2}
    assert "mortgage (2)" in result["stderr"]
    assert "'oos' is taken for" in result["stderr"]
    rows = list(csv.DictReader(wrong.open(encoding="utf-8-sig")))
    places = [n for n, (a, b) in enumerate(zip(true, found, strict=True)) if a != b]
    assert [int(row["line"]) - 1 for row in rows] == places
    assert [row["predicted"] for row in rows] == [found[n] for n in places]


def test_classify_with_several_labels(
    evaluate: Evaluate, settings_of: Settings, tmp_path: Path
) -> None:
    said = texts(60, seed=4)
    model = open_classifier(settings_of, "topic")
    found = [p.labels for p in model.classify(said)]
    model.close()
    gold = [list(labels) if n % 3 else ["cards", "tax"] for n, labels in enumerate(found)]
    file = write_lines(
        tmp_path / "data.jsonl",
        [{"text": t, "labels": g} for t, g in zip(said, gold, strict=True)],
    )
    wrong = tmp_path / "wrong.jsonl"
    result = evaluate("classify", "--data", file, "--task", "topic", "--errors", wrong)
    check_shape(result, "topic/flashes@v1", 60, file)
    same = [set(a) == set(b) for a, b in zip(found, gold, strict=True)]
    assert result["metrics"]["exact_match"]["value"] == pytest.approx(np.mean(same), abs=1e-6)
    hits = sum(len(set(a) & set(b)) for a, b in zip(found, gold, strict=True))
    sizes = sum(len(a) + len(b) for a, b in zip(found, gold, strict=True))
    assert result["metrics"]["micro_f1"]["value"] == pytest.approx(2 * hits / sizes, abs=1e-6)
    assert result["unknown_labels"] == {"tax": 20}
    rows = [json.loads(line) for line in wrong.read_text(encoding="utf-8").splitlines()]
    assert [row["line"] for row in rows] == [n + 1 for n, one in enumerate(same) if not one]


def test_classify_records_by_risk(
    evaluate: Evaluate, settings_of: Settings, tmp_path: Path
) -> None:
    from assistant.records import render_record

    dice = random.Random(5)
    records = [{"purpose": dice.choice(WORDS), "credit_amount": dice.random()} for _ in range(50)]
    gold = [dice.choice(("good", "good", "bad")) for _ in records]
    file = write_lines(
        tmp_path / "test.jsonl",
        [{"record": r, "label": g} for r, g in zip(records, gold, strict=True)],
    )
    model = open_classifier(settings_of, "risk")
    scores = [p.probabilities["bad"] for p in model.classify([render_record(r) for r in records])]
    model.close()
    result = evaluate("classify", "--data", file, "--task", "risk")
    expected = roc_auc_score([g == "bad" for g in gold], scores)
    assert result["metrics"]["roc_auc"]["value"] == pytest.approx(expected, abs=1e-6)
    assert result["positive_label"] == "bad"
    flipped = evaluate("classify", "--data", file, "--task", "risk", "--positive", "good")
    assert flipped["positive_label"] == "good"
    bad = evaluate("classify", "--data", file, "--task", "risk", "--positive", "ugly", code=2)
    assert "positive is 'ugly'; the labels are good, bad" in bad["stderr"]


def test_a_model_in_a_folder_by_another_name_of_its_labels(
    evaluate: Evaluate, served: Path, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,sad\nbank,glad\n")
    folder = served / "build" / "sentiment" / "int8"
    words = ("classify", "--data", file, "--model", folder, "--map", "sad=negative")
    result = evaluate(*words, "--map", "glad=positive")
    assert result["model"].startswith("tiny@")
    assert result["unknown_labels"] == {}
    half = evaluate(*words)
    assert half["unknown_labels"] == {"glad": 1}
    (warning,) = half["warnings"]
    assert "--map DATA=MODEL" in warning and "positive" in warning
    strange = evaluate(*words, "--map", "neutal=neutral", code=2)
    assert "the data have no label 'neutal'; they have glad, sad" in strange["stderr"]
    odd = evaluate(*words, "--map", "neutral", code=2)
    assert "renames nothing; write DATA=MODEL" in odd["stderr"]


def test_usual_names_of_sentiments_are_understood(
    evaluate: Evaluate, served: Path, tmp_path: Path
) -> None:
    folder = served / "build" / "sentiment" / "int8"
    scored = []
    for low, high in (("bearish", "bullish"), ("negative", "positive")):
        file = tmp_path / f"{low}.csv"
        file.write_text(f"text,label\ncard,{low}\nbank,{high}\nfee,neutral\n")
        scored.append(evaluate("classify", "--data", file, "--model", folder))
    assert scored[0]["unknown_labels"] == {}
    assert scored[0]["metrics"] == scored[1]["metrics"]
    assert "'bullish' is taken for the model's 'positive'" in str(scored[0]["warnings"])


def test_the_task_may_be_left_out_where_only_one_is_in_use(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,neutral\n")
    several = evaluate("classify", "--data", file, code=2)
    assert "in use for intent, sentiment, topic, risk: name one by --task" in several["stderr"]
    named = evaluate("classify", "--data", file, "--model", "mood")
    assert (named["model"], named["task"]) == ("sentiment/mood@v1", "sentiment")
    unknown = evaluate("classify", "--data", file, "--model", "moody", code=1)
    assert "No classifier moody is in use" in unknown["stderr"]
    none = evaluate("classify", "--data", file, code=1, data_dir=tmp_path / "new")
    assert "No classifier is in use: train one with `assistant train`" in none["stderr"]
    store = ModelStore(tmp_path / "data" / "models")
    add(store, tmp_path / "build", "sentiment", "only", SENTIMENT)
    one = evaluate("classify", "--data", file, data_dir=tmp_path / "data")
    assert (one["model"], one["task"]) == ("sentiment/only@v1", "sentiment")


def test_a_head_of_a_multi_task_model(evaluate: Evaluate, tmp_path: Path) -> None:
    folder = tmp_path / "build"
    folder.mkdir()
    models.built(folder / "int8", SENTIMENT, INTENT, TAGS, precision="int8", task="multitask")
    store = ModelStore(tmp_path / "data" / "models")
    passport = versions.passport("multitask", "all")
    store.promote(store.add(folder, task="multitask", name="all", passport=passport))
    said = texts(30, seed=11)
    model = open_classifier(Settings(data_dir=tmp_path / "data"), "intent")
    gold = [p.label for p in model.classify(said)]
    model.close()
    file = write_lines(
        tmp_path / "a.jsonl",
        [{"text": t, "intent": g} for t, g in zip(said, gold, strict=True)],
    )
    words = ("classify", "--data", file, "--task")
    found = evaluate(*words, "intent", data_dir=tmp_path / "data")
    assert found["model"] == "multitask/all@v1"
    assert found["metrics"]["accuracy"]["value"] == 1
    missing = evaluate(*words, "topic", code=1, data_dir=tmp_path / "data")
    assert "topic" in missing["stderr"]


def test_the_version_named_is_the_version_measured(evaluate: Evaluate, tmp_path: Path) -> None:
    said = texts(40, seed=6)
    root = tmp_path / "data"
    store = ModelStore(root / "models")
    add(store, tmp_path / "one", "sentiment", "mood", SENTIMENT, seed=1)
    add(store, tmp_path / "two", "sentiment", "mood", SENTIMENT, seed=2)
    first = open_classifier(Settings(data_dir=root), "sentiment", "mood@v1")
    gold = [p.label for p in first.classify(said)]
    first.close()
    file = write_lines(
        tmp_path / "a.jsonl", [{"text": t, "label": g} for t, g in zip(said, gold, strict=True)]
    )
    words = ("classify", "--data", file, "--task", "sentiment")
    now = evaluate(*words, data_dir=root)
    assert now["model"] == "sentiment/mood@v2"
    assert now["metrics"]["accuracy"]["value"] < 1
    old = evaluate(*words, "--model", "mood@v1", data_dir=root)
    assert old["model"] == "sentiment/mood@v1"
    assert old["metrics"]["accuracy"]["value"] == 1
    theirs = evaluate(*words, "--tenant", "acme", data_dir=root)
    assert theirs["model"] == "sentiment/mood@v2"
    missing = evaluate(*words, "--model", "mood@v9", code=1, data_dir=root)
    assert "mood@v9 does not exist" in missing["stderr"]


# --- results and faults ------------------------------------------------------------------------


def test_people_read_tables(
    served: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,neutral\nbank,positive\n\x1b[31m,neutral\n")
    words = ["eval", "classify", "--data", str(file), "--task", "sentiment"]
    assert run([*words, "--data-dir", str(served)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"sentiment/mood@v1 on {file}\n3 rows in ")
    assert "metric\tvalue\t95 % interval\tn\naccuracy\t" in out
    assert "label\tprecision\trecall\tf1\tsupport\tpredicted\n" in out
    assert "\x1b" not in out


def test_faulty_rows_fail_or_are_left_out(evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,neutral\nbank,\n,neutral\n")
    words = ("classify", "--data", file, "--task", "sentiment")
    refused = evaluate(*words, code=2)
    assert "a.csv, line 3: label is ''; a label is needed" in refused["stderr"]
    skipped = evaluate(*words, "--skip-bad", code=3)
    assert skipped["rows"] == 2
    assert len(skipped["left_out"]) == 1
    assert "Left out: a.csv, line 3" in skipped["stderr"]
    assert "1 rows without any text" in skipped["stderr"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "mood"], "Invalid value for '--task'"),
        (["--task", "sentiment", "--errors", "wrong.txt"], "not a table; use one of .csv"),
        (["--task", "sentiment", "--errors", "{file}"], "is the data itself"),
        (["--task", "sentiment", "--errors", "/no/such/place/w.csv"], "No such file"),
        (["--task", "sentiment", "--label-column", "lable"], "Nearest: 'label'"),
        (["--task", "sentiment", "--model", "Mood!"], "Model name 'Mood!' is refused"),
    ],
)
def test_wrong_use_is_told(
    evaluate: Evaluate, words: list[str], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,neutral\n")
    filled = [word.replace("{file}", str(file)) for word in words]
    assert message in evaluate("classify", "--data", file, *filled, code=2)["stderr"]
    assert file.read_text() == "text,label\ncard,neutral\n"


@pytest.mark.parametrize(
    ("command", "name", "text"),
    [
        ("pairs", "a.csv", "text_a,text_b,label\na,b,1\n"),
        ("qa", "a.jsonl", '{"question": "q", "context": "c", "answers": []}\n'),
        ("ner", "a.txt", "EU B-ORG\n"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    evaluate: Evaluate, served: Path, command: str, name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    folder = served / "build" / "sentiment" / "int8"
    found = evaluate(command, "--data", tmp_path / name, "--model", folder, code=1)
    assert "cannot" in found["stderr"]
    assert "Its heads: sentiment (sequence)" in found["stderr"]


def test_one_row_is_enough(evaluate: Evaluate, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("text,label\ncard,neutral\n")
    found = evaluate("classify", "--data", file, "--task", "sentiment")
    assert found["metrics"]["accuracy"]["n"] == 1


@pytest.mark.parametrize("command", ["retrieval", "classify", "pairs", "qa", "ner"])
def test_every_evaluation_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", command, "--help"]) == 0
    assert "--data" in capsys.readouterr().out
