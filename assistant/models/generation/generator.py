"""Generate text from a prompt: whole or streamed, seeded, cancellable, bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from tokenizers import Tokenizer

from assistant.errors import InvalidInputError, ModelError, TooLargeError
from assistant.models.generation.files import TOKENIZER_FILE, Marks, read_generator
from assistant.models.generation.session import DecoderSession, Sampling, TokenStream
from assistant.models.generation.text import TextStream
from assistant.models.manifest import ModelManifest
from indexes.types import FloatArray

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Generated:
    """A completion without outer blanks. ``tokens`` were generated, the end mark not counted.

    ``finish``: ``stop`` (the model ended, or a stop text came), ``length`` (``max_tokens``
    reached) or ``cancelled``.
    """

    text: str
    tokens: int
    prompt_tokens: int
    finish: Finish


class Completion:
    """A completion on its way: iterate over its pieces of text; ``result()`` when it ended.

    Close it, or leave its ``with`` block, to stop generating. To be read by one thread.
    """

    def __init__(
        self,
        tokens: TokenStream,
        text: TextStream,
        prompt_tokens: int,
        cancel: threading.Event | None,
    ) -> None:
        self._source = tokens
        self._text = text
        self._prompt_tokens = prompt_tokens
        self._cancel = cancel
        self._finish: Finish | None = None
        self._pieces = self._run()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __enter__(self) -> Completion:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop generating; what came so far stands."""
        self._finish = self._finish or "cancelled"
        self._source.close()

    def result(self) -> Generated:
        """Return the completion, generating what is left of it."""
        for _ in self._pieces:
            pass
        return Generated(
            self._text.text.strip(),
            self._text.tokens,
            self._prompt_tokens,
            self._finish or "cancelled",
        )

    def _run(self) -> Iterator[str]:
        if self._finish is None:
            for item in self._source:
                if isinstance(item, str):
                    self._finish = item
                    break
                piece = self._text.push(item)
                if piece:
                    yield piece
                if self._text.stopped:
                    self._finish = "stop"
                    break
                if self._cancel is not None and self._cancel.is_set():
                    self._finish = "cancelled"
                    break
        self.close()
        rest = self._text.end()
        if rest:
            yield rest


class Generator:
    """An opened generator; thread-safe, several completions may run at once.

    Prompt and completion together have at most ``manifest.max_tokens`` tokens.
    """

    def __init__(
        self, manifest: ModelManifest, marks: Marks, tokenizer: Tokenizer, session: DecoderSession
    ) -> None:
        self.manifest = manifest
        self._bos = marks.bos
        self._tokenizer = tokenizer
        # Text that spells "<eos>" stays text: what a document says never steers the model.
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._session = session

    def __enter__(self) -> Generator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def count_tokens(self, text: str) -> int:
        """Return how many tokens a prompt of ``text`` has, its begin mark included."""
        return len(self._ids(text))

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        seed: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        cancel: threading.Event | None = None,
    ) -> Generated:
        """Return the completion of ``prompt``; greedy at temperature 0.

        ``stop``: texts that end it and are left out of it. With a temperature, the same seed gives
        the same text. Raises as ``stream``.
        """
        return self.stream(
            prompt,
            max_tokens=max_tokens,
            stop=stop,
            seed=seed,
            temperature=temperature,
            top_p=top_p,
            cancel=cancel,
        ).result()

    def stream(
        self,
        prompt: str,
        *,
        max_tokens: int = 256,
        stop: Sequence[str] = (),
        seed: int | None = None,
        temperature: float = 0.0,
        top_p: float = 1.0,
        cancel: threading.Event | None = None,
    ) -> Completion:
        """Return the completion as it comes.

        Raises TooLargeError when prompt and ``max_tokens`` exceed the context, InvalidInputError
        for other values out of range, BusyError when too many wait, ModelError when the model is
        closed or fails (the last also while iterating).
        """
        _check(prompt, max_tokens, stop, temperature, top_p)
        ids = self._ids(prompt)
        limit = self.manifest.max_tokens
        if len(ids) + max_tokens > limit:
            raise TooLargeError(
                f"The prompt has {len(ids)} tokens and {max_tokens} more are asked for; prompt and "
                f"answer together may have {limit}. Shorten the prompt or lower max_tokens."
            )
        sampling = Sampling(temperature, top_p, 0, seed)
        tokens = self._session.generate(ids, max_tokens, sampling)
        return Completion(tokens, TextStream(self._tokenizer, tuple(stop)), len(ids), cancel)

    def last_logits_of(self, ids: Sequence[int]) -> FloatArray:
        """Return float32 (vocabulary,): the logits of the token after ``ids``; for parity checks.

        ``ids`` begin with the begin mark.
        """
        return self._session.last_logits(tuple(ids))

    def generate_ids(
        self, ids: Sequence[int], max_tokens: int, *, min_tokens: int = 0
    ) -> list[int]:
        """Return the greedy continuation of ``ids`` without the end mark; for parity and timing."""
        sampling = Sampling(min_tokens=min_tokens)
        stream = self._session.generate(tuple(ids), max_tokens, sampling)
        return [item for item in stream if isinstance(item, int)]

    def close(self) -> None:
        """End open completions with an error and free the model."""
        self._session.close()

    def _ids(self, text: str) -> tuple[int, ...]:
        # The begin mark is put here and not by the tokenizer's own rules: without it the model
        # answers at random.
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return (self._bos, *ids)


def open_generator(
    folder: Path, *, threads: int = 0, slots: int = 4, waiting: int = 64
) -> Generator:
    """Open the built generator in ``folder`` (with its ``manifest.json``), every file verified.

    ``threads`` 0: all cores. Raises ModelError when something is missing or changed.
    """
    manifest, marks = read_generator(folder)
    try:
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{folder / TOKENIZER_FILE} is not a tokenizer ({error}).") from error
    session = DecoderSession(
        folder,
        eos_ids=marks.eos,
        window_tokens=marks.window,
        slots=slots,
        waiting=waiting,
        threads=threads,
    )
    return Generator(manifest, marks, tokenizer, session)


def _check(
    prompt: str, max_tokens: int, stop: Sequence[str], temperature: float, top_p: float
) -> None:
    if not prompt.strip():
        raise InvalidInputError("The prompt is empty.")
    if max_tokens < 1:
        raise InvalidInputError(f"max_tokens is {max_tokens}; at least 1.")
    if isinstance(stop, str) or len(stop) > 16 or not all(stop):
        raise InvalidInputError("stop must be a list of at most 16 texts, none empty.")
    if not 0 <= temperature <= 2:
        raise InvalidInputError(f"temperature is {temperature}; it must be from 0 to 2.")
    if not 0 < top_p <= 1:
        raise InvalidInputError(f"top_p is {top_p}; it must be above 0 and at most 1.")
