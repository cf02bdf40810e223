"""An update learns new labels and keeps the old ones; what it replays never leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny

from assistant.errors import InvalidInputError
from assistant.models.build.tuned import read_tuned
from assistant.models.passport import DataNote
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings
from training import continual
from training import run as running
from training.base import load_base
from training.data.rows import LabelledText
from training.data.spec import DataSpec
from training.extra_rows import without_leaks
from training.fitting import outputs
from training.modeling import TunedModel
from training.passports import data_note
from training.recipe import Recipe, with_changes
from training.reporting import Silent
from training.sections import Base

NEW = {
    "pay": ("how to pay", "can I pay money", "where do I pay"),
    "close": ("close my account", "please close the account", "how do I close"),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def new_csv(path: Path, copies: int = 30) -> Path:
    random = np.random.default_rng(3)
    lines = ["text,intent"]
    for label, texts in NEW.items():
        for n in range(copies):
            words = " ".join(random.choice(tiny.WORDS, 3))
            lines.append(f"{texts[n % len(texts)]} {words} {n},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def table(folder: Path, name: str) -> dict[str, object]:
    return {
        "root": str(folder),
        "train": name,
        "columns": {"label": "intent"},
        "split": {"valid": 0.2, "test": 0.2},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
    }


@pytest.fixture(scope="module")
def first(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path, str]:
    """Settings, the folder of the rows, and the reference of a version that knows old labels."""
    folder = tmp_path_factory.mktemp("first")
    tiny.intent_csv(folder / "old.csv")
    new_csv(folder / "new.csv")
    settings = tiny.settings(folder)
    about = {"task": "classifier", "kind": "intent", "name": "desk", "seed": 5}
    outcome = running.run(
        tiny.recipe(base, recipe=about, data=table(folder, "old.csv"), train={"epochs": 6}),
        settings,
        Silent(),
    )
    assert outcome.passport.metrics["test"]["accuracy"].value > 0.8
    return settings, folder, outcome.version.ref


def update(base: Path, first: tuple[Settings, Path, str], **section: object) -> Recipe:
    _, folder, parent = first
    about = {"task": "classifier", "kind": "intent", "name": "desk", "seed": 5}
    replay = {"replay_data": table(folder, "old.csv"), **section}
    recipe = tiny.recipe(
        base,
        recipe=about,
        data=table(folder, "new.csv"),
        continual=replay,
        gate={"beat_current": False},
        export={"max_loss": 1.0},
        train={"epochs": 15},
    )
    return with_changes(recipe, {"base.model": f"registry:{parent}"})


def test_replay_and_the_old_models_answers_keep_what_was_known(
    base: Path, first: tuple[Settings, Path, str]
) -> None:
    settings = first[0]
    without = running.run(update(base, first), settings, Silent()).passport
    kept = running.run(update(base, first, replay=0.5, distil=0.3), settings, Silent())
    forgotten = without.metrics["old_test"]["accuracy"].value
    remembered = kept.passport.metrics["old_test"]["accuracy"].value
    assert forgotten < 0.5, "trained on new rows alone, it should forget"
    assert remembered > forgotten + 0.4
    assert kept.passport.metrics["test"]["accuracy"].value > 0.6
    tuned = read_tuned(kept.version.folder / "tuned.safetensors")
    assert tuned.heads[0].labels == ("fee", "loan", "lost", "close", "pay")
    assert any("replayed" in note for note in kept.passport.notes)
    assert kept.passport.parent.endswith(first[2])
    assert len(ModelStore.of(settings).versions("intent", "desk")) == 3


def test_heads_may_be_left_behind(first: tuple[Settings, Path, str]) -> None:
    settings, _, parent = first
    whole = load_base(Base(model=f"registry:{parent}"), settings)
    bare = load_base(Base(model=f"registry:{parent}", heads=False), settings)
    assert whole.parent is not None and bare.parent is not None
    assert [head.name for head in whole.parent.heads] == ["label"]
    assert bare.parent.heads == ()
    heads = {name for name in whole.weights.tensors if name.startswith("head.")}
    assert heads and set(bare.weights.tensors) == set(whole.weights.tensors) - heads
    for name, tensor in bare.weights.tensors.items():
        np.testing.assert_array_equal(tensor, whole.weights.tensors[name])


def test_a_passport_names_the_terms_of_what_the_parent_learnt_from(
    base: Path, first: tuple[Settings, Path, str], tmp_path: Path
) -> None:
    settings, _, _ = first
    job = running.make_job(update(base, first), settings, Silent(), tmp_path)
    (version,) = ModelStore.of(settings).versions("intent", "desk")[:1]
    passport = replace(version.passport(), data=DataNote("0" * 64, ("terms of the old rows",)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Version, "passport", lambda _: passport)
        assert "terms of the old rows" in data_note(job).licences


def test_the_teacher_is_the_old_model_itself(
    base: Path, first: tuple[Settings, Path, str], tmp_path: Path
) -> None:
    settings, _, parent = first
    opened = load_base(Base(model=f"registry:{parent}"), settings)
    job = running.make_job(update(base, first, distil=0.5), settings, Silent(), tmp_path)
    items = opened.model_tokenizer(48).texts(["my card is lost", "what is the loan rate"])
    found = continual.answers(job, items)
    assert found is not None
    assert opened.parent is not None
    model = TunedModel(opened.weights, opened.parent.heads, dropout=0.0)
    own = outputs(model, items, opened.weights.vocabulary.pad)
    np.testing.assert_allclose(found, np.stack([o["label"][0] for o in own]), atol=1e-4)


@pytest.mark.parametrize(
    ("section", "model", "said"),
    [
        ({"distil": 0.5}, "tiny", "continual updates a trained version"),
        ({"replay": 0.5}, "parent", "replay_data names no rows"),
    ],
)
def test_sections_that_cannot_work_are_refused(
    base: Path,
    first: tuple[Settings, Path, str],
    section: dict[str, object],
    model: str,
    said: str,
) -> None:
    recipe = tiny.recipe(base, data=table(first[1], "new.csv"), continual=section)
    if model == "parent":
        recipe = with_changes(recipe, {"base.model": f"registry:{first[2]}"})
    with pytest.raises(InvalidInputError, match=said):
        running.run(recipe, first[0], Silent())


def test_a_share_of_old_rows() -> None:
    assert continual.wanted(0.5, 100) == 100
    assert continual.wanted(0.2, 100) == 25
    assert continual.wanted(0.0, 100) == 0
    assert continual.wanted(1.0, 100) > 10**6


def test_old_rows_are_drawn_label_by_label() -> None:
    rows = [LabelledText(f"t{i}", ("rare",) if i % 20 == 0 else ("often",)) for i in range(100)]
    drawn = continual.balanced_choice(rows, 12, seed=1)
    assert sum(row.labels == ("rare",) for row in drawn) == 5
    assert len({row.text for row in drawn}) == 12
    assert drawn == continual.balanced_choice(rows, 12, seed=1)
    assert len(continual.balanced_choice(rows, 500, seed=1)) == 100


def test_held_out_rows_are_not_learned_from() -> None:
    rows = [
        LabelledText("Where is my card?", ("a",), group="7"),
        LabelledText("where is my card", ("a",)),
        LabelledText("What does the transfer to London cost me today please?", ("b",)),
        LabelledText("Something else altogether", ("b",), group="7"),
    ]
    held = [
        LabelledText("Where is my card?", ("a",), group="7"),
        LabelledText("What does the transfer to London cost me today, please", ("b",)),
    ]
    spec = DataSpec(train=("rows.csv",))
    kept, dropped = without_leaks(rows, {"valid": [], "test": held}, spec)
    assert [row.text for row in kept] == ["Something else altogether"]
    assert dropped == 3
