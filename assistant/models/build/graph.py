"""Write the encoder as an ONNX graph, directly from its weights, without torch.

The graph is the post-norm BERT encoder of Devlin et al. (2019) with one matrix for query, key and
value, and pooling by a matrix of weights the caller gives, so that one forward pass yields the mean
over a text and over each of its spans. Heads of fine-tuned models stand on the pooled vectors or
on the tokens, and stay in floating point: they are small, and decisions hang on them. A tuned
prompt (Lester et al. 2021, arXiv:2104.08691) is put before the word vectors and taken off again at
the end.

Three precisions:

- ``fp32``: the reference.
- ``int8``: every matrix product of the layers as ``DynamicQuantizeMatMul`` (activations to
  unsigned 8 bits by the range seen, weights to signed 8 bits per output column), word vectors in 8
  bits per row. Inputs are not padded: measured on CPU, one text a run and as many runs at a time as
  there are cores beats padded batches, and a text's vector does not depend on its company.
- ``fp16``: for CUDA, with a length per text, so that padded batches are right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from assistant.models.build.weights import PROMPT, EncoderWeights
from assistant.models.heads import HeadSpec
from assistant.models.manifest import StoredTensor
from indexes.types import FloatArray

Precision = Literal["fp32", "int8", "fp16"]

WORDS = "emb.word"
_OPSET = 23
_IR_VERSION = 10
_MICROSOFT = "com.microsoft"


def quantise_columns(matrix: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return ``matrix`` (in, out) as int8 with one float32 scale per column (out,)."""
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
    return np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)


def write_model(model: onnx.ModelProto, path: Path) -> StoredTensor | None:
    """Write the model to ``path``; return where in it the 8-bit word table is, if it has one."""
    content = model.SerializeToString()
    path.write_bytes(content)
    table = next((t for t in model.graph.initializer if t.name == WORDS), None)
    if table is None or table.data_type != TensorProto.INT8:
        return None
    digest = hashlib.sha256(table.raw_data).hexdigest()
    return StoredTensor(WORDS, "int8", tuple(table.dims), content.index(table.raw_data), digest)


