"""Texts without labels join when the model is sure, in balance, and never from held-out rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import tiny_base as tiny

from assistant.errors import InvalidInputError
from assistant.models.heads import HeadSpec
from training import pseudo
from training import run as running
from training.job import Job, Trained
from training.recipe import Recipe
from training.reporting import Silent


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path, **changes: object) -> Recipe:
    table = tiny.intent_csv(folder / "rows.csv").read_text(encoding="utf-8").splitlines()
    more = tiny.intent_csv(folder / "more.csv", copies=30, seed=9).read_text(encoding="utf-8")
    texts = [line.rpartition(",")[0] for line in more.splitlines()[1:]]
    # One labelled text stands among the others, whatever split it is in.
    (folder / "texts.txt").write_text(
        "\n".join([*texts, table[1].rpartition(",")[0]]), encoding="utf-8"
    )
    common = {"root": str(folder), "dedupe": {"near": False}, "leaks": {"near": False}}
    data = {
        **common,
        "train": "rows.csv",
        "columns": {"label": "intent"},
        "split": {"valid": 0.3, "test": 0.2},
        "per_label": 4,
        "licence": "CC0-1.0",
    }
    about = {"task": "classifier", "kind": "intent", "name": "semi", "seed": 5}
    section = {"texts": {**common, "train": "texts.txt", "format": "lines"}, "confidence": 0.6}
    train = {"epochs": 25}
    values = {"recipe": about, "data": data, "pseudo": section, "train": train}
    return tiny.recipe(base, **{**values, **changes})


def test_rounds_are_counted_and_judged_on_validation_rows(base: Path, tmp_path: Path) -> None:
    outcome = running.run(recipe(base, tmp_path), tiny.settings(tmp_path), Silent())
    notes = " | ".join(outcome.passport.notes)
    assert "texts without labels" in notes
    assert "labelled rows alone:" in notes
    assert "round 1:" in notes
    assert "on valid" in notes
    assert (outcome.folder / "round-0" / "log.jsonl").is_file()
    assert outcome.passport.data.rows["train"] <= 12


def test_held_out_and_known_texts_are_left_out(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path)
    job = running.make_job(wanted, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    held = {row.text for part in (job.data.valid, job.data.test, job.data.train) for row in part}  # type: ignore[union-attr]
    texts = (tmp_path / "texts.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "texts.txt").write_text("\n".join([*texts, *sorted(held)]), encoding="utf-8")
    found, dropped = pseudo.unlabelled(job)
    assert dropped >= len(held)
    assert not held & {row.text for row in found}
    assert len(found) >= 80


def test_the_test_rows_are_never_looked_at(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path)
    job = running.make_job(wanted, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    from training.tasks import classifier

    seen: list[str] = []

    def train_once(own: Job, head: HeadSpec) -> Trained:
        seen.extend(row.text for row in classifier.labelled(own.data.train))
        return classifier.train_once(own, head)

    pseudo.train(job, classifier.make_head(job), train_once, classifier.valid_score)
    tests = {row.text for row in classifier.labelled(job.data.test)}
    assert tests
    assert not tests & set(seen)
    assert len(seen) > 2 * len(job.data.train), "texts joined in the second round"


def test_it_needs_validation_rows(base: Path, tmp_path: Path) -> None:
    wanted = recipe(base, tmp_path)
    job = running.make_job(wanted, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    job = replace(job, data=replace(job.data, valid=()))
    from training.tasks import classifier

    with pytest.raises(InvalidInputError, match="needs validation rows"):
        pseudo.train(job, classifier.make_head(job), classifier.train_once, classifier.valid_score)


def test_frequent_labels_do_not_take_over() -> None:
    sure = [pseudo.Sure(f"a{i}", ("a",), 0.90 + i / 1000) for i in range(50)]
    sure += [pseudo.Sure(f"b{i}", ("b",), 0.95) for i in range(6)]
    sure += [pseudo.Sure("c0", ("c",), 0.99)]
    kept = pseudo.chosen(sure)
    counts = {label: sum(one.labels == (label,) for one in kept) for label in "abc"}
    assert counts == {"a": 6, "b": 6, "c": 1}
    assert {one.text for one in kept if one.labels == ("a",)} == {f"a{i}" for i in range(44, 50)}
    assert pseudo.chosen([]) == []
    assert len(pseudo.chosen(sure, balanced=False)) == 57


def test_a_multi_label_head_must_be_sure_of_every_label() -> None:
    head = HeadSpec("label", "sequence", ("a", "b"), "sigmoid")
    sure = pseudo.sure_of("t", {"a": 0.97, "b": 0.02}, head, 0.9)
    assert sure is not None
    assert (sure.labels, round(sure.confidence, 2)) == (("a",), 0.97)
    assert pseudo.sure_of("t", {"a": 0.97, "b": 0.3}, head, 0.9) is None
    none_holds = pseudo.sure_of("t", {"a": 0.01, "b": 0.01}, head, 0.9)
    assert none_holds is not None
    assert none_holds.labels == ()


def test_a_text_below_the_bar_is_left_out() -> None:
    head = HeadSpec("label", "sequence", ("a", "b"))
    assert pseudo.sure_of("t", {"a": 0.89, "b": 0.11}, head, 0.9) is None
    assert pseudo.sure_of("t", {"a": 0.91, "b": 0.09}, head, 0.9) == pseudo.Sure("t", ("a",), 0.91)


@pytest.mark.parametrize(
    ("task", "section", "value"),
    [
        ("encoder", "pseudo", {"texts": {"train": "texts.txt"}}),
        ("tagger", "continual", {"distil": 0.5}),
        ("generator", "search", {"trials": 2}),
    ],
)
def test_a_section_that_a_task_cannot_use_is_refused(
    base: Path, tmp_path: Path, task: str, section: str, value: dict[str, object]
) -> None:
    wanted = tiny.recipe(base, task, data={"train": "rows.csv"}, **{section: value})
    with pytest.raises(InvalidInputError, match=rf"\[{section}\] section, which {task} cannot"):
        running.run(wanted, tiny.settings(tmp_path), Silent())
