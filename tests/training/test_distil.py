"""A student of fewer layers learns from its teacher, and is saved relative to the first base."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import torch
from test_encoder_task import WORDS, pair_recipe, pairs_file

from assistant.errors import InvalidInputError
from assistant.models.build.graph import build_graph
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.tuned import apply, keep_layers, read_tuned
from assistant.models.build.weights import EncoderShape
from assistant.models.loading import open_classifier, open_reranker
from assistant.models.session import CpuBackend
from assistant.models.tokens import ModelTokenizer
from tests.models.tiny_models import hugging_face_folder
from training.base import load_base
from training.distilling import (
    even_layers,
    load_teacher,
    pair_student,
    soft_targets,
    state_distance,
    student_base,
    student_job,
)
from training.modeling import outputs
from training.recipe import Recipe, with_changes
from training.reporting import Silent
from training.run import make_job, run
from training.sections import Base
from training.tasks import encoder

FOUR = EncoderShape(hidden=32, layers=4, heads=4, ff=64, max_positions=96, epsilon=1e-12)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face_folder(tmp_path_factory.mktemp("base"), tiny.weights(0, FOUR))


@pytest.mark.parametrize(
    ("count", "wanted", "kept"),
    [(12, 6, (1, 3, 5, 7, 9, 11)), (12, 4, (2, 5, 8, 11)), (12, 1, (11,)), (4, 3, (0, 2, 3))],
)
def test_layers_are_spread_and_end_with_the_last(
    count: int, wanted: int, kept: tuple[int, ...]
) -> None:
    assert even_layers(count, wanted) == kept


def test_a_student_must_be_smaller() -> None:
    with pytest.raises(InvalidInputError, match=r"distil.layers is 4; the teacher has 4"):
        even_layers(4, 4)


# --- encoder ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_encoder_student_comes_near_its_teacher_without_labels(
    base: Path, tmp_path: Path
) -> None:
    settings = tiny.settings(tmp_path)
    recipe = pair_recipe(
        base,
        pairs_file(tmp_path, 120),
        distil={"teacher": str(base), "layers": 2, "alpha": 1.0},
        contrast={"hard_negatives": 0, "temperature": 0.1},
        train={"epochs": 12, "learning_rate": 3e-3},
    )
    job = make_job(recipe, settings, Silent(), tmp_path / "run")
    assert job.base.weights.shape.layers == 2
    teacher = load_teacher(job)
    texts = [f"how {a} the {b}" for a, b in zip(WORDS, WORDS[::-1], strict=True)]

    def near(tuned: Any) -> float:
        student = apply(tuned, job.base.original.weights, job.base.original.sha256)
        a, b = pooled(student, texts), pooled(teacher.weights, texts)
        return float((a * b).sum(1).mean())

    assert job.base.parent is not None
    before = near(job.base.parent)
    done = encoder.train(job)
    assert done.tuned.layers == (1, 3)
    assert done.tuned.base_sha256 == job.base.original.sha256
    after = near(done.tuned)
    assert after > before + 0.2 * (1 - before)


def pooled(weights: Any, texts: list[str]) -> Any:
    ready = ModelTokenizer(build_tokenizer(weights.vocabulary), 48, "query: ", "passage: ")
    backend = CpuBackend(build_graph(weights, "fp32", padded=False).SerializeToString(), 1)
    found = np.concatenate(backend.pooled([item.tokens for item in ready.texts(texts)]))
    backend.close()
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.slow
def test_a_tuned_teacher_becomes_a_registered_student(base: Path, tmp_path: Path) -> None:
    settings, path = tiny.settings(tmp_path), pairs_file(tmp_path, 100)
    teacher = pair_recipe(base, path, train={"epochs": 6}, tuning={"method": "lora", "rank": 4})
    first = run(teacher, settings, Silent(), promote=True)
    recipe = pair_recipe(
        base,
        path,
        recipe={"name": "small"},
        distil={"teacher": "registry:encoder/tiny", "layers": 2},
        train={"epochs": 4},
    )
    outcome = run(recipe, settings, Silent())
    passport, notes = (
        outcome.passport,
        dict(n.split(": ") for n in outcome.passport.notes if ": " in n),
    )
    assert passport.parent == first.version.ref
    assert float(notes["teacher_test_mrr_at_10"]) == pytest.approx(
        first.passport.metrics["test"]["mrr_at_10"].value, abs=1e-5
    )
    assert float(notes["speedup_32_tokens"]) > 1
    assert passport.size_bytes < first.passport.size_bytes
    saved = read_tuned(outcome.version.folder / "tuned.safetensors")
    assert saved.layers == (1, 3)
    # A student of a student counts its layers in the first base.
    again = load_base(Base(model="registry:encoder/small@v1"), settings)
    third = student_base(again, 1)
    assert third.parent is not None
    assert third.parent.layers == (3,)


def test_a_student_starts_as_its_teachers_layers(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    recipe = pair_recipe(
        base, pairs_file(tmp_path, 60), tuning={"method": "lora", "rank": 4}, train={"epochs": 2}
    )
    outcome = run(recipe, settings, Silent(), promote=True)
    teacher = load_base(Base(model="registry:encoder/tiny"), settings)
    student = student_base(teacher, 2)
    assert outcome.version.ref == student.reference
    assert student.parent is not None
    merged = apply(student.parent, student.original.weights, student.original.sha256)
    wanted = keep_layers(teacher.weights, (1, 3))
    assert merged.shape == wanted.shape
    assert all(np.array_equal(merged.tensors[n], v) for n, v in wanted.tensors.items())
    assert not any(name.endswith("lora_a") for name in student.parent.tensors)
    # What the teacher did not change is not saved with the student.
    assert "emb.word" not in student.parent.tensors


# --- classifier ------------------------------------------------------------------------------


def classifier_recipe(base: Path, folder: Path, **changes: Any) -> Recipe:
    data = {
        "root": str(folder),
        "train": tiny.intent_csv(folder / "rows.csv", 30).name,
        "columns": {"label": "intent"},
        "split": {"valid": 0.2, "test": 0.2},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
    }
    about = {"task": "classifier", "kind": "intent", "name": "tiny", "seed": 5}
    return tiny.recipe(base, **{"recipe": about, "data": data, **changes})


@pytest.mark.slow
def test_a_classifier_student_answers_as_its_teacher_without_right_labels(
    base: Path, tmp_path: Path
) -> None:
    settings = tiny.settings(tmp_path)
    run(classifier_recipe(base, tmp_path, train={"epochs": 8}), settings, Silent(), promote=True)
    folder = tmp_path / "wrong"
    folder.mkdir()
    distil = {"teacher": "registry:intent/tiny", "layers": 2, "alpha": 1.0}
    about = {"task": "classifier", "kind": "intent", "name": "small", "seed": 5}
    recipe = classifier_recipe(
        base, folder, recipe=about, distil=distil, train={"epochs": 12}, gate={"at_least": 0.5}
    )
    shuffle_labels(folder / "rows.csv")
    # Wrong labels would also choose the wrong checkpoint: train to the end.
    recipe = with_changes(recipe, {"data.split.valid": 0.0})
    outcome = run(recipe, settings, Silent(), promote=False)
    version = outcome.version
    assert read_tuned(version.folder / "tuned.safetensors").layers == (1, 3)
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    answers = []
    for name in ("tiny", str(version.folder)):
        model = open_classifier(settings, "intent", name)
        answers.append([p.label for p in model.classify([row["text"] for row in rows])])
        model.close()
    assert len(set(answers[0])) == 3
    # The labels it was given are noise; only the teacher can have told it.
    assert agreement(answers[1], answers[0]) > 0.9
    assert agreement(answers[1], [row["intent"] for row in rows]) < 0.6


def agreement(a: list[str], b: list[str]) -> float:
    return float(np.mean([x == y for x, y in zip(a, b, strict=True)]))


def shuffle_labels(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = np.random.default_rng(1).permutation([row["intent"] for row in rows])
    lines = [f"{row['text']},{label}" for row, label in zip(rows, labels, strict=True)]
    path.write_text("text,intent\n" + "\n".join(lines) + "\n", encoding="utf-8")


# --- reranker and texts without pairs ---------------------------------------------------------


@pytest.mark.slow
def test_a_reranker_student_scores_as_its_teacher(base: Path, tmp_path: Path) -> None:
    settings, path = tiny.settings(tmp_path), pairs_file(tmp_path, 60, labelled=True)
    about = {"task": "reranker", "name": "tiny"}
    teacher = with_changes(
        pair_recipe(base, path, recipe=about, train={"epochs": 6}), {"gate.at_least": 0.0}
    )
    run(teacher, settings, Silent(), promote=True)
    distil = {"teacher": "registry:reranker/tiny", "layers": 3, "alpha": 1.0}
    student = with_changes(
        pair_recipe(base, path, recipe={**about, "name": "small"}, train={"epochs": 25}),
        {"distil": distil, "data.split.valid": 0.0},
    )
    outcome = run(student, settings, Silent())
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    pairs = [(row["q"], row["a"]) for row in rows]
    scores = []
    for name in ("tiny", str(outcome.version.folder)):
        model = open_reranker(settings, name)
        scores.append(model.score(pairs))
        model.close()
    assert np.std(scores[0]) > 0.1
    assert np.corrcoef(scores[0], scores[1])[0, 1] > 0.8


def test_texts_without_pairs_are_enough(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    lines = [
        f"how {a} the {b} {n}" for n, (a, b) in enumerate(zip(WORDS, WORDS[::-1], strict=True))
    ]
    path.write_text("text\n" + "\n".join(lines) + "\n", encoding="utf-8")
    recipe = with_changes(
        pair_recipe(base, path, distil={"teacher": str(base), "layers": 2, "alpha": 1.0}),
        {"data.columns.text_a": "text", "data.columns.text_b": "text", "train.epochs": 2},
    )
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    done = encoder.train(job)
    losses = [line["loss"] for line in done.history if "loss" in line]
    assert len(job.data.train) > 10
    assert losses[-1] < losses[0]


def test_hard_negatives_are_mined_with_the_teacher(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path, 30), distil={"teacher": str(base), "layers": 2})
    model = pair_student(make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run"))
    assert len(model.miner.encoder.encoder.layer) == 4
    assert not any(parameter.requires_grad for parameter in model.miner.parameters())


# --- parts -----------------------------------------------------------------------------------


def test_what_cannot_be_distilled_is_refused(base: Path, tmp_path: Path) -> None:
    settings, path = tiny.settings(tmp_path), pairs_file(tmp_path, 30)
    job = make_job(pair_recipe(base, path), settings, Silent(), tmp_path / "run")
    about = job.recipe.recipe.model_copy(update={"task": "tagger"})
    distil = job.recipe.distil.model_copy(update={"teacher": str(base), "layers": 2})
    changed = job.recipe.model_copy(update={"recipe": about, "distil": distil})
    with pytest.raises(InvalidInputError, match="a tagger cannot be distilled"):
        student_job(dataclasses.replace(job, recipe=changed))
    other = hugging_face_folder(tmp_path / "other", tiny.weights(9, FOUR))
    distil = distil.model_copy(update={"teacher": str(other)})
    changed = job.recipe.model_copy(update={"distil": distil})
    with pytest.raises(InvalidInputError, match=r"set base\.model to"):
        student_job(dataclasses.replace(job, recipe=changed))


def test_the_teacher_is_not_part_of_the_student(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path, 30), distil={"teacher": str(base), "layers": 2})
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    model = pair_student(job)
    layers = {n.split(".")[3] for n, _ in model.named_parameters() if "encoder.layer" in n}
    assert layers == {"0", "1"}
    ready = job.base.model_tokenizer(48)
    ours = outputs(model, [ready.text("how to block my card")], 1)[0]["pooled"]
    merged = pooled(job.base.weights, ["how to block my card"])
    assert np.allclose(ours / np.linalg.norm(ours), merged, atol=1e-5)


def test_soft_targets_are_zero_only_at_the_teachers_distribution() -> None:
    torch.manual_seed(0)
    wanted = torch.randn(5, 4)
    assert soft_targets(wanted + 3.0, wanted, 2.0).item() == pytest.approx(0, abs=1e-6)
    given = torch.randn(5, 4)
    p, q = (torch.softmax(x.double() / 2, -1) for x in (wanted, given))
    by_hand = 4 * (p * (p.log() - q.log())).sum(-1).mean()
    assert soft_targets(given, wanted, 2.0).item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_state_distance_is_relative_and_looks_at_no_padding() -> None:
    theirs = torch.ones(1, 3, 2)
    ours = theirs * 1.5
    mask = torch.tensor([[1, 1, 0]])
    assert state_distance([ours], [theirs], mask).item() == pytest.approx(0.25)
    ours[0, 2] = 99
    assert state_distance([10 * ours], [10 * theirs], mask).item() == pytest.approx(0.25)
