"""Between the product's encoder weights and transformers' ``BertModel``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.weights import EncoderWeights, expected_shapes
from indexes.types import FloatArray

if TYPE_CHECKING:
    from torch import nn
    from transformers import BertModel

_MODULES = {
    "emb.word": "embeddings.word_embeddings",
    "emb.pos": "embeddings.position_embeddings",
    "emb.type": "embeddings.token_type_embeddings",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def torch_name(name: str) -> str:
    """Translate a canonical tensor name to transformers' one."""
    if name in _MODULES:
        return f"{_MODULES[name]}.weight"
    module, _, kind = name.rpartition(".")
    suffix = {"w": "weight", "b": "bias"}[kind]
    if module in _MODULES:
        return f"{_MODULES[module]}.{suffix}"
    layer, _, part = module.partition(".")
    return f"encoder.layer.{layer[1:]}.{_MODULES[part]}.{suffix}"


def torch_module(matrix: str) -> str:
    """Return the tail of the module name of a layer's matrix, like ``attention.self.query``."""
    return _MODULES[matrix]


def torch_model(weights: EncoderWeights, *, dropout: float = 0.1) -> BertModel:
    """Return the encoder as a transformers ``BertModel`` in evaluation mode, all weights set.

    ``dropout`` is that of hidden states and attention while it is trained. Tensors that are none
    of BERT's (heads, a prompt) are left out.
    """
    import torch
    from transformers import BertConfig, BertModel

    shape = weights.shape
    model = BertModel(
        BertConfig(
            vocab_size=len(weights.vocabulary.pieces),
            hidden_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ff,
            max_position_embeddings=shape.max_positions,
            type_vocab_size=1,
            layer_norm_eps=shape.epsilon,
            pad_token_id=weights.vocabulary.pad,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        ),
        add_pooling_layer=False,
    )
    names = expected_shapes(shape, len(weights.vocabulary.pieces))
    state = {torch_name(name): torch.from_numpy(weights.tensors[name].copy()) for name in names}
    key = torch_name("emb.type")
    state[key] = state[key][None]
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [name for name in missing if not name.endswith("position_ids")]:
        raise ValueError(f"weights do not fit BertModel: {missing=} {unexpected=}")
    model.eval()  # type: ignore[no-untyped-call]
    return model


def canonical(model: nn.Module, weights: EncoderWeights) -> dict[str, FloatArray]:
    """Return the tensors of a ``BertModel`` that now differ from ``weights``, by canonical name."""
    state: Mapping[str, object] = model.state_dict()
    changed = {}
    for name in expected_shapes(weights.shape, len(weights.vocabulary.pieces)):
        tensor = state[torch_name(name)]
        value: FloatArray = tensor.detach().float().cpu().numpy()  # type: ignore[attr-defined]
        value = value[0] if name == "emb.type" else value
        if not np.array_equal(value, weights.tensors[name]):
            changed[name] = value.copy()
    return changed


def hugging_face_folder(weights: EncoderWeights, folder: Path) -> Path:
    """Write the encoder and its tokeniser as transformers and sentence-transformers read them.

    A complete folder is left as it is; one cut short is written anew.
    """
    done = folder / "tokenizer_config.json"
    if done.is_file():
        return folder
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    torch_model(weights).save_pretrained(part)
    tokenizer = build_tokenizer(weights.vocabulary)
    tokenizer.save(str(part / "tokenizer.json"), pretty=False)
    words = weights.vocabulary
    special = {"bos": words.bos, "eos": words.eos, "pad": words.pad, "unk": words.unk}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": weights.shape.max_positions,
        "model_input_names": ["input_ids", "attention_mask"],
        **{f"{name}_token": tokenizer.id_to_token(place) for name, place in special.items()},
    }
    (part / done.name).write_text(json.dumps(config, indent=2), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder
