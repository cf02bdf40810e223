"""``python -m training.data``: cards and leak checks without training."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from data_helpers import topic_rows, write_csv, write_jsonl
from support import ROOT

from training.data.command import main


@pytest.fixture
def recipe(tmp_path):
    write_csv(tmp_path / "tickets.csv", ["text", "intent"], topic_rows(20))
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[recipe]\ntask = "classifier"\nkind = "intent"\nname = "t"\n'
        '[data]\ntrain = "tickets.csv"\nlicence = "CC0-1.0"\n'
        '[data.columns]\nlabel = "intent"\n',
        encoding="utf-8",
    )
    return path


def test_the_card_of_a_recipe(recipe, capsys):
    assert main([str(recipe)]) == 0
    text = capsys.readouterr().out
    assert "# Data card (classify)" in text and "| train | 48 | 48 | en 48 |" in text


def test_json_and_kept_rows(recipe, capsys, tmp_path):
    assert main([str(recipe), "--json", "--out", str(tmp_path / "out")]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["card"]["splits"]["train"]["rows"] == 48
    assert value["report"]["leaks"]["rows"] == 0
    (folder,) = (tmp_path / "out").iterdir()
    assert value["folder"] == str(folder)
    assert {"train.jsonl", "card.md", "rejected.jsonl"} <= {p.name for p in folder.iterdir()}


def test_a_leak_ends_with_status_one(recipe, capsys, tmp_path):
    write_csv(tmp_path / "valid.csv", ["text", "intent"], topic_rows(1))
    text = recipe.read_text(encoding="utf-8").replace("licence", 'valid = "valid.csv"\nlicence')
    recipe.write_text(text, encoding="utf-8")
    assert main([str(recipe)]) == 1
    assert "Leak check failed: 3 rows" in capsys.readouterr().err
    assert main([str(recipe), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (
        value["leaks"]["rows"] == 3
        and sum(pair["counts"]["exact"] for pair in value["leaks"]["pairs"]) == 3
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("licence =", "licens ="), "'data.licens'; did you mean 'licence'?"),
        (("label =", "lable ="), "'data.columns.lable'; did you mean 'label'?"),
        (('label = "intent"', 'label = "intents"'), "Nearest: 'intent'"),
        (('task = "classifier"', 'task = "multitask"'), "which kind of rows?"),
        (("tickets.csv", "ticket.csv"), "Nearest: 'tickets.csv'"),
        (("[data]", "[data"), "TOML"),
    ],
)
def test_what_is_wrong_is_named(recipe, capsys, change, message):
    recipe.write_text(recipe.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    assert main([str(recipe)]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_file_of_data_keys_alone(tmp_path, capsys):
    write_csv(tmp_path / "t.csv", ["text", "label"], topic_rows(20))
    path = tmp_path / "data.toml"
    path.write_text('kind = "classify"\ntrain = "t.csv"\n', encoding="utf-8")
    assert main([str(path)]) == 0
    assert main([str(path), "--kind", "text"]) == 0
    assert "# Data card (text)" in capsys.readouterr().out


def test_changes_and_every_head_of_a_recipe(recipe, capsys, tmp_path):
    assert main([str(recipe), "--set", "data.split.test=0.2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"]["splits"]["test"]["rows"] == 12
    recipe.write_text(
        '[recipe]\ntask = "multitask"\nname = "t"\n[data]\ntrain = "tickets.csv"\n'
        '[heads.intent]\ndata = { train = "tickets.csv", columns = { label = "intent" } }\n'
        '[heads.names]\nkind = "tag"\ndata = { train = "names.jsonl" }\n',
        encoding="utf-8",
    )
    words = ({"tokens": [f"w{i}", "EU"], "tags": ["O", "B-ORG"]} for i in range(20))
    write_jsonl(tmp_path / "names.jsonl", words)
    assert main([str(recipe), "--kind", "text", "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert {name: part["card"]["kind"] for name, part in parts.items()} == {
        "intent": "classify", "names": "tag", "": "text",
    }  # fmt: skip


def test_a_misspelt_key_of_a_file_of_data_keys_alone(tmp_path, capsys):
    path = tmp_path / "data.toml"
    path.write_text('kind = "text"\ntrian = "t.csv"\n[columns]\nlable = "x"\n', encoding="utf-8")
    assert main([str(path)]) == 2
    message = capsys.readouterr().err
    assert "unknown key data.trian. Did you mean 'train'?" in message
    assert "unknown key data.columns.lable. Did you mean 'label'?" in message


def test_it_runs_as_a_module_without_torch(recipe):
    code = (
        "import sys, runpy; sys.argv = ['data', sys.argv[1], '--json']\n"
        "try:\n runpy.run_module('training.data', run_name='__main__')\n"
        "except SystemExit as end:\n assert end.code == 0, end.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(recipe)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["card"]["kind"] == "classify"
