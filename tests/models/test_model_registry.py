"""No model file is used that is not exactly the one that was built."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import onnx
import pytest
import tiny_models as tiny
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from assistant.errors import ModelError
from assistant.models.build import build_encoder
from assistant.models.loading import load_encoder
from assistant.models.registry import ModelRegistry, verify
from assistant.settings import Settings


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder with a tiny encoder; copy it before changing it."""
    root = tmp_path_factory.mktemp("built")
    weights = tiny.hugging_face_folder(root / "weights", tiny.weights())
    build_encoder(Settings(cache_dir=root / "cache", encoder="tiny"), source=str(weights))
    return root / "cache"


@pytest.fixture
def settings(built: Path, tmp_path: Path) -> Settings:
    shutil.copytree(built, tmp_path / "cache")
    return Settings(cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", encoder="tiny")


def folder_of(settings: Settings) -> Path:
    folder = ModelRegistry(settings.models_dir).folder("tiny")
    assert folder is not None
    return folder


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1
    path.write_bytes(data)


def test_an_untouched_model_loads(settings: Settings) -> None:
    load_encoder(settings).close()


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_one_changed_byte_is_noticed(settings: Settings, name: str, place: float) -> None:
    flip(folder_of(settings) / name, place)
    with pytest.raises(ModelError, match=rf"{name} has SHA-256.*assistant build"):
        load_encoder(settings)


BREAKS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda f: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:-100]),
    "missing": lambda f: (f / "tokenizer.json").unlink(),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "manifest not json": lambda f: (f / "manifest.json").write_text("{"),
    "manifest a list": lambda f: (f / "manifest.json").write_text("[]"),
    "manifest of a later format": lambda f: edit(f, format=999),
    "manifest without a name": lambda f: edit(f, name=None, drop="name"),
    "manifest with odd files": lambda f: edit(f, files={"model.onnx": 3}),
    "manifest without files": lambda f: edit(f, files={}),
    "manifest with impossible sizes": lambda f: edit(f, dim=-4),
}


def edit(folder: Path, drop: str = "", **change: object) -> None:
    path = folder / "manifest.json"
    data = {**json.loads(path.read_text()), **change}
    data.pop(drop, None)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("change", BREAKS)
def test_every_kind_of_damage_is_a_model_error(settings: Settings, change: str) -> None:
    BREAKS[change](folder_of(settings))
    with pytest.raises(ModelError, match=r"assistant build|lists no"):
        load_encoder(settings)


def test_a_file_outside_the_folder_is_refused(settings: Settings) -> None:
    folder = folder_of(settings)
    registry = ModelRegistry(settings.models_dir)
    stored = registry.encoder("tiny")[1]
    outside = folder.parent / "outside.txt"
    outside.write_bytes(b"x")
    edit(folder, files={**stored.files, "../outside.txt": sha256(b"x").hexdigest()})
    with pytest.raises(ModelError, match="outside its folder"):
        registry.encoder("tiny")


def test_a_link_in_place_of_a_file_is_refused(settings: Settings) -> None:
    folder = folder_of(settings)
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")
    with pytest.raises(ModelError, match="outside its folder"):
        load_encoder(settings)


def test_external_data_is_refused(settings: Settings) -> None:
    """A graph that reads /etc/passwd as a weight, with a manifest that vouches for it."""
    folder = folder_of(settings)
    tensor = numpy_helper.from_array(tiny.weights().tensors["emb.ln.w"], "w")
    external_data_helper.set_external_data(tensor, location="../../../etc/passwd")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    graph = helper.make_graph([], "g", [], [], [tensor])
    (folder / "model.onnx").write_bytes(onnx.ModelProto(graph=graph).SerializeToString())
    registry = ModelRegistry(settings.models_dir)
    stored = json.loads((folder / "manifest.json").read_text())["files"]
    digest = sha256((folder / "model.onnx").read_bytes()).hexdigest()
    edit(folder, files={**stored, "model.onnx": digest})
    with pytest.raises(ModelError, match="outside its folder, which is refused"):
        registry.encoder("tiny")


def test_a_vouched_file_that_is_no_graph_is_a_model_error(settings: Settings) -> None:
    folder = folder_of(settings)
    (folder / "model.onnx").write_bytes(b"not a graph")
    stored = json.loads((folder / "manifest.json").read_text())["files"]
    digest = sha256(b"not a graph").hexdigest()
    edit(folder, files={**stored, "model.onnx": digest}, words=None)
    with pytest.raises(ModelError, match="cannot load the model"):
        load_encoder(settings)


def test_a_folder_can_be_served_directly(settings: Settings) -> None:
    direct = settings.model_copy(update={"encoder": str(folder_of(settings))})
    encoder = load_encoder(direct)
    encoder.close()
    assert encoder.name == "tiny"


@pytest.mark.parametrize("name", ["../tiny", "absent", "/absent/folder"])
def test_what_is_not_built_is_said_to_be_so(settings: Settings, name: str) -> None:
    with pytest.raises(ModelError, match="assistant build"):
        load_encoder(settings.model_copy(update={"encoder": name}))


def test_a_damaged_pointer_is_a_model_error(settings: Settings) -> None:
    (settings.models_dir / "tiny" / "int8.json").write_text('{"folder": ')
    with pytest.raises(ModelError, match="assistant build"):
        load_encoder(settings)


def test_a_pointer_cannot_lead_out_of_the_models_folder(settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    shutil.copytree(folder_of(settings), outside)
    pointer = settings.models_dir / "tiny" / "int8.json"
    pointer.write_text(json.dumps({"folder": f"../../../{outside.name}"}))
    with pytest.raises(ModelError, match="No built model"):
        load_encoder(settings)


def test_verify_accepts_what_was_built(settings: Settings) -> None:
    folder, manifest = ModelRegistry(settings.models_dir).encoder("tiny")
    verify(folder, manifest)
