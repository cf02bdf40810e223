"""Heads and prompts on the graph, in every precision, against BERT in plain numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_models as tiny
import tuned_models as made

from assistant.errors import ModelError
from assistant.models.build.graph import build_graph
from assistant.models.build.tuned import apply
from assistant.models.build.tuned_build import build_tuned, pooling_of
from assistant.models.build.weights import PROMPT, EncoderWeights
from assistant.models.heads import HeadSpec, head_from_json, head_to_json
from assistant.models.manifest import read_manifest
from assistant.models.session import CpuBackend, Tokens, pad

LENGTHS = (2, 3, 7, 20, 30)
HEADS = (
    made.SENTIMENT,
    replace(made.TOPICS, normalise=True),
    made.TAGS,
    replace(made.SPAN, normalise=True),
)


def tensors(dense: bool = False, prompt: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    hidden = tiny.SHAPE.hidden
    found: dict[str, np.ndarray] = {}
    if dense:
        for name in ("sentiment", "tagger"):
            found[f"head.{name}.dense.w"] = random.normal(scale=0.3, size=(hidden, hidden))
            found[f"head.{name}.dense.b"] = random.normal(scale=0.3, size=hidden)
    if prompt:
        found[PROMPT] = random.normal(scale=0.2, size=(prompt, hidden))
    return {name: value.astype(np.float32) for name, value in found.items()}


def weights_of(dense: bool, prompt: int) -> EncoderWeights:
    return apply(made.tuned(*HEADS, tensors=tensors(dense, prompt)), tiny.weights(), made.SHA)


def hidden_states(weights: EncoderWeights, ids: np.ndarray) -> np.ndarray:
    """BERT with the prompt's vectors as if they were words of the vocabulary."""
    prompt = weights.tensors.get(PROMPT)
    if prompt is None:
        return tiny.numpy_encoder(weights, ids)
    words = np.concatenate([weights.tensors["emb.word"], prompt])
    size = len(weights.tensors["emb.word"])
    longer = np.concatenate([np.arange(size, size + len(prompt)), ids])
    other = replace(weights, tensors={**weights.tensors, "emb.word": words})
    return tiny.numpy_encoder(other, longer)[len(prompt) :]


def expected(weights: EncoderWeights, text: Tokens) -> dict[str, np.ndarray]:
    states = hidden_states(weights, text.ids)
    found = {"pooled": text.pool @ states}
    for head in HEADS:
        x = states if head.kind == "token" else found["pooled"]
        if head.normalise:
            x = x / np.linalg.norm(x, axis=-1, keepdims=True)
        t, key = weights.tensors, f"head.{head.name}"
        if f"{key}.dense.w" in t:
            x = np.tanh(x @ t[f"{key}.dense.w"].T + t[f"{key}.dense.b"])
        found[head.name] = x @ t[f"{key}.out.w"].T + t[f"{key}.out.b"]
    return found


def text_of(length: int) -> Tokens:
    random = np.random.default_rng(length)
    ids = random.integers(0, len(tiny.PIECES), length).astype(np.int32)
    return Tokens(ids, np.full((1, length), 1 / length, dtype=np.float32))


@pytest.mark.parametrize("prompt", [0, 6])
@pytest.mark.parametrize("dense", [False, True])
def test_fp32_heads_equal_numpy(dense: bool, prompt: int) -> None:
    weights = weights_of(dense, prompt)
    graph = build_graph(weights, "fp32", padded=False, heads=HEADS)
    backend = CpuBackend(graph.SerializeToString(), 1)
    for length in LENGTHS:
        found = backend.run([text_of(length)])[0]
        wanted = expected(weights, text_of(length))
        assert set(found) == set(wanted)
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=f"{name} {length}")
    backend.close()


@pytest.mark.parametrize("prompt", [0, 6])
def test_padded_graphs_give_every_head_the_same(prompt: int) -> None:
    """The graph CUDA runs, here in fp32 on CPU, over one batch of different lengths."""
    weights = weights_of(dense=True, prompt=prompt)
    model = build_graph(weights, "fp32", padded=True, heads=HEADS).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    texts = [text_of(length) for length in LENGTHS]
    ids, lengths, pool = pad(texts)
    for filler in (0, 5):
        ids[np.arange(ids.shape[1])[None] >= lengths[:, None]] = filler
        feed = {"input_ids": ids, "lengths": lengths, "pool": pool}
        outputs = dict(zip(names, session.run(None, feed), strict=True))
        for row, text in enumerate(texts):
            for name, value in expected(weights, text).items():
                found = outputs[name][row, : len(value)]
                np.testing.assert_allclose(found, value, atol=1e-4, err_msg=name)


