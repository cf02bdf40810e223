"""What models at work keep once: the tokeniser and the table of word vectors."""

from __future__ import annotations

import gc
import json
from contextlib import closing
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import onnx
import pytest
import tuned_models as made
from onnx import numpy_helper

from assistant.errors import ModelError
from assistant.models import loading, shared
from assistant.models.classifier import Classifier
from assistant.models.manifest import MANIFEST_FILE, StoredTensor, read_manifest
from assistant.models.registry import MODEL_FILE, read_build, read_verified
from assistant.settings import Settings

TEXTS = ["lost card", "卡丢了", "what does it cost?"]


@pytest.fixture(autouse=True)
def nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    for kept in ("_tokenizers", "_tables"):
        monkeypatch.setattr(shared, kept, WeakValueDictionary())  # of no other test


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made.built(tmp_path / "a", made.SENTIMENT, precision="int8", task="sentiment")
    return tmp_path / "a"


def opened(folder: Path, settings: Settings) -> Classifier:
    return loading.open_classifier(settings, "sentiment", str(folder))


def change_words(folder: Path, **changes: object) -> None:
    path = folder / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    manifest["words"] = manifest["words"] | changes if changes else None
    path.write_text(json.dumps(manifest))


def probabilities(model: Classifier) -> list[list[float]]:
    return [list(p.probabilities.values()) for p in model.classify(TEXTS)]


def test_models_of_the_same_words_keep_them_once(
    folder: Path, tmp_path: Path, settings: Settings
) -> None:
    made.built(tmp_path / "b", made.SENTIMENT, precision="int8", task="sentiment")
    first, second = opened(folder, settings), opened(tmp_path / "b", settings)
    assert (len(shared._tokenizers), len(shared._tables)) == (1, 1)
    expected = probabilities(second)
    first.close()
    del first
    gc.collect()
    assert probabilities(second) == expected
    second.close()
    del second
    gc.collect()
    assert not shared._tokenizers
    assert not shared._tables


def test_what_is_shared_are_the_words_of_the_graph(folder: Path, settings: Settings) -> None:
    graph = onnx.load(str(folder / MODEL_FILE)).graph
    manifest = read_manifest(folder)
    assert manifest.words is not None
    table = next(t for t in graph.initializer if t.name == manifest.words.name)
    found = shared.tensors(folder, manifest)[table.name]
    assert np.array_equal(found, numpy_helper.to_array(table))
    assert shared.tensors(folder, manifest)[table.name] is found
    # The session reads the table that is shared, not its own: no words, no difference of texts.
    with closing(opened(folder, settings)) as model:
        before = probabilities(model)
        found[:] = 0
        assert probabilities(model) != before


def test_a_model_that_does_not_say_where_its_words_are_keeps_its_own(
    folder: Path, settings: Settings
) -> None:
    with closing(opened(folder, settings)) as model:
        expected = probabilities(model)
    del model
    gc.collect()
    change_words(folder)
    with closing(opened(folder, settings)) as model:
        assert not shared._tables
        assert probabilities(model) == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"offset": 0}, "holds no emb.word"),
        ({"sha256": "0" * 64}, "holds no emb.word"),
        ({"shape": [10**9, 384]}, "behind the file's end"),
        ({"dtype": "no such type"}, "cannot be read"),
        ({"shape": [0, 3]}, "incomplete"),
        ({"offset": -1}, "incomplete"),
    ],
)
def test_words_that_are_elsewhere_are_refused(
    folder: Path, settings: Settings, changes: dict[str, object], told: str
) -> None:
    change_words(folder, **changes)
    with pytest.raises(ModelError, match=told):
        opened(folder, settings)


def test_a_build_that_does_not_say_where_its_words_are_is_not_used_again(folder: Path) -> None:
    assert read_build(folder) == read_verified(folder)
    change_words(folder)
    assert read_verified(folder).words is None
    with pytest.raises(ModelError, match="does not say where its words are"):
        read_build(folder)


def test_a_manifest_brings_its_words_back(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert isinstance(manifest.words, StoredTensor)
    assert json.loads(manifest.to_json())["words"]["sha256"] == manifest.words.sha256
