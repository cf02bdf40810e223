"""Run a model's graph: on CPU with ONNX Runtime, on an NVIDIA GPU when there is one.

The only module that imports onnxruntime.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from assistant.errors import ModelError
from indexes.types import FloatArray

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text ready to encode: ``ids`` int32 (tokens,), ``pool`` float32 (spans, tokens)."""

    ids: NDArray[np.int32]
    pool: FloatArray


@dataclass(frozen=True, slots=True)
class Choice:
    """The execution provider taken and why."""

    device: Literal["cpu", "cuda"]
    reason: str


Outputs = Mapping[str, FloatArray]
"""What a graph gives for one text: ``pooled`` (spans, hidden) of an encoder, or by head name
(spans, labels) of a sequence head and (tokens, labels) of a token head."""


Tensors = Mapping[str, NDArray[Any]]
"""Tensors of a graph by their names."""


class Backend(Protocol):
    """Runs texts through the graph; thread-safe."""

    batch: int

    def run(self, texts: Sequence[Tokens]) -> list[Outputs]:
        """Return every output for each text, float32, without padding."""

    def pooled(self, texts: Sequence[Tokens]) -> list[FloatArray]:
        """Return for each text its pooled vectors, float32 (spans, hidden); encoders only."""

    def close(self) -> None: ...


def choose_device(wanted: Device, *, fp16_built: bool) -> Choice:
    """Pick CUDA when it is wanted, offered by this onnxruntime, usable here, and built for.

    Raises ModelError when ``wanted`` is ``cuda`` and it cannot be had; ``auto`` falls back to CPU.
    """
    if wanted == "cpu":
        return Choice("cpu", "device is set to cpu")
    problem = cuda_problem()
    if problem is None and not fp16_built:
        problem = "the encoder is not built for CUDA: run `assistant build` on this machine"
    if problem is None:
        return Choice("cuda", "onnxruntime offers CUDA and the fp16 encoder is built")
    if wanted == "cuda":
        raise ModelError(f"device is cuda, but {problem}. Or set ASSISTANT_DEVICE=cpu.")
    return Choice("cpu", problem)


def cuda_problem() -> str | None:
    """Return why CUDA cannot be used here, or None when it can."""
    import onnxruntime

    offered = onnxruntime.get_available_providers()
    if "CUDAExecutionProvider" not in offered:
        return f"this onnxruntime offers {', '.join(offered)} only (install the gpu extra)"
    # The GPU build offers CUDA on any machine; a device node says whether there is a GPU.
    if not (Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or os.name == "nt"):
        return "this machine shows no NVIDIA GPU"
    return None


def open_backend(
    path: Path, device: Literal["cpu", "cuda"], threads: int, tensors: Tensors | None = None
) -> Backend:
    """Open the graph at ``path`` with ``threads`` workers; ModelError when it cannot be loaded.

    On CPU ``tensors`` take the place of the graph's own of the same names, and are not copied.
    """
    return CudaBackend(path) if device == "cuda" else CpuBackend(path, threads, tensors)


def _session(
    graph: Path | bytes, provider: str, level: str, values: Mapping[str, Any] | None = None
) -> Any:
    """Open the graph; ``values`` of onnxruntime in place of its own must outlive the session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # One thread per run and several runs at once: no barriers between cores, each core keeps its
    # own caches, and concurrent callers never share a pool.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    for name, value in (values or {}).items():
        options.add_initializer(name, value)
    model = str(graph) if isinstance(graph, Path) else graph
    try:
        return onnxruntime.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # onnxruntime raises its own family, rooted in Exception
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} cannot load the model on {provider}: "
            f"{str(error)[:300]}. Run `assistant build`, or check the onnxruntime version."
        ) from error


def _load_cuda_libraries() -> None:
    """Let onnxruntime find CUDA and cuDNN where pip put them, not only on the system's path."""
    import onnxruntime

    # It prints what it does not find; whether CUDA started is checked on the session itself.
    with contextlib.redirect_stdout(io.StringIO()):
        onnxruntime.preload_dlls()


