"""Building from a folder of weights: complete or not there at all, and never twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import tuned_models as made

from assistant.errors import ModelError
from assistant.models.build import build_encoder, gates
from assistant.models.build import pipeline as pipeline_module
from assistant.models.build import recipe as recipes
from assistant.models.build.bases import open_base
from assistant.models.build.tuned_build import build_tuned
from assistant.models.loading import load_encoder
from assistant.models.manifest import read_manifest
from assistant.models.registry import ModelRegistry
from assistant.settings import Settings
from training.export import save_tuned


@pytest.fixture
def weights(tmp_path: Path) -> str:
    return str(tiny.hugging_face_folder(tmp_path / "weights", tiny.weights()))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        cache_dir=tmp_path / "cache", data_dir=tmp_path / "data", encoder="tiny", threads=2
    )


def contents(settings: Settings) -> dict[str, tuple[int, int]]:
    root = settings.models_dir
    return {
        str(p.relative_to(root)): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in root.rglob("*")
        if p.is_file() and p.suffix not in (".lock", ".json")
    }


def test_a_folder_becomes_a_served_encoder(settings: Settings, weights: str) -> None:
    said: list[str] = []
    manifest = build_encoder(settings, said.append, source=weights)
    assert said[-1] == "built tiny (int8)"
    assert (manifest.dim, manifest.max_tokens, manifest.precision) == (32, 40, "int8")
    assert manifest.parity["mean_cosine"] > 0.99
    encoder = load_encoder(settings)
    try:
        found = encoder.encode_passages(["lost bank card"])
    finally:
        encoder.close()
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_building_again_changes_nothing(settings: Settings, weights: str) -> None:
    first = build_encoder(settings, source=weights)
    before = contents(settings)
    assert len(before) == 1
    assert build_encoder(settings, source=weights) == first
    assert contents(settings) == before


def test_other_weights_get_another_folder_and_fingerprint(
    settings: Settings, weights: str, tmp_path: Path
) -> None:
    build_encoder(settings, source=weights)
    first = load_encoder(settings)
    other = tiny.hugging_face_folder(tmp_path / "other", tiny.weights(seed=5))
    build_encoder(settings, source=str(other))
    second = load_encoder(settings)
    first.close()
    second.close()
    assert first.fingerprint != second.fingerprint
    assert len(contents(settings)) == 2


def test_a_damaged_build_is_replaced(settings: Settings, weights: str) -> None:
    build_encoder(settings, source=weights)
    folder = ModelRegistry(settings.models_dir).folder("tiny")
    assert folder is not None
    model = folder / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-1])
    build_encoder(settings, source=weights)
    assert model.read_bytes() == good


def test_a_failed_gate_leaves_nothing_to_serve(
    settings: Settings, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "MIN_MEAN_COSINE", 1.01)
    with pytest.raises(ModelError, match="strays from fp32"):
        build_encoder(settings, source=weights)
    with pytest.raises(ModelError, match="assistant build"):
        load_encoder(settings)
    monkeypatch.undo()
    build_encoder(settings, source=weights)
    assert [p.name for p in settings.models_dir.rglob("*.part")] == []


def test_a_killed_build_is_simply_run_again(settings: Settings, weights: str) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from assistant.models.build import build_encoder\n"
        "from assistant.settings import Settings\n"
        "def say(message):\n"
        "    print(message, flush=True)\n"
        "    if 'checking' in message: time.sleep(60)\n"
        "s = Settings(cache_dir=Path(sys.argv[1]), encoder='tiny', threads=1)\n"
        "build_encoder(s, say, source=sys.argv[2])\n"
    )
    command = [sys.executable, "-c", script, str(settings.cache_dir), weights]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "checking" in line:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert list(settings.models_dir.rglob("*.part"))
    with pytest.raises(ModelError, match="assistant build"):
        load_encoder(settings)
    build_encoder(settings, source=weights)
    load_encoder(settings).close()
    assert list(settings.models_dir.rglob("*.part")) == []


def test_builds_at_the_same_time_make_one_model(settings: Settings, weights: str) -> None:
    said: list[str] = []
    threads = [
        threading.Thread(
            target=build_encoder, args=(settings, said.append), kwargs={"source": weights}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said.count("built tiny (int8)") == 1
    assert said.count("tiny (int8) is built already") == 2


def test_a_lock_held_too_long_is_named(
    settings: Settings, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "_LOCK_SECONDS", 0.1)
    (settings.models_dir / "tiny").mkdir(parents=True)
    started = time.monotonic()
    with (
        pipeline_module.FileLock(settings.models_dir / "tiny" / "build.lock"),
        pytest.raises(ModelError, match=r"build\.lock"),
    ):
        build_encoder(settings, source=weights)
    assert time.monotonic() - started < 30


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, weights: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    settings = Settings(cache_dir=blocked, encoder="tiny")
    with pytest.raises(ModelError, match="cannot be written"):
        build_encoder(settings, source=weights)


def test_the_manifest_says_where_everything_came_from(settings: Settings, weights: str) -> None:
    build_encoder(settings, source=weights)
    folder = ModelRegistry(settings.models_dir).folder("tiny")
    assert folder is not None
    stored = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert stored["source"] == "weights"
    assert len(stored["source_sha256"]) == 64
    assert set(stored["files"]) == {"model.onnx", "tokenizer.json"}
    assert read_manifest(folder).created.endswith("+00:00")


def test_tuned_weights_are_merged_into_the_encoder(
    settings: Settings, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = open_base(weights)
    random = np.random.default_rng(4)
    rows, columns = base.weights.tensors["l0.q.w"].shape
    tensors = {
        "l0.q.lora_a": random.normal(size=(2, columns)).astype(np.float32),
        "l0.q.lora_b": random.normal(size=(rows, 2)).astype(np.float32),
    }
    tuned = made.tuned(task="encoder", base=weights, base_sha256=base.sha256, tensors=tensors)
    adapter = tmp_path / "tuned.safetensors"
    save_tuned(tuned, adapter)
    plain = recipes.Recipe("tiny", weights, "MIT", trim=True)
    named = replace(plain, name="tiny-tuned", adapter=adapter)
    monkeypatch.setattr(recipes, "ENCODERS", {"tiny": plain, "tiny-tuned": named})
    own = settings.model_copy(update={"encoder": "tiny-tuned"})
    build_encoder(settings)
    manifest = build_encoder(own)
    assert (manifest.name, manifest.licence) == ("tiny-tuned", "none")
    build_tuned(tuned, base, tmp_path / "other")
    other = own.model_copy(update={"encoder": str(tmp_path / "other")})
    texts = ["lost bank card", "银行卡丢了"]
    found = []
    for one in (own, other, settings):
        encoder = load_encoder(one)
        found.append(encoder.encode_passages(texts))
        encoder.close()
    # The build for training's own versions is another way to the same model.
    assert (found[0] * found[1]).sum(1).min() > 0.99
    assert (found[0] * found[2]).sum(1).max() < 0.95
    # Other weights to merge in are another build.
    save_tuned(replace(tuned, tensors={**tensors, "l0.q.lora_b": -tensors["l0.q.lora_b"]}), adapter)
    before = ModelRegistry(settings.models_dir).folder("tiny-tuned")
    build_encoder(own)
    assert ModelRegistry(settings.models_dir).folder("tiny-tuned") != before
