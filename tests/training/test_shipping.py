"""A recipe becomes a small file in the source that set-up turns into a served model."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny

from assistant.errors import InvalidInputError
from assistant.models import loading
from assistant.models.build.tuned import TUNED_FILE, TunedWeights, apply, keep_layers, read_tuned
from assistant.models.passport import PASSPORT_FILE, passport_from_json
from assistant.models.shipped import install, shipped_models
from training import shipping
from training.recipe import Recipe
from training.reporting import Silent
from training.run import run
from training.shrinking import blended, factors, shrunk


def recipe(folder: Path, **changes: object) -> Recipe:
    base = tiny.base_folder(folder / "base")
    return tiny.intent_recipe(base, folder, "banking77", **changes)


def test_what_is_shipped_is_what_was_measured(tmp_path: Path) -> None:
    settings, into = tiny.settings(tmp_path), tmp_path / "shipped"
    folder = shipping.ship(recipe(tmp_path), settings, Silent(), into, rank=8)
    assert folder == into / "intent" / "banking77"
    passport = passport_from_json((folder / PASSPORT_FILE).read_text(encoding="utf-8"))
    assert passport.shipped and passport.gate.passed
    assert str(tmp_path) not in str(passport.recipe["data"])
    assert "banking77" in (folder / "card.md").read_text(encoding="utf-8")
    stored = read_tuned(folder / TUNED_FILE)
    bias = stored.tensors["l0.q.b"]
    np.testing.assert_array_equal(bias, bias.astype(np.float16).astype(np.float32))
    row = stored.tensors["l0.q.lora_a"][0]
    assert len(np.unique(np.rint(row / np.abs(row).max() * 127))) == len(np.unique(row))
    assert stored.scales
    assert stored.tensors["l0.q.lora_a"].shape == (8, tiny.SHAPE.hidden)
    assert "l0.q.w" not in stored.tensors and "l0.q.b" in stored.tensors
    other = tiny.settings(tmp_path / "elsewhere")
    (version,) = install(other, shipped_models(root=into))
    rows = list(tiny.INTENTS)
    with closing(loading.open_classifier(other, "intent")) as served:
        assert served.ref == version.ref
        given = [p.label for p in served.classify([tiny.INTENTS[label][0] for label in rows])]
    assert given == rows
    assert passport.metrics["test"]["accuracy"].value > 0.8


def test_what_fails_its_gate_or_is_too_large_is_not_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, into = tiny.settings(tmp_path), tmp_path / "shipped"
    with pytest.raises(InvalidInputError, match="not shipped"):
        shipping.ship(recipe(tmp_path, gate={"at_least": 1.01}), settings, Silent(), into)
    shipping.ship(recipe(tmp_path, gate={"at_least": 0.1}), settings, Silent(), into, number=1)
    assert (into / "intent" / "banking77" / TUNED_FILE).is_file()
    shutil.rmtree(into)
    monkeypatch.setattr(shipping, "MAX_MEGABYTES", 1e-6)
    with pytest.raises(InvalidInputError, match="smaller rank"):
        shipping.ship(recipe(tmp_path), settings, Silent(), into)
    assert not list(into.glob("*/*"))


def test_factors_are_the_nearest_matrix_of_their_rank() -> None:
    random = np.random.default_rng(0)
    change = (random.normal(size=(30, 5)) @ random.normal(size=(5, 40))).astype(np.float32)
    a, b = factors(change, 5)
    np.testing.assert_allclose(b @ a, change, atol=1e-4)
    a, b = factors(change, 2)
    assert (a.shape, b.shape) == ((2, 40), (30, 2))
    singular = np.linalg.svd(change, compute_uv=False)
    error = float(np.sqrt((singular[2:] ** 2).sum()))
    assert float(np.linalg.norm(b @ a - change)) == pytest.approx(error, rel=1e-4)


def test_a_shrunk_student_keeps_its_layers() -> None:
    base = tiny.weights()
    changed = keep_layers(base, (1,)).tensors["l0.fi.w"] + np.float32(0.25)
    tuned = TunedWeights(
        "s", "intent", "b", "0" * 64, 48, "", "", "MIT", (), {"l0.fi.w": changed}, (1,)
    )
    small = shrunk(tuned, base, 1)
    assert sorted(small.tensors) == ["l0.fi.lora_a", "l0.fi.lora_b"]
    merged = apply(small, base, "0" * 64).tensors["l0.fi.w"]
    np.testing.assert_allclose(merged, changed, atol=1e-5)
    # Factors that would take more room than the matrix are not made.
    assert shrunk(tuned, base, 64).tensors.keys() == tuned.tensors.keys()


def test_a_blend_lies_between_the_base_and_what_was_tuned() -> None:
    base = tiny.weights(3)
    random = np.random.default_rng(1)
    name = "l0.q.w"
    change = random.normal(size=base.tensors[name].shape).astype(np.float32)
    head = random.normal(size=(2, 32)).astype(np.float32)
    factor = random.normal(size=(32, 4)).astype(np.float32)
    tensors = {name: base.tensors[name] + change, "head.x.out.w": head, "l1.q.lora_b": factor}
    tuned = TunedWeights("t", "intent", "b", "0" * 64, 48, "", "", "MIT", (), tensors)
    half = blended(tuned, base, 0.5)
    np.testing.assert_allclose(half.tensors[name], base.tensors[name] + change / 2, atol=1e-6)
    np.testing.assert_array_equal(half.tensors["head.x.out.w"], head)
    np.testing.assert_allclose(half.tensors["l1.q.lora_b"], factor / 2, atol=1e-6)
    assert blended(tuned, base, 1) is tuned


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_blend_that_is_no_share_is_refused(tmp_path: Path, share: float) -> None:
    with pytest.raises(InvalidInputError, match="--blend is"):
        shipping.ship(None, None, Silent(), tmp_path, blend=share)  # type: ignore[arg-type]


def test_a_blend_of_what_went_on_lies_between_it_and_the_version_before(tmp_path: Path) -> None:
    settings, into = tiny.settings(tmp_path), tmp_path / "shipped"
    first = recipe(tmp_path)
    before = run(first, settings, Silent()).version
    base = first.base.model_copy(update={"model": f"registry:{before.ref}"})
    more = first.model_copy(
        update={"base": base, "train": first.train.model_copy(update={"epochs": 1})}
    )
    after = run(more, settings, Silent()).version
    folder = shipping.ship(more, settings, Silent(), into, blend=0.5, rank=8)
    blend, ends = read_tuned(folder / TUNED_FILE), [before, after]
    own, other = (read_tuned(version.folder / TUNED_FILE).tensors for version in ends)
    for name in ("l0.q.b", "head.label.out.b"):
        assert np.abs(own[name] - other[name]).max() > 1e-5
        np.testing.assert_allclose(blend.tensors[name], (own[name] + other[name]) / 2, atol=1e-3)
    assert not np.allclose(other["l0.q.b"], blend.tensors["l0.q.b"], atol=1e-5)
