"""What comes with the product is built once, served at once, and gives way to the company's own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import tuned_models as made
from versions_support import passport

from assistant.errors import ModelError, NotFoundError
from assistant.models import choosing, loading, shipped
from assistant.models.build.bases import open_base
from assistant.models.build.tuned import TUNED_FILE, read_tuned
from assistant.models.build.tuned_build import build_tuned
from assistant.models.heads import HeadSpec
from assistant.models.passport import PASSPORT_FILE
from assistant.models.shipped import ShippedModel, install, shipped_models
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings
from training.export import save_tuned

INTENT = HeadSpec("label", "sequence", ("lost", "fee", "loan"))


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Settings with a data folder and a cache of this test's own."""
    return Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", device="cpu")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source that ships ``intent/banking77`` and ``intent/other``."""
    root = tmp_path / "shipped"
    monkeypatch.setattr(shipped, "SHIPPED", root)
    ship(tmp_path, "banking77")
    ship(tmp_path, "other", seed=1)
    return root


def ship(tmp_path: Path, name: str, seed: int = 0) -> ShippedModel:
    """Write a shipped model of random heads on a tiny base."""
    base = tmp_path / "base"
    if not base.is_dir():
        tiny.hugging_face_folder(base, tiny.weights())
    opened = open_base(str(base))
    weights = made.tuned(INTENT, seed=seed, task="intent", name=name, licence="MIT")
    weights = replace(weights, base=str(base), base_sha256=opened.sha256)
    folder = tmp_path / "shipped" / "intent" / name
    folder.mkdir(parents=True, exist_ok=True)
    save_tuned(weights, folder / TUNED_FILE, compact=True)
    text = passport("intent", name, shipped=True).to_json()
    (folder / PASSPORT_FILE).write_text(text, encoding="utf-8")
    return ShippedModel("intent", name, folder)


def companys(store: ModelStore, folder: Path, name: str) -> Version:
    """Add a model of the company's own."""
    made.built(folder / "int8", INTENT, precision="int8", task="intent")
    return store.add(folder, task="intent", name=name, passport=passport("intent", name))


def test_answers_may_use_another_shipped_model(
    own: Settings, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "ANSWERING", {"intent": "other"})
    store = ModelStore.of(own)
    install(own, shipped_models(root=source))
    assert choosing.serving_version(store, "intent").name == "banking77"
    assert choosing.answering_version(store, "intent").name == "other"
    monkeypatch.setattr(choosing, "ANSWERING", {"intent": "not-shipped"})
    assert choosing.answering_version(store, "intent").name == "banking77"
    store.promote(companys(store, tmp_path / "mine", "mine"))
    monkeypatch.setattr(choosing, "ANSWERING", {"intent": "other"})
    assert choosing.answering_version(store, "intent").name == "mine"


def test_a_fresh_data_folder_serves_what_is_shipped(own: Settings, source: Path) -> None:
    with closing(loading.open_classifier(own, "intent")) as served:
        assert served.ref == "intent/banking77@v1"
        assert served.classify(["my card"])[0].label in INTENT.labels
    with closing(loading.open_classifier(own, "intent", "other")) as served:
        assert served.ref == "intent/other@v1"
    assert all(m.shipped for m in ModelStore.of(own).versions("intent", "banking77"))
    with pytest.raises(ModelError, match="assistant train"):
        loading.open_classifier(own, "sentiment")


def test_it_is_built_and_added_once(own: Settings, source: Path) -> None:
    said: list[str] = []
    assert [v.ref for v in install(own, shipped_models(), said.append)] == [
        "intent/banking77@v1",
        "intent/other@v1",
    ]
    assert said[0] == "building intent/banking77"
    assert not install(own, shipped_models(), said.append)
    said.clear()
    another = Settings(data_dir=own.data_dir.parent / "two", cache_dir=own.cache_dir)
    assert len(install(another, shipped_models(), said.append)) == 2
    assert not [line for line in said if line.startswith("building")]
    assert not ModelStore.of(own).verify()


def test_a_damaged_build_in_the_cache_is_made_anew(own: Settings, source: Path) -> None:
    install(own, shipped_models())
    graph = next((own.models_dir / "shipped").glob("intent/banking77-*/int8/model.onnx"))
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    said: list[str] = []
    another = Settings(data_dir=own.data_dir.parent / "two", cache_dir=own.cache_dir)
    install(another, shipped_models(), said.append)
    assert "building intent/banking77" in said
    assert "building intent/other" not in said


def test_a_model_of_the_companys_own_goes_before(
    own: Settings, source: Path, tmp_path: Path
) -> None:
    install(own, shipped_models())
    store = ModelStore.of(own)
    added = companys(store, tmp_path / "new", "tickets")
    assert store.choose("intent", None) == "banking77"
    store.promote(added)
    assert store.choose("intent", None) == "tickets"
    assert store.choose("intent", "other") == "other"


def test_a_newer_release_replaces_the_older_but_not_the_companys(
    own: Settings, source: Path, tmp_path: Path
) -> None:
    install(own, shipped_models())
    store = ModelStore.of(own)
    store.promote(companys(store, tmp_path / "new", "other"))
    for name in ("banking77", "other"):
        ship(tmp_path, name, seed=7)
    assert [v.ref for v in install(own, shipped_models())] == [
        "intent/banking77@v2",
        "intent/other@v3",
    ]
    assert store.current("intent", "banking77").number == 2
    assert store.current("intent", "other").number == 2
    store.rollback("intent", "banking77")
    assert store.current("intent", "banking77").number == 1
    assert not install(own, shipped_models())


def test_several_without_a_default_must_be_named(
    own: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(own, shipped_models())
    monkeypatch.setattr("assistant.models.store.DEFAULT_NAMES", {})
    with pytest.raises(NotFoundError, match="banking77, other"):
        ModelStore.of(own).choose("intent", None)


def test_the_int8_graph_is_built_again_equal_without_the_texts(tmp_path: Path) -> None:
    """The outlier factors travel with the weights, so that shipped is what was measured."""
    from assistant.models.build.tuned_build import with_scales

    base = made.base()
    weights = with_scales(made.tuned(INTENT), base, ["block my card", "the fee"])
    assert weights.scales
    save_tuned(weights, tmp_path / TUNED_FILE)
    back = read_tuned(tmp_path / TUNED_FILE)
    assert set(back.tensors) == set(weights.tensors)
    for name, value in weights.scales.items():
        np.testing.assert_array_equal(back.scales[name], value)
    build_tuned(weights, base, tmp_path / "a", sample=["block my card", "the fee"])
    build_tuned(back, base, tmp_path / "b")
    assert (tmp_path / "a/model.onnx").read_bytes() == (tmp_path / "b/model.onnx").read_bytes()
