"""Ways of tuning: which parameters change, and how what changed is taken out of the model.

LoRA and AdaLoRA are peft's; what they learnt is read back as two factors a matrix, scaling folded
in, so that nothing of peft is needed where the model is served.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from torch import nn

from assistant.errors import InvalidInputError
from assistant.models.build.tuned import LORA_A, LORA_B
from assistant.models.build.weights import PROMPT, EncoderWeights
from indexes.types import FloatArray
from training.bert import canonical, torch_module
from training.modeling import TunedModel
from training.sections import Tuning

_MODULE = re.compile(r"encoder\.layer\.(\d+)\.(.+)$")
_SHORT = {torch_module(name): name for name in ("q", "k", "v", "ao", "fi", "fo")}

LEARNING_RATES = {
    "full": 1e-4,
    "top_layers": 1e-4,
    "lora": 5e-4,
    "adalora": 2e-3,
    "prompt": 1e-2,
    "few_shot": 1e-4,
    "zero_shot": 0.0,
}
"""By method, for batches of about 32; heads start from nothing and take ``HEAD_RATE``."""
HEAD_RATE = 1e-3


def prompt_tokens(tuning: Tuning) -> int:
    """Return how many prompt vectors the method asks for."""
    return tuning.tokens if tuning.method == "prompt" else 0


def prepare(model: TunedModel, tuning: Tuning, total_steps: int) -> None:
    """Leave trainable exactly what the method changes; put adapters into the encoder.

    ``total_steps`` is what AdaLoRA plans its pruning by. Raises InvalidInputError when the recipe
    asks for more layers than there are.
    """
    encoder = model.encoder
    _freeze(encoder)
    if model.prompt is not None:
        model.prompt.requires_grad_(tuning.method == "prompt")
    match tuning.method:
        case "full" | "few_shot":
            _thaw(encoder.encoder)
            for name, part in encoder.embeddings.named_children():
                if tuning.embeddings or name == "LayerNorm":
                    _thaw(part)
        case "top_layers":
            layers = encoder.encoder.layer
            if tuning.layers > len(layers):
                raise InvalidInputError(
                    f"tuning.layers is {tuning.layers}; the base has {len(layers)} layers."
                )
            for layer in layers[-tuning.layers :]:
                _thaw(layer)
        case "lora" | "adalora":
            model.encoder = _with_adapters(encoder, tuning, total_steps)
        case _:
            pass


def callbacks(model: TunedModel, tuning: Tuning) -> list[Any]:
    """Return what the method needs to be told at each step."""
    if tuning.method != "adalora":
        return []
    from transformers import TrainerCallback

    class Allocate(TrainerCallback):  # type: ignore[misc]
        """Lets AdaLoRA prune after each step, while the gradients it judges by still stand."""

        def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            model.encoder.update_and_allocate(state.global_step)

    return [Allocate()]


def counts(model: nn.Module) -> tuple[int, int]:
    """Return how many parameters change, and how many there are."""
    parameters = list(model.parameters())
    return (
        sum(p.numel() for p in parameters if p.requires_grad),
        sum(p.numel() for p in parameters),
    )


def tensors(model: TunedModel, weights: EncoderWeights) -> dict[str, FloatArray]:
    """Return what differs from ``weights``: adapters or replaced tensors, prompt, heads."""
    found: dict[str, FloatArray] = {}
    if hasattr(model.encoder, "peft_config"):
        for name, module in model.encoder.named_modules():
            place = _MODULE.search(name)
            if place and place[2] in _SHORT and hasattr(module, "lora_A"):
                key = f"l{place[1]}.{_SHORT[place[2]]}"
                found[key + LORA_A], found[key + LORA_B] = _factors(module)
    else:
        found.update(canonical(model.encoder, weights))
    if model.prompt is not None:
        found[PROMPT] = _array(model.prompt)
    for name, head in model.heads.items():
        for part in ("dense", "out"):
            layer: Any = getattr(head, part)
            if layer is not None:
                found[f"head.{name}.{part}.w"] = _array(layer.weight)
                found[f"head.{name}.{part}.b"] = _array(layer.bias)
    return found


def merge(model: TunedModel) -> None:
    """Fold adapters into the encoder's matrices, so that it runs as it will be served."""
    if hasattr(model.encoder, "merge_and_unload"):
        model.encoder = model.encoder.merge_and_unload()


def _with_adapters(encoder: Any, tuning: Tuning, total_steps: int) -> Any:
    from peft import AdaLoraConfig, LoraConfig, get_peft_model

    common: dict[str, Any] = {
        "target_modules": r"encoder\.layer\.\d+\.("
        + "|".join(re.escape(torch_module(name)) for name in tuning.targets)
        + ")",
        "lora_alpha": tuning.alpha,
        "lora_dropout": tuning.dropout,
    }
    if tuning.method == "lora":
        return get_peft_model(encoder, LoraConfig(r=tuning.rank, **common))
    # Zhang et al. 2023 (arXiv:2303.10512): begin with half as much again, prune to the rank wanted
    # between a tenth and two thirds of the way.
    config = AdaLoraConfig(
        init_r=tuning.rank + tuning.rank // 2,
        target_r=tuning.rank,
        tinit=max(1, total_steps // 10),
        tfinal=max(1, total_steps // 3),
        deltaT=max(1, total_steps // 100),
        total_step=max(total_steps, 4),
        **common,
    )
    return get_peft_model(encoder, config)


def _factors(module: Any) -> tuple[FloatArray, FloatArray]:
    """Return a peft layer's factors a (rank, in) and b (out, rank), with b @ a what it adds."""
    adapter = module.active_adapters[0]
    a, b = module.lora_A[adapter], module.lora_B[adapter]
    scaling = float(module.scaling[adapter])
    if hasattr(module, "lora_E"):
        singular = _array(module.lora_E[adapter])
        kept = np.abs(singular[:, 0]) > 0
        rank = float(module.ranknum[adapter].item()) + 1e-5
        left = _array(a)[kept] * singular[kept]
        return left, _array(b)[:, kept] * np.float32(scaling / rank)
    return _array(a.weight), _array(b.weight) * np.float32(scaling)


def _array(value: Any) -> FloatArray:
    result: FloatArray = value.detach().float().cpu().numpy().copy()
    return result


def _freeze(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def _thaw(module: nn.Module) -> None:
    for parameter in module.parameters():
        parameter.requires_grad_(True)
