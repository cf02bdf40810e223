"""Build an encoder from its weights: tokeniser, graph, gate, manifest. No torch."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import onnx
from filelock import FileLock, Timeout

from assistant.errors import ModelError
from assistant.models.build import gates
from assistant.models.build.calibration import outlier_scales
from assistant.models.build.graph import Precision, build_graph, write_model
from assistant.models.build.recipe import Recipe, recipe_for
from assistant.models.build.sources import Source, locate, sha256_of
from assistant.models.build.tokenizer import build_tokenizer, kept_pieces, trim
from assistant.models.build.tuned import apply, read_tuned
from assistant.models.build.weights import EncoderWeights
from assistant.models.manifest import FORMAT, MANIFEST_FILE, ModelManifest
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE, ModelRegistry, read_build
from assistant.models.session import CpuBackend, Tokens, cuda_problem, open_backend
from assistant.settings import Settings
from indexes.types import FloatArray

Progress = Callable[[str], None]
_LOCK_SECONDS = 600


def build_encoder(
    settings: Settings, progress: Progress | None = None, *, source: str | None = None
) -> ModelManifest:
    """Build the encoder of the settings unless it is built already, and return its manifest.

    ``source`` overrides where the weights come from: a folder with safetensors or a Hugging Face
    id. With a usable NVIDIA GPU the fp16 encoder for CUDA is built too. The result is named by the
    hash of its inputs and appears under that name only when complete and checked, so that an
    interrupted build is simply run again. Raises ModelError.
    """
    say = progress or _silent
    recipe = recipe_for(settings.encoder, source)
    say(f"locating the weights of {recipe.name}")
    located = locate(recipe.source)
    manifest = _build(settings, recipe, located, "int8", say)
    if settings.device != "cpu" and cuda_problem() is None:
        try:
            _build(settings, recipe, located, "fp16", say)
        except ModelError as error:
            if settings.device == "cuda":
                raise
            say(f"left out the encoder for CUDA: {error}")
    return manifest


def _silent(message: str) -> None:
    del message


def _build(
    settings: Settings, recipe: Recipe, source: Source, precision: Precision, say: Progress
) -> ModelManifest:
    registry = ModelRegistry(settings.models_dir)
    parent = settings.models_dir / recipe.name
    folder = parent / f"{precision}-{_key(recipe, source, precision)}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with FileLock(parent / "build.lock", timeout=_LOCK_SECONDS):
            manifest = _already_built(folder)
            if manifest is None:
                manifest = _build_in(folder, recipe, source, precision, say)
            else:
                say(f"{recipe.name} ({precision}) is built already")
            registry.select(recipe.name, precision, folder)
    except Timeout as error:
        raise ModelError(
            f"Another build of {recipe.name} has held {parent / 'build.lock'} for "
            f"{_LOCK_SECONDS} s. Wait for it or end it, then build again."
        ) from error
    except OSError as error:
        raise ModelError(f"{recipe.name} cannot be written to {parent}: {error}") from error
    return manifest


def _key(recipe: Recipe, source: Source, precision: str) -> str:
    """Return what names a build: a hash of everything that goes into it."""
    parts = [FORMAT, source.sha256, precision, recipe.trim]
    parts += [recipe.query_prefix, recipe.passage_prefix]
    parts += [sha256_of(recipe.adapter)] if recipe.adapter else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _already_built(folder: Path) -> ModelManifest | None:
    if not folder.is_dir():
        return None
    try:
        return read_build(folder)
    except ModelError:
        shutil.rmtree(folder)  # a fresh build takes its place
        return None


def _build_in(
    folder: Path, recipe: Recipe, source: Source, precision: Precision, say: Progress
) -> ModelManifest:
    """Build in a temporary folder and give it its name last; the lock is held."""
    for left_over in folder.parent.glob("*.part"):
        shutil.rmtree(left_over)
    part = folder.with_name(folder.name + ".part")
    part.mkdir()
    say(f"reading the weights from {source.label} {source.version}")
    weights = source.read()
    if recipe.trim:
        weights = trimmed(weights)
    tuned = read_tuned(recipe.adapter) if recipe.adapter else None
    if tuned is not None:
        weights = apply(tuned, weights, source.sha256)
    say(f"building the {precision} graph ({len(weights.vocabulary.pieces)} pieces)")
    tokenizer = build_tokenizer(weights.vocabulary)
    tokenizer.save(str(part / TOKENIZER_FILE), pretty=False)
    sample = gates.sample_tokens(
        tokenizer, recipe.query_prefix, recipe.passage_prefix, weights.shape.max_positions
    )
    graph = encoder_graph(weights, precision, sample, tuned.scales if tuned else None)
    words = write_model(graph, part / MODEL_FILE)
    say("checking it against fp32")
    parity = _gate(part / MODEL_FILE, weights, precision, sample)
    manifest = ModelManifest(
        name=recipe.name,
        task="encoder",
        dim=weights.shape.hidden,
        max_tokens=weights.shape.max_positions,
        query_prefix=recipe.query_prefix,
        passage_prefix=recipe.passage_prefix,
        licence=tuned.licence if tuned else recipe.licence,
        source=source.label,
        source_version=source.version,
        source_sha256=source.sha256,
        precision=precision,
        files={name: sha256_of(part / name) for name in (MODEL_FILE, TOKENIZER_FILE)},
        parity=parity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        pieces=len(weights.vocabulary.pieces),
        words=words,
    )
    (part / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    _sync(part)
    part.rename(folder)
    say(f"built {recipe.name} ({precision})")
    return manifest


def trimmed(weights: EncoderWeights) -> EncoderWeights:
    """Return the weights with only the vocabulary that Chinese and English text needs."""
    kept = kept_pieces(weights.vocabulary)
    tensors = {**weights.tensors, "emb.word": weights.tensors["emb.word"][kept]}
    return replace(weights, vocabulary=trim(weights.vocabulary, kept), tensors=tensors)


def encoder_graph(
    weights: EncoderWeights,
    precision: Precision,
    sample: Sequence[Tokens],
    scales: Mapping[str, FloatArray] | None = None,
) -> onnx.ModelProto:
    """Return the served graph: fp16 padded, or int8 for CPU with its outliers tamed.

    Tamed by ``scales``, or where they are not known by what ``sample`` shows.
    """
    scales = (scales or outlier_scales(weights, sample)) if precision == "int8" else None
    return build_graph(weights, precision, padded=precision == "fp16", scales=scales)


def _gate(
    model: Path, weights: EncoderWeights, precision: Precision, sample: Sequence[Tokens]
) -> dict[str, float]:
    threads = os.cpu_count() or 1
    reference = CpuBackend(build_graph(weights, "fp32", padded=False).SerializeToString(), threads)
    built = open_backend(model, "cuda" if precision == "fp16" else "cpu", threads)
    try:
        return gates.compare(built, reference, sample)
    finally:
        built.close()
        reference.close()


def _sync(folder: Path) -> None:
    """Make the folder's files durable before its name says that it is complete."""
    for path in folder.iterdir():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
