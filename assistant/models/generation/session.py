"""Run a decoder with ONNX Runtime GenAI on CPU. The only module that imports it.

One thread makes all calls into the runtime and takes one step of each open sequence in turn, so
that callers need no locks, a slow reader holds nobody up and no request waits for another's end.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from assistant.errors import BusyError, ModelError
from indexes.types import FloatArray

StepFinish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen: greedy at temperature 0, else seeded sampling.

    Before ``min_tokens`` the end mark is not chosen.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    min_tokens: int = 0


@dataclass(slots=True)
class _Sequence:
    """An open request, fed by the worker. ``out`` holds tokens, then a finish or an exception."""

    ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    out: queue.SimpleQueue[int | StepFinish | BaseException] = field(
        default_factory=queue.SimpleQueue
    )
    cancelled: threading.Event = field(default_factory=threading.Event)
    native: Any = None
    made: int = 0


class TokenStream:
    """Iterates over tokens, then over one ``stop`` (end mark) or ``length``.

    ``close`` ends the request, and so does letting go of the stream. ModelError when the runtime
    fails.
    """

    def __init__(self, sequence: _Sequence) -> None:
        self._sequence = sequence
        self._ended = False

    def __iter__(self) -> TokenStream:
        return self

    def __next__(self) -> int | StepFinish:
        if self._ended:
            raise StopIteration
        item = self._sequence.out.get()
        self._ended = not isinstance(item, int)
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        self._ended = True
        self._sequence.cancelled.set()

    def __del__(self) -> None:
        self._sequence.cancelled.set()


class DecoderSession:
    """An opened decoder; thread-safe.

    At most ``slots`` sequences are open at once (each holds its own key and value cache); further
    ones wait, at most ``waiting`` of them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        eos_ids: tuple[int, ...],
        window_tokens: int,
        slots: int = 4,
        waiting: int = 64,
        threads: int = 0,
    ) -> None:
        self._runtime = _runtime()
        self._model = _open(self._runtime, folder, threads)
        self._eos = frozenset(eos_ids)
        self._window = window_tokens
        self._slots = slots
        self._waiting_limit = waiting
        self._waiting: deque[_Sequence] = deque()
        self._calls: deque[tuple[Callable[[], Any], queue.SimpleQueue[Any]]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._worker = threading.Thread(target=self._work, name="generator", daemon=True)
        self._worker.start()
        # A thread inside the runtime while the process ends would crash it.
        atexit.register(self.close)

    def generate(self, ids: tuple[int, ...], max_tokens: int, sampling: Sampling) -> TokenStream:
        """Return the tokens after ``ids`` as they come.

        Raises BusyError when too many wait, ModelError when the session is closed.
        """
        sequence = _Sequence(ids, max_tokens, sampling)
        with self._wake:
            if self._closed:
                raise ModelError("The generator is closed.")
            if len(self._waiting) >= self._waiting_limit:
                raise BusyError(
                    f"{len(self._waiting)} requests wait for the generator, the most it takes. "
                    "Try again shortly."
                )
            self._waiting.append(sequence)
            self._wake.notify()
        return TokenStream(sequence)

    def last_logits(self, ids: tuple[int, ...]) -> FloatArray:
        """Return float32 (vocabulary,): the logits of the token after ``ids``."""
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._wake:
            if self._closed:
                raise ModelError("The generator is closed.")
            self._calls.append((lambda: self._logits(ids), answer))
            self._wake.notify()
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        logits: FloatArray = result
        return logits

    def close(self) -> None:
        """End every open request with an error and free the model."""
        atexit.unregister(self.close)
        with self._wake:
            self._closed = True
            self._wake.notify()
        if threading.current_thread() is not self._worker:
            self._worker.join()

    def _work(self) -> None:
        active: deque[_Sequence] = deque()
        while self._admit(active):
            sequence = active.popleft()
            if sequence.cancelled.is_set():
                sequence.native = None
            elif self._step(sequence):
                active.append(sequence)
        for sequence in (*active, *self._waiting):
            sequence.native = None
            sequence.out.put(ModelError("The generator was closed."))
        for _, answer in self._calls:
            answer.put(ModelError("The generator was closed."))
        self._model = None

    def _admit(self, active: deque[_Sequence]) -> bool:
        """Open waiting requests while there are slots; wait when idle. False: the end."""
        while True:
            with self._wake:
                while not (self._closed or active or self._waiting or self._calls):
                    self._wake.wait()
                if self._closed:
                    return False
                call = self._calls.popleft() if self._calls else None
                while self._waiting and len(active) < self._slots:
                    active.append(self._waiting.popleft())
            if call is not None:
                call[1].put(_result(call[0]))
            if active:
                return True

    def _step(self, sequence: _Sequence) -> bool:
        """Take one step of ``sequence`` and say whether there are more."""
        try:
            if sequence.native is None:
                total = len(sequence.ids) + sequence.max_tokens
                sequence.native = self._native(sequence.ids, total, sequence.sampling)
            sequence.native.generate_next_token()
            token = int(sequence.native.get_next_tokens()[0])
        except Exception as error:  # the runtime raises RuntimeError and its own
            sequence.native = None
            sequence.out.put(ModelError(f"The generator failed: {str(error)[:300]}"))
            return False
        sequence.made += 1
        finish: StepFinish | None = None
        if token in self._eos:
            finish = "stop"
        else:
            sequence.out.put(token)
            if sequence.made >= sequence.max_tokens:
                finish = "length"
        if finish is None:
            return True
        sequence.native = None
        sequence.out.put(finish)
        return False

    def _native(self, ids: tuple[int, ...], total: int, sampling: Sampling) -> Any:
        options: dict[str, Any] = {
            # The cache is this long; one shorter than the attention window is not allowed.
            "max_length": max(total, self._window),
            "do_sample": sampling.temperature > 0,
            "min_length": len(ids) + sampling.min_tokens if sampling.min_tokens else 0,
        }
        if sampling.temperature > 0:
            options["temperature"] = sampling.temperature
            options["top_p"] = sampling.top_p
            options["top_k"] = sampling.top_k
            if sampling.seed is not None:
                options["random_seed"] = sampling.seed
        parameters = self._runtime.GeneratorParams(self._model)
        parameters.set_search_options(**options)
        native = self._runtime.Generator(self._model, parameters)
        native.append_tokens(np.asarray(ids, dtype=np.int32))
        return native

    def _logits(self, ids: tuple[int, ...]) -> FloatArray:
        native = self._native(ids, len(ids) + 1, Sampling())
        return np.array(native.get_logits(), dtype=np.float32).reshape(-1)


def _result(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # handed to the caller, who raises it
        return ModelError(f"The generator failed: {str(error)[:300]}")


def _runtime() -> Any:
    try:
        import onnxruntime_genai
    except ImportError as error:
        raise ModelError(
            f"onnxruntime-genai is not installed ({error}). Run: pip install onnxruntime-genai"
        ) from error
    with contextlib.suppress(AttributeError):
        onnxruntime_genai.disable_telemetry_events()
    return onnxruntime_genai


def _open(runtime: Any, folder: Path, threads: int) -> Any:
    try:
        config = runtime.Config(str(folder))
        config.clear_providers()
        if threads:
            options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
            config.overlay(json.dumps(options))
        return runtime.Model(config)
    except Exception as error:  # the runtime raises RuntimeError and its own
        raise ModelError(
            f"onnxruntime-genai {runtime.__version__} cannot load {folder}: {str(error)[:300]}. "
            "Build the model again."
        ) from error
