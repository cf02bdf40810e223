"""Write the encoder as an ONNX graph, directly from its weights, without torch.

The graph is the post-norm BERT encoder of Devlin et al. (2019) with one matrix for query, key and
value, and pooling by a matrix of weights the caller gives, so that one forward pass yields the mean
over a text and over each of its spans.

Three precisions:

- ``fp32``: the reference.
- ``int8``: every matrix product of the layers as ``DynamicQuantizeMatMul`` (activations to
  unsigned 8 bits by the range seen, weights to signed 8 bits per output column), word vectors in 8
  bits per row. Inputs are not padded: measured on CPU, one text a run and as many runs at a time as
  there are cores beats padded batches, and a text's vector does not depend on its company.
- ``fp16``: for CUDA, with a length per text, so that padded batches are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from assistant.models.build.weights import EncoderWeights
from indexes.types import FloatArray

Precision = Literal["fp32", "int8", "fp16"]

_OPSET = 23
_IR_VERSION = 10
_MICROSOFT = "com.microsoft"


def quantise_columns(matrix: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Return ``matrix`` (in, out) as int8 with one float32 scale per column (out,)."""
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
    return np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)


class _Graph:
    """Collects nodes and weights under unique names."""

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

    def linear(self, x: str, name: str, matrix: FloatArray, bias: FloatArray) -> str:
        """``x @ matrix.T + bias`` with ``matrix`` (out, in)."""
        b = self.weight(f"{name}.b", bias)
        if self.precision != "int8":
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
) -> onnx.ModelProto:
    """Return the encoder as an ONNX model.

    ``scales`` (see calibration) tame outlying channels for int8; other precisions ignore them.

    Inputs: ``input_ids`` int32 (batch, tokens); ``pool`` float (batch, spans, tokens), rows of
    pooling weights; with ``padded`` also ``lengths`` int32 (batch,), the tokens that count in each
    row. Output: ``pooled`` float (batch, spans, hidden), not normalised.
    """
    graph = _Graph(precision, scales or {})
    x = _embed(graph, weights)
    for layer in range(weights.shape.layers):
        x = _layer(graph, weights, x, f"l{layer}", padded)
    graph.node("MatMul", ["pool", x], "pooled")
    return _model(graph, weights.shape.hidden, padded)


def _model(graph: _Graph, hidden: int, padded: bool) -> onnx.ModelProto:
    float_type = TensorProto.FLOAT16 if graph.precision == "fp16" else TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "tokens"]),
        helper.make_tensor_value_info("pool", float_type, ["batch", "spans", "tokens"]),
    ]
    if padded:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    output = helper.make_tensor_value_info("pooled", float_type, ["batch", "spans", hidden])
    return helper.make_model(
        helper.make_graph(graph.nodes, "encoder", inputs, [output], graph.weights),
        opset_imports=[helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=_IR_VERSION,
        producer_name="domain-assistant",
    )


def _embed(graph: _Graph, weights: EncoderWeights) -> str:
    tensors = weights.tensors
    words = _words(graph, tensors["emb.word"])
    # Only one token type is used, so its vector belongs to every position.
    table = graph.weight("emb.pos", tensors["emb.pos"] + tensors["emb.type"])
    shape = graph.node("Shape", ["input_ids"], "shape", start=1, end=2)
    start = graph.weight("start", np.zeros(1, dtype=np.int64))
    positions = graph.node("Slice", [table, start, shape], "positions")
    return graph.layer_norm(words, positions, "embedding", weights, "emb.ln")


def _words(graph: _Graph, table: FloatArray) -> str:
    if graph.precision != "int8":
        return graph.node("Gather", [graph.weight("emb.word", table), "input_ids"], "words")
    values, scale = quantise_columns(table.T)
    rows = graph.node(
        "Gather", [graph.weight("emb.word", values.T), "input_ids"], "words/quantised"
    )
    scales = graph.node(
        "Gather", [graph.weight("emb.word.s", scale[:, None]), "input_ids"], "words/scales"
    )
    rows = graph.node("Cast", [rows], "words/cast", to=TensorProto.FLOAT)
    return graph.node("Mul", [rows, scales], "words")


def _layer(graph: _Graph, weights: EncoderWeights, x: str, name: str, padded: bool) -> str:
    tensors, heads = weights.tensors, weights.shape.heads
    merged = [np.concatenate([tensors[f"{name}.{m}.{p}"] for m in "qkv"]) for p in "wb"]
    packed = graph.linear(x, f"{name}.qkv", merged[0], merged[1])
    parts = graph.nodes_out(
        "Split", [packed], [f"{name}/{m}" for m in "qkv"], axis=-1, num_outputs=3
    )
    if padded:
        attended = graph.node(
            "MultiHeadAttention",
            [*parts, "", "lengths"],
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
