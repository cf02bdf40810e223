"""Open the encoder the settings ask for: what the composition root calls."""

from __future__ import annotations

import os

from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.encoder import Encoder
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE, ModelRegistry
from assistant.models.session import Choice, choose_device, open_backend
from assistant.settings import Settings


def load_encoder(settings: Settings) -> Encoder:
    """Return the encoder, verified and ready to use.

    Raises ModelError when it is not built or damaged (run ``assistant build``), or when the device
    asked for cannot be had. With device ``auto`` a GPU that does not start gives way to the CPU,
    and ``Encoder.choice`` says why.
    """
    registry = ModelRegistry(settings.models_dir)
    built = registry.folder(settings.encoder, "fp16") is not None
    choice = choose_device(settings.device, fp16_built=built)
    try:
        return _open(settings, registry, choice)
    except ModelError as error:
        if choice.device == "cpu" or settings.device == "cuda":
            raise
        return _open(settings, registry, Choice("cpu", f"CUDA did not start: {error}"))


def _open(settings: Settings, registry: ModelRegistry, choice: Choice) -> Encoder:
    precision = "fp16" if choice.device == "cuda" else "int8"
    folder, manifest = registry.encoder(settings.encoder, precision)
    if manifest.precision != precision:
        raise ModelError(
            f"{folder} holds a {manifest.precision} encoder; {choice.device} needs {precision}: "
            "run `assistant build`."
        )
    threads = thread_count(settings)
    return Encoder(
        manifest,
        Tokenizer.from_file(str(folder / TOKENIZER_FILE)),
        open_backend(folder / MODEL_FILE, choice.device, threads),
        threads=threads,
        queue_size=settings.queue_size,
        choice=choice,
    )


def thread_count(settings: Settings) -> int:
    """Return the threads to use: as set, or every core this process may run on."""
    if settings.threads:
        return settings.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
