"""A trained encoder takes the base build's place, and never before its vectors can."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models as tiny
import versions_support as support

from assistant.errors import InvalidInputError, ModelError, NotFoundError
from assistant.models.build import build_encoder
from assistant.models.encoder import vectors_fingerprint
from assistant.models.encoders import (
    mark_applied,
    pending_encoder,
    service_running,
    services_running,
)
from assistant.models.loading import load_encoder
from assistant.models.manifest import read_manifest
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the base build ``tiny``, and two other encoders."""
    root = tmp_path_factory.mktemp("made")
    source = tiny.hugging_face_folder(root / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=root / "cache", encoder="tiny"), source=str(source))
    for seed in (1, 2):
        support.finished(root / f"run{seed}", seed)
    return root


@pytest.fixture
def settings(made: Path, tmp_path: Path) -> Settings:
    return Settings(cache_dir=made / "cache", data_dir=tmp_path / "data", encoder="tiny")


@pytest.fixture
def versions(settings: Settings, made: Path) -> tuple[Version, Version]:
    store = ModelStore.of(settings)
    one, two = (
        store.add(
            made / f"run{seed}",
            task="encoder",
            name="tiny",
            passport=support.passport("encoder", "tiny"),
        )
        for seed in (1, 2)
    )
    return one, two


def served(settings: Settings) -> str:
    encoder = load_encoder(settings)
    encoder.close()
    return encoder.fingerprint


def apply_encoder(settings: Settings) -> bool:
    """Put the promoted encoder in force, as if all documents had been encoded with it."""
    pending = pending_encoder(settings)
    if pending is not None:
        mark_applied(settings, pending[1])
    return pending is not None


def of(version: Version) -> str:
    return vectors_fingerprint(read_manifest(version.part("int8")))


def test_an_encoder_serves_once_it_is_promoted_and_applied(
    settings: Settings, versions: tuple[Version, Version]
) -> None:
    store, (one, two) = ModelStore.of(settings), versions
    base = served(settings)
    assert len({base, of(one), of(two)}) == 3
    assert not apply_encoder(settings)
    store.promote(one)
    assert served(settings) == base, "stored vectors are still the base build's"
    assert pending_encoder(settings) == (None, one)
    assert apply_encoder(settings)
    assert served(settings) == of(one)
    store.promote(two)
    assert served(settings) == of(one)
    assert pending_encoder(settings) == (one, two)
    assert apply_encoder(settings)
    assert served(settings) == of(two)
    assert not apply_encoder(settings)
    assert store.rollback("encoder", "tiny") == one
    assert store.rollback("encoder", "tiny") is None
    assert apply_encoder(settings)
    assert served(settings) == base


def test_the_setting_may_name_a_version(
    settings: Settings, versions: tuple[Version, Version]
) -> None:
    one, two = versions

    def named(text: str) -> str:
        return served(settings.model_copy(update={"encoder": text}))

    assert named("registry:encoder/tiny@v2") == of(two)
    with pytest.raises(ModelError, match="No version of encoder/tiny is promoted"):
        named("registry:encoder/tiny")
    ModelStore.of(settings).promote(one)
    assert named("registry:encoder/tiny") == of(one)
    for text, error in (
        ("registry:encoder/tiny@v9", NotFoundError),
        ("registry:encoder/tiny@2", InvalidInputError),
        ("registry:intent/tiny", ModelError),
        ("registry:tiny", InvalidInputError),
        ("registry:encoder/../x", InvalidInputError),
    ):
        with pytest.raises(error):
            named(text)


def test_an_encoder_damaged_since_says_what_to_do(
    settings: Settings, versions: tuple[Version, Version]
) -> None:
    ModelStore.of(settings).promote(versions[0])
    apply_encoder(settings)
    model = versions[0].folder / "int8" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(ModelError, match="Roll back or promote another"):
        load_encoder(settings)


def test_the_version_whose_vectors_are_stored_is_kept(
    settings: Settings, versions: tuple[Version, Version]
) -> None:
    store, (one, two) = ModelStore.of(settings), versions
    store.promote(one)
    apply_encoder(settings)
    store.promote(two)
    with pytest.raises(InvalidInputError, match="made the stored vectors"):
        store.delete(one)
    apply_encoder(settings)
    store.delete(one)
    assert store.versions("encoder", "tiny") == [two]
    with pytest.raises(InvalidInputError, match="in use"):
        store.delete(two)


def test_a_service_counts_while_it_runs(settings: Settings) -> None:
    with service_running(settings):
        assert services_running(settings) == 1
        with service_running(settings):
            assert services_running(settings) == 2
    assert services_running(settings) == 0


def test_a_service_that_was_killed_does_not_count(settings: Settings) -> None:
    script = (
        "import os, sys; from pathlib import Path; from assistant.settings import Settings\n"
        "from assistant.models.encoders import service_running\n"
        "with service_running(Settings(data_dir=Path(sys.argv[1]))): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, settings.data_dir], check=False)
    assert done.returncode == 9
    assert len(list((settings.data_dir / "models" / ".services").iterdir())) == 1
    assert services_running(settings) == 0
    assert list((settings.data_dir / "models" / ".services").iterdir()) == []


def test_a_damaged_note_of_what_is_applied_is_a_model_error(
    settings: Settings, versions: tuple[Version, Version]
) -> None:
    path = versions[0].folder.parent / "applied.json"
    for text in ("{", "[]", '{"version": "1"}', '{"version": 0}'):
        path.write_text(text)
        with pytest.raises(ModelError, match=r"applied.json is damaged.*delete it"):
            load_encoder(settings)


def test_folders_and_names_the_registry_cannot_have_are_as_before(
    settings: Settings, made: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(made / "run1" / "int8", tmp_path / "Direct")
    direct = settings.model_copy(update={"encoder": str(folder)})
    assert served(direct) == vectors_fingerprint(read_manifest(folder))
    assert pending_encoder(direct) is None
    with pytest.raises(ModelError, match="is not built"):
        load_encoder(settings.model_copy(update={"encoder": "../tiny"}))