class _Graph:
    """Collects nodes and weights under unique names.

    Inside, names hold a dot or a slash, which the names of inputs, outputs and heads never do.
    """

    def __init__(self, precision: Precision, scales: Mapping[str, FloatArray]) -> None:
        self.precision = precision
        self.scales = scales
        self.float_type = np.float16 if precision == "fp16" else np.float32
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: NDArray[Any]) -> str:
        if value.dtype == np.float32:
            value = value.astype(self.float_type)
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any
    ) -> str:
        return self.nodes_out(kind, inputs, [name], domain=domain, **attributes)[0]

    def nodes_out(
        self,
        kind: str,
        inputs: Sequence[str],
        outputs: Sequence[str],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> Sequence[str]:
        self.nodes.append(
            helper.make_node(
                kind, inputs, outputs, name=outputs[0] + "/node", domain=domain, **attributes
            )
        )
        return outputs

    def linear(
        self, x: str, name: str, matrix: FloatArray, bias: FloatArray, *, exact: bool = False
    ) -> str:
        """``x @ matrix.T + bias`` with ``matrix`` (out, in); ``exact``: never in int8."""
        b = self.weight(f"{name}.b", bias)
        if exact or self.precision != "int8":
            product = self.node("MatMul", [x, self.weight(f"{name}.w", matrix.T)], f"{name}/matmul")
            return self.node("Add", [product, b], f"{name}/out")
        if name in self.scales:
            factor = self.scales[name]
            x = self.node("Mul", [x, self.weight(f"{name}.f", 1 / factor)], f"{name}/scaled")
            matrix = matrix * factor
        values, scale = quantise_columns(matrix.T)
        return self.node(
            "DynamicQuantizeMatMul",
            [x, self.weight(f"{name}.w", values), self.weight(f"{name}.s", scale), "", b],
            f"{name}/out",
            domain=_MICROSOFT,
        )

    def layer_norm(
        self, x: str, residual: str, name: str, weights: EncoderWeights, key: str
    ) -> str:
        total = self.node("Add", [x, residual], f"{name}/sum")
        gain = self.weight(f"{key}.w", weights.tensors[f"{key}.w"])
        bias = self.weight(f"{key}.b", weights.tensors[f"{key}.b"])
        # Not SkipLayerNormalization: its CPU kernel is about six times slower than these two nodes.
        return self.node(
            "LayerNormalization",
            [total, gain, bias],
            f"{name}/out",
            axis=-1,
            epsilon=weights.shape.epsilon,
        )


def build_graph(
    weights: EncoderWeights,
    precision: Precision,
    *,
    padded: bool,
    scales: Mapping[str, FloatArray] | None = None,
    heads: Sequence[HeadSpec] = (),
) -> onnx.ModelProto:
    """Return the encoder, with ``heads`` on top, as an ONNX model.

    ``scales`` (see calibration) tame outlying channels for int8; other precisions ignore them.

    Inputs: ``input_ids`` int32 (batch, tokens); ``pool`` float (batch, spans, tokens), rows of
    pooling weights, unless every head is a token head; with ``padded`` also ``lengths`` int32
    (batch,), the tokens that count in each row. Outputs: ``pooled`` float (batch, spans, hidden),
    not normalised, where there is a ``pool``; and by its name each head's logits, (batch, spans,
    labels) of a sequence head, (batch, tokens, labels) of a token head.
    """
    graph = _Graph(precision, scales or {})
    x = _embed(graph, weights)
    lengths = _prompted_lengths(graph, weights) if padded else ""
    for layer in range(weights.shape.layers):
        x = _layer(graph, weights, x, f"l{layer}", lengths)
    if PROMPT in weights.tensors:
        starts = graph.weight("prompt.length", np.array([len(weights.tensors[PROMPT])]))
        ends = graph.weight("prompt.end", np.array([np.iinfo(np.int64).max]))
        axis = graph.weight("prompt.axis", np.array([1]))
        x = graph.node("Slice", [x, starts, ends, axis], "prompt/taken_off")
    outputs: dict[str, tuple[str, int]] = {}
    if not heads or any(head.kind == "sequence" for head in heads):
        graph.node("MatMul", ["pool", x], "pooled")
        outputs["pooled"] = ("spans", weights.shape.hidden)
    for head in heads:
        _head(graph, weights, head, x)
        outputs[head.name] = ("spans" if head.kind == "sequence" else "tokens", len(head.labels))
    return _model(graph, outputs, padded)


def _head(graph: _Graph, weights: EncoderWeights, head: HeadSpec, hidden: str) -> None:
    """Put one head on the pooled vectors or on the tokens; its logits carry its name."""
    tensors, key = weights.tensors, f"head.{head.name}"
    x = "pooled" if head.kind == "sequence" else hidden
    if head.normalise:
        axis = graph.weight(f"{key}.axis", np.array([-1]))
        norm = graph.node("ReduceL2", [x, axis], f"{key}/norm", keepdims=1)
        least = graph.weight(f"{key}.least", np.array(1e-6, dtype=np.float32))
        x = graph.node("Div", [x, graph.node("Max", [norm, least], f"{key}/safe")], f"{key}/unit")
    if f"{key}.dense.w" in tensors:
        inner = (tensors[f"{key}.dense.w"], tensors[f"{key}.dense.b"])
        x = graph.linear(x, f"{key}.dense", *inner, exact=True)
        x = graph.node("Tanh", [x], f"{key}/tanh")
    outer = (tensors[f"{key}.out.w"], tensors[f"{key}.out.b"])
    x = graph.linear(x, f"{key}.out", *outer, exact=True)
    graph.node("Identity", [x], head.name)


def _prompted_lengths(graph: _Graph, weights: EncoderWeights) -> str:
    """Return the lengths that attention sees: a prompt's tokens count as well."""
    if PROMPT not in weights.tensors:
        return "lengths"
    more = graph.weight("prompt.more", np.array(len(weights.tensors[PROMPT]), dtype=np.int32))
    return graph.node("Add", ["lengths", more], "lengths/prompted")


def _model(graph: _Graph, outputs: Mapping[str, tuple[str, int]], padded: bool) -> onnx.ModelProto:
    float_type = TensorProto.FLOAT16 if graph.precision == "fp16" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "tokens"])]
    if "pooled" in outputs:
        shape = ["batch", "spans", "tokens"]
        inputs.append(helper.make_tensor_value_info("pool", float_type, shape))
    if padded:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    results = [
        helper.make_tensor_value_info(name, float_type, ["batch", axis, width])
        for name, (axis, width) in outputs.items()
    ]
    return helper.make_model(
        helper.make_graph(graph.nodes, "encoder", inputs, results, graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=_IR_VERSION,
        producer_name="domain-assistant",
    )


def _embed(graph: _Graph, weights: EncoderWeights) -> str:
    tensors = weights.tensors
    words = _words(graph, tensors["emb.word"])
    if PROMPT in tensors:
        words = _prompted(graph, tensors[PROMPT], words)
    # Only one token type is used, so its vector belongs to every position.
    table = graph.weight("emb.pos", tensors["emb.pos"] + tensors["emb.type"])
    shape = graph.node("Shape", [words], "positions/shape", start=1, end=2)
    start = graph.weight("positions.start", np.zeros(1, dtype=np.int64))
    positions = graph.node("Slice", [table, start, shape], "positions/rows")
    return graph.layer_norm(words, positions, "embedding", weights, "emb.ln")


def _prompted(graph: _Graph, prompt: FloatArray, words: str) -> str:
    """Put the prompt's vectors, (tokens, hidden), before the words of every text."""
    batch = graph.node("Shape", ["input_ids"], "prompt/batch", start=0, end=1)
    size = graph.weight("prompt.shape", np.array(prompt.shape))
    wanted = graph.node("Concat", [batch, size], "prompt/shape", axis=0)
    vectors = graph.node("Expand", [graph.weight(PROMPT, prompt[None]), wanted], "prompt/vectors")
    return graph.node("Concat", [vectors, words], "prompt/words", axis=1)


def _words(graph: _Graph, table: FloatArray) -> str:
    if graph.precision != "int8":
        return graph.node("Gather", [graph.weight(WORDS, table), "input_ids"], "words/rows")
    values, scale = quantise_columns(table.T)
    rows = graph.node("Gather", [graph.weight(WORDS, values.T), "input_ids"], "words/quantised")
    scales = graph.node(
        "Gather", [graph.weight("emb.word.s", scale[:, None]), "input_ids"], "words/scales"
    )
    rows = graph.node("Cast", [rows], "words/cast", to=TensorProto.FLOAT)
    return graph.node("Mul", [rows, scales], "words/rows")


def _layer(graph: _Graph, weights: EncoderWeights, x: str, name: str, lengths: str) -> str:
    """Add one layer; ``lengths`` names the tokens that count in padded rows, or is empty."""
    tensors, heads = weights.tensors, weights.shape.heads
    merged = [np.concatenate([tensors[f"{name}.{m}.{p}"] for m in "qkv"]) for p in "wb"]
    packed = graph.linear(x, f"{name}.qkv", merged[0], merged[1])
    parts = graph.nodes_out(
        "Split", [packed], [f"{name}/{m}" for m in "qkv"], axis=-1, num_outputs=3
    )
    if lengths:
        attended = graph.node(
            "MultiHeadAttention",
            [*parts, "", lengths],
            f"{name}/attention",
            domain=_MICROSOFT,
            num_heads=heads,
        )
    else:
        attended = graph.node(
            "Attention", parts, f"{name}/attention", q_num_heads=heads, kv_num_heads=heads
        )
    out = graph.linear(attended, f"{name}.ao", tensors[f"{name}.ao.w"], tensors[f"{name}.ao.b"])
    x = graph.layer_norm(x, out, f"{name}/after_attention", weights, f"{name}.aln")
    inner = graph.linear(x, f"{name}.fi", tensors[f"{name}.fi.w"], tensors[f"{name}.fi.b"])
    inner = graph.node("Gelu", [inner], f"{name}/gelu", approximate="none")
    out = graph.linear(inner, f"{name}.fo", tensors[f"{name}.fo.w"], tensors[f"{name}.fo.b"])
    return graph.layer_norm(x, out, f"{name}/after_feed_forward", weights, f"{name}.oln")