def test_a_token_head_alone_takes_no_pooling() -> None:
    weights = apply(made.tuned(made.TAGS), tiny.weights(), made.SHA)
    graph = build_graph(weights, "fp32", padded=False, heads=(made.TAGS,))
    assert [value.name for value in graph.graph.input] == ["input_ids"]
    assert [value.name for value in graph.graph.output] == ["tagger"]


@pytest.mark.parametrize(
    "name", ["start", "words", "shape", "positions", "embedding", "qkv", "batch_size", "ends"]
)
def test_no_name_of_a_head_clashes_with_the_graph(name: str) -> None:
    head = replace(made.SENTIMENT, name=name)
    weights = apply(made.tuned(head, tensors=tensors(prompt=3)), tiny.weights(), made.SHA)
    backend = CpuBackend(
        build_graph(weights, "int8", padded=False, heads=(head,)).SerializeToString(), 1
    )
    assert backend.run([text_of(5)])[0][name].shape == (1, 3)
    backend.close()


def test_int8_stays_close(tmp_path: Path) -> None:
    manifest = made.built(tmp_path / "m", made.SENTIMENT, made.TAGS, precision="int8")
    assert manifest.parity["mean_cosine"] > 0.99
    assert manifest.parity["sentiment_difference"] < 0.05
    assert manifest.parity["tagger_agreement"] > 0.9
    assert read_manifest(tmp_path / "m") == manifest
    assert manifest.heads == (made.SENTIMENT, made.TAGS)


def test_a_model_that_strays_is_refused(tmp_path: Path) -> None:
    """NaN compares false with everything: no gate may let it through."""
    broken = {"l1.fo.b": np.full(tiny.SHAPE.hidden, np.nan, dtype=np.float32)}
    for place, heads in enumerate(((), (made.SENTIMENT,), (made.TAGS,))):
        folder = tmp_path / str(place)
        with pytest.raises(ModelError, match="strays"):
            build_tuned(made.tuned(*heads, tensors=broken), made.base(), folder)
        assert not (folder / "manifest.json").exists()


def test_heads_share_their_pooling(tmp_path: Path) -> None:
    heads = (made.SENTIMENT, replace(made.TOPICS, pooling="first"))
    with pytest.raises(ModelError, match="share their pooling"):
        made.built(tmp_path / "m", *heads)
    assert pooling_of(heads[1:]) == "first"
    assert pooling_of((made.TAGS,)) == "mean"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Intent"}, "a letter first"),
        ({"name": "pooled"}, "input or output of that name"),
        ({"kind": "span"}, "kind is 'span'"),
        ({"activation": "relu"}, "softmax, sigmoid"),
        ({"labels": ()}, "has 0 labels"),
        ({"labels": ("a", "a")}, r"2 labels \(1 distinct\)"),
        ({"temperature": 0.0}, "temperature 0.0 must be above 0"),
        ({"temperature": float("nan")}, "temperature nan"),
        ({"threshold": 1.5}, "threshold 1.5"),
    ],
)
def test_impossible_heads_are_refused(changes: dict[str, object], message: str) -> None:
    head = replace(made.SENTIMENT, **changes)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        head.check()
    with pytest.raises(ModelError, match=message):
        head_from_json(head_to_json(head))


def test_heads_read_back_from_json() -> None:
    for head in HEADS:
        assert head_from_json(head_to_json(head)) == head
    for damaged in (None, 5, {"name": "x"}, {**head_to_json(made.TAGS), "temperature": "hot"}):
        with pytest.raises(ModelError, match="described wrongly"):
            head_from_json(damaged)
    later = {**head_to_json(made.TAGS), "of_a_later_version": 1}
    assert head_from_json(later) == made.TAGS
    assert isinstance(head_from_json(later), HeadSpec)
