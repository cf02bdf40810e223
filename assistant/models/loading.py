"""Open the models the settings ask for: what the composition root and the commands call.

A fine-tuned model is named as in the registry of trained models, ``NAME`` or ``NAME@vN``; without a
name the only one in use for its task is taken, without a version the one that is promoted. A path
(``./folder``) of a built model, or of a version, does as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from assistant.errors import ModelError, NotFoundError
from assistant.models import shared
from assistant.models.choosing import MULTITASK, serving_version
from assistant.models.classifier import Classifier
from assistant.models.encoder import Encoder
from assistant.models.encoders import EncoderPlace, encoder_place
from assistant.models.headed import HeadedModel
from assistant.models.manifest import MANIFEST_FILE, ModelManifest, read_manifest
from assistant.models.names import SHARED_TENANT
from assistant.models.reader import Reader
from assistant.models.registry import MODEL_FILE, read_verified
from assistant.models.reranker import Reranker
from assistant.models.session import Choice, choose_device, cuda_problem, open_backend
from assistant.models.shipped import ensure
from assistant.models.store import ModelStore
from assistant.models.tagger import Tagger
from assistant.models.versions import Version
from assistant.settings import Settings

T = TypeVar("T")


def load_encoder(settings: Settings, place: EncoderPlace | None = None) -> Encoder:
    """Return the encoder, verified and ready to use.

    It is the one at ``place``, else the base build that the settings name or the trained version
    in force under that name (``assistant.models.encoders``). Raises ModelError when it is not built
    or damaged (run ``assistant build``), or when the device asked for cannot be had. With device
    ``auto`` a GPU that does not start gives way to the CPU, and ``Encoder.choice`` says why.
    """
    found = place or encoder_place(settings)
    choice = choose_device(settings.device, fp16_built=found.folder("fp16") is not None)
    return _with_fallback(settings, choice, lambda taken: _open(settings, found, taken))


def _open(settings: Settings, place: EncoderPlace, choice: Choice) -> Encoder:
    precision = "fp16" if choice.device == "cuda" else "int8"
    folder, manifest = place.opened(precision)
    if manifest.precision != precision:
        raise ModelError(
            f"{folder} holds a {manifest.precision} encoder; {choice.device} needs {precision}: "
            "run `assistant build`."
        )
    threads = thread_count(settings)
    return Encoder(
        manifest,
        shared.tokenizer(folder, manifest),
        open_backend(folder / MODEL_FILE, choice.device, threads, shared.tensors(folder, manifest)),
        threads=threads,
        queue_size=settings.queue_size,
        choice=choice,
    )


def thread_count(settings: Settings) -> int:
    """Return the threads to use: as set, or every core this process may run on."""
    return settings.threads or available_cores()


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- fine-tuned models -----------------------------------------------------------------------


def open_classifier(
    settings: Settings, task: str, name: str | None = None, tenant: str = SHARED_TENANT
) -> Classifier:
    """Return the classifier in use for ``task`` (intent, sentiment, topic, risk, classifier).

    Without one of its own, a multi-task model in use with a head named ``task`` serves it. Raises
    ModelError when there is none or it is damaged, InvalidInputError when several are in use and
    ``name`` does not choose.
    """
    model = _open_model(settings, task, name, tenant)
    heads = [head.name for head in model.manifest.heads if head.kind == "sequence"]
    chosen = task if task in heads else None
    return _serving(model, lambda opened: Classifier(opened, chosen))


def open_multitask(
    settings: Settings, name: str | None = None, tenant: str = SHARED_TENANT
) -> HeadedModel:
    """Return the multi-task model in use, for all of its heads. Raises as ``open_classifier``."""
    return _open_model(settings, MULTITASK, name, tenant)


def open_tagger(settings: Settings, name: str | None = None, tenant: str = SHARED_TENANT) -> Tagger:
    """Return the tagger in use, or a multi-task model with a head named tagger. As above."""
    return _serving(_open_model(settings, "tagger", name, tenant), Tagger)


def open_reranker(
    settings: Settings, name: str | None = None, tenant: str = SHARED_TENANT
) -> Reranker:
    """Return the reranker in use. Raises as ``open_classifier``."""
    return _serving(_open_model(settings, "reranker", name, tenant), Reranker)


def open_reader(settings: Settings, name: str | None = None, tenant: str = SHARED_TENANT) -> Reader:
    """Return the reader in use. Raises as ``open_classifier``."""
    return _serving(_open_model(settings, "reader", name, tenant), Reader)


def classifier_from(
    folder: Path, manifest: ModelManifest, settings: Settings, head: str | None = None
) -> Classifier:
    """Return the classifier built in ``folder``, whose files the caller has verified.

    This and its like below raise ModelError when the graph does not load, its precision does not
    run here, or the model is of another kind.
    """
    return _serving(model_from(folder, manifest, settings), lambda model: Classifier(model, head))


def tagger_from(folder: Path, manifest: ModelManifest, settings: Settings) -> Tagger:
    """Return the tagger built in ``folder``."""
    return _serving(model_from(folder, manifest, settings), Tagger)


def reranker_from(folder: Path, manifest: ModelManifest, settings: Settings) -> Reranker:
    """Return the reranker built in ``folder``."""
    return _serving(model_from(folder, manifest, settings), Reranker)


def reader_from(folder: Path, manifest: ModelManifest, settings: Settings) -> Reader:
    """Return the reader built in ``folder``."""
    return _serving(model_from(folder, manifest, settings), Reader)


def model_from(
    folder: Path, manifest: ModelManifest, settings: Settings, ref: str = ""
) -> HeadedModel:
    """Return the model built in ``folder`` with whatever heads it has."""
    choice = Choice("cpu", f"the model is built in {manifest.precision}")
    if manifest.precision == "fp16":
        problem = "device is set to cpu" if settings.device == "cpu" else cuda_problem()
        if problem is not None:
            raise ModelError(
                f"{folder} holds an fp16 model, which needs CUDA, but {problem}. Use int8."
            )
        choice = Choice("cuda", "the model is built in fp16")
    threads = thread_count(settings)
    return HeadedModel(
        manifest,
        shared.tokenizer(folder, manifest),
        open_backend(folder / MODEL_FILE, choice.device, threads, shared.tensors(folder, manifest)),
        threads=threads,
        queue_size=settings.queue_size,
        choice=choice,
        ref=ref,
    )


def _serving(model: HeadedModel, serve: Callable[[HeadedModel], T]) -> T:
    """Return the model in its role; close it when it cannot play it."""
    try:
        return serve(model)
    except ModelError:
        model.close()
        raise


def _open_model(settings: Settings, task: str, name: str | None, tenant: str) -> HeadedModel:
    if name is not None and ("/" in name or os.sep in name):
        return _open_folder(settings, Path(name))
    store = ModelStore.of(settings)
    version = _find(settings, store, task, name, tenant)
    choice = choose_device(settings.device, fp16_built="fp16" in version.precisions)
    return _with_fallback(
        settings, choice, lambda taken: _open_version(settings, store, version, taken)
    )


def _find(
    settings: Settings, store: ModelStore, task: str, name: str | None, tenant: str
) -> Version:
    """Return the version to serve; a fresh data folder first gets what comes with the product."""
    ensure(settings, task, name)
    try:
        return serving_version(store, task, name, tenant)
    except NotFoundError as error:
        raise ModelError(str(error)) from error


def _open_version(
    settings: Settings, store: ModelStore, version: Version, choice: Choice
) -> HeadedModel:
    precision = "fp16" if choice.device == "cuda" else "int8"
    store.check(version, precision)
    folder = version.part(precision)
    return model_from(folder, read_manifest(folder), settings, version.ref)


def _open_folder(settings: Settings, folder: Path) -> HeadedModel:
    if not (folder / MANIFEST_FILE).is_file() and (folder / "int8").is_dir():
        folder = folder / "int8"
    return model_from(folder, read_verified(folder), settings)


def _with_fallback(settings: Settings, choice: Choice, open_on: Callable[[Choice], T]) -> T:
    """Open on the device chosen; with device ``auto`` a GPU that fails gives way to the CPU."""
    try:
        return open_on(choice)
    except ModelError as error:
        if choice.device == "cpu" or settings.device == "cuda":
            raise
        return open_on(Choice("cpu", f"CUDA did not start: {error}"))
