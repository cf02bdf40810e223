"""Open the encoder the settings ask for: what the composition root calls."""

from __future__ import annotations

import os

from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.encoder import Encoder
from assistant.models.encoders import EncoderPlace, encoder_place
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE
from assistant.models.session import Choice, choose_device, open_backend
from assistant.settings import Settings


def load_encoder(settings: Settings) -> Encoder:
    """Return the encoder, verified and ready to use.

    It is the base build that the settings name, or the trained version in force under that name
    (``assistant.models.encoders``). Raises ModelError when it is not built or damaged (run
    ``assistant build``), or when the device asked for cannot be had. With device ``auto`` a GPU
    that does not start gives way to the CPU, and ``Encoder.choice`` says why.
    """
    place = encoder_place(settings)
    choice = choose_device(settings.device, fp16_built=place.folder("fp16") is not None)
    try:
        return _open(settings, place, choice)
    except ModelError as error:
        if choice.device == "cpu" or settings.device == "cuda":
            raise
        return _open(settings, place, Choice("cpu", f"CUDA did not start: {error}"))


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