class CpuBackend:
    """One text a run, ``threads`` runs at a time: no padding, and a vector that never depends on
    what else is encoded."""

    batch = 1

    def __init__(self, graph: Path | bytes, threads: int, tensors: Tensors | None = None) -> None:
        import onnxruntime

        self._values = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(values)  # not copied
            for name, values in (tensors or {}).items()
        }
        # "Basic" keeps the graph as written: the higher levels fuse in slower CPU kernels.
        self._session = _session(graph, "CPUExecutionProvider", "ORT_ENABLE_BASIC", self._values)
        self._inputs = frozenset(value.name for value in self._session.get_inputs())
        self._outputs = tuple(value.name for value in self._session.get_outputs())
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="model")

    def pooled(self, texts: Sequence[Tokens]) -> list[FloatArray]:
        return [outputs["pooled"] for outputs in self.run(texts)]

    def run(self, texts: Sequence[Tokens]) -> list[Outputs]:
        if len(texts) == 1 or self._threads == 1:
            return [self._run(text) for text in texts]
        # Longest first, so that no core is left with a long text at the end.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i].ids))
        found = self._pool.map(self._run, [texts[i] for i in order])
        results = dict(zip(order, found, strict=True))
        return [results[i] for i in range(len(texts))]

    def _run(self, text: Tokens) -> Outputs:
        feed = {"input_ids": text.ids[None], "pool": text.pool[None]}
        used = {name: value for name, value in feed.items() if name in self._inputs}
        found = self._session.run(None, used)
        return {name: value[0] for name, value in zip(self._outputs, found, strict=True)}

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        # The graph's memory goes now, not when Python finds the cycles that hold this object.
        self._session = None
        self._values = {}


class CudaBackend:
    """Padded batches in half precision; inputs and outputs stay bound to device memory."""

    batch = 64

    def __init__(self, graph: Path) -> None:
        _load_cuda_libraries()
        self._session = _session(graph, "CUDAExecutionProvider", "ORT_ENABLE_ALL")
        if self._session.get_providers()[0] != "CUDAExecutionProvider":
            raise ModelError(
                "onnxruntime could not start CUDA here (driver or CUDA libraries missing). "
                "Set ASSISTANT_DEVICE=cpu or mend the CUDA installation."
            )
        self._inputs = frozenset(value.name for value in self._session.get_inputs())
        self._second_axis = {v.name: v.shape[1] for v in self._session.get_outputs()}
        self._outputs = tuple(self._second_axis)

    def pooled(self, texts: Sequence[Tokens]) -> list[FloatArray]:
        return [outputs["pooled"] for outputs in self.run(texts)]

    def run(self, texts: Sequence[Tokens]) -> list[Outputs]:
        results: dict[int, Outputs] = {}
        for batch in batches([len(text.ids) for text in texts]):
            together = [texts[i] for i in batch]
            outputs = self._run(together)
            for row, (i, text) in enumerate(zip(batch, together, strict=True)):
                results[i] = {
                    # Without the padding of its batch.
                    name: values[row, : self._rows(name, text)].astype(np.float32)
                    for name, values in outputs.items()
                }
        return [results[i] for i in range(len(texts))]

    def _rows(self, name: str, text: Tokens) -> int:
        return len(text.ids) if self._second_axis[name] == "tokens" else len(text.pool)

    def _run(self, texts: Sequence[Tokens]) -> dict[str, NDArray[np.float16]]:
        import onnxruntime

        ids, lengths, pool = pad(texts)
        binding = self._session.io_binding()
        feed = {"input_ids": ids, "lengths": lengths, "pool": pool.astype(np.float16)}
        for name, value in feed.items():
            if name in self._inputs:
                binding.bind_ortvalue_input(
                    name, onnxruntime.OrtValue.ortvalue_from_numpy(value, "cuda", 0)
                )
        for name in self._outputs:
            binding.bind_output(name, "cuda", 0)
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.copy_outputs_to_cpu(), strict=True))

    def close(self) -> None:
        self._session = None


def batches(
    lengths: Sequence[int], max_tokens: int = 32768, max_rows: int = 512
) -> list[list[int]]:
    """Return the places of ``lengths`` in batches, shortest first, each at most ``max_tokens``
    when padded.

    A single text longer than that is a batch of its own.
    """
    result: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # Ascending order: the newest text is the longest, so it sets the padding.
        rows = len(result[-1]) + 1 if result else max_rows + 1
        if rows <= max_rows and rows * lengths[i] <= max_tokens:
            result[-1].append(i)
        else:
            result.append([i])
    return result


def pad(texts: Sequence[Tokens]) -> tuple[NDArray[np.int32], NDArray[np.int32], FloatArray]:
    """Return ids (batch, longest), lengths (batch,) and pooling weights (batch, spans, longest)."""
    longest = max(len(text.ids) for text in texts)
    spans = max(len(text.pool) for text in texts)
    # Id 0 is a real token, but lengths keep attention and pooling away from the padding.
    ids = np.zeros((len(texts), longest), dtype=np.int32)
    pool = np.zeros((len(texts), spans, longest), dtype=np.float32)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = text.ids
        pool[row, : len(text.pool), : len(text.ids)] = text.pool
    return ids, np.array([len(text.ids) for text in texts], dtype=np.int32), pool
