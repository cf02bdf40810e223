"""docs/evaluation.md is true: its options, fields, metrics and its example."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from served_models import Evaluate, write, write_lines

from assistant.cli import cli
from assistant.commands.common import printable
from assistant.evaluation import (
    classification_report,
    entity_report,
    multilabel_report,
    pair_metrics,
    reading_report,
)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "evaluation.md").read_text(encoding="utf-8")


def options() -> Iterator[tuple[str, str]]:
    """Every option of the four commands that is not shared by all commands of the program."""
    context = click.Context(cli)
    group = cli.get_command(context, "eval")
    assert isinstance(group, click.Group)
    for name in ("classify", "pairs", "qa", "ner"):
        command = group.get_command(context, name)
        assert command is not None
        for option in command.params:
            for flag in option.opts:
                if flag not in {"--json", "--data-dir"}:
                    yield name, flag


def test_every_option_is_described_for_its_commands(page: str) -> None:
    rows = re.findall(r"^\| (`--.+?) \| ([a-z, ]+) \|", page, re.M)
    described = {
        (command, flag)
        for flags, commands in rows
        for flag in re.findall(r"--[a-z-]+", flags)
        for command in (
            ["classify", "pairs", "qa", "ner"] if commands == "all" else commands.split(", ")
        )
    }
    assert described == set(options())


def test_every_metric_is_explained(page: str) -> None:
    metrics = page.partition("## The metrics")[2]
    labels = ["a", "b", "out_of_scope"]
    table = [[0.5, 0.3, 0.2]] * 3
    two = [[0.6, 0.4]] * 2
    names = {
        *classification_report(
            labels, labels, labels=labels, probabilities=table, samples=0
        ).metrics,
        *classification_report(
            ["a", "b"], ["a", "a"], labels=["a", "b"], probabilities=two, samples=0
        ).metrics,
        *multilabel_report(
            [["a"]], [["b"]], labels=["a", "b"], probabilities=[[0.1, 0.9]], samples=0
        ).metrics,
        *pair_metrics([0, 1], [0.1, 0.9], samples=0),
        *reading_report(["x", ""], [["x"], []], samples=0).metrics,
        *entity_report([["B-A"]], [["O"]], samples=0).metrics,
    }
    averages = {f"{name}_f1" for name in ("macro", "micro", "weighted")}
    for name in names - averages:
        assert f"`{name}`" in metrics, name
    for name in averages:
        assert f"`{name.removesuffix('_f1')}`" in metrics


def test_every_field_of_a_result_is_named(page: str, evaluate: Evaluate, tmp_path: Path) -> None:
    fields = page.partition("## The result")[2].partition("## The metrics")[0]
    files = {
        "classify": write(tmp_path / "a.csv", "text,label\ncard,neutral\n"),
        "pairs": write(tmp_path / "b.csv", "text_a,text_b,label\ncard,card,1\nbank,fee,0\n"),
        "qa": write_lines(
            tmp_path / "c.jsonl", [{"question": "q", "context": "card", "answers": []}]
        ),
        "ner": write(tmp_path / "d.conll", "card O\n"),
    }
    told = set(re.findall(r"`(\w+)`", fields))
    for command, file in files.items():
        task = ["--task", "sentiment"] if command == "classify" else []
        result = evaluate(command, "--data", file, *task)
        assert set(result) - told - {"stderr"} == set(), command


def test_the_example_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.+?)```", page, re.S)
    assert code is not None
    exec(compile(code[1], "docs/evaluation.md", "exec"), {})
    out = printable(capsys.readouterr().out).splitlines()
    assert out[0].startswith("Metric(value=0.66")
    assert 0 < float(out[1]) <= 1
