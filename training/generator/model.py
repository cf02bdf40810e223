"""The PyTorch side of a decoder: loading, choosing what is trained, the loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError, ModelError
from training.generator.plan import GeneratorPlan
from training.generator.tokens import IGNORED


def load_decoder(folder: Path, *, bf16: bool) -> Any:
    """Return the causal model of a Hugging Face folder, in fp32 or bfloat16.

    Raises ModelError when the weights do not fit the configuration. No remote code is run.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if bf16 else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"{folder} cannot be loaded as a decoder: {str(error)[:200]}") from error


def chosen_bf16(plan: GeneratorPlan) -> bool:
    """Say whether to compute in bfloat16: as set, or where the hardware multiplies it."""
    if plan.precision != "auto":
        return plan.precision == "bf16"
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def prepare(model: Any, plan: GeneratorPlan) -> Any:
    """Return ``model`` ready to train: only what the method tunes needs gradients.

    ``lora`` puts adapters into the named projections (Hu et al. 2021); ``top_layers`` trains the
    last layers and the final norm; ``full`` everything but the word vectors, which are more than
    half of a small decoder and tied to its output.
    """
    if plan.method == "lora":
        return _with_lora(model, plan)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_is_trained(name, model.config.num_hidden_layers, plan))
    return model


def trainable(model: Any) -> int:
    """Return how many parameters are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def answer_loss(model: Any, batch: dict[str, Any], items: Any = None, *, bf16: bool = False) -> Any:
    """Return the mean cross-entropy of the labelled tokens of ``batch``.

    The head is applied at labelled positions only: with a vocabulary of 262 thousand it costs more
    than all layers together. ``items`` is the number of labelled tokens to divide by, when a step
    consists of several batches. ``bf16`` computes products in bfloat16, the loss in fp32.
    """
    import torch
    from torch.nn import functional

    decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
    targets = batch["labels"][:, 1:]
    kept = targets != IGNORED
    with torch.autocast(targets.device.type, torch.bfloat16, enabled=bf16):
        hidden = decoder.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
        ).last_hidden_state
        logits = decoder.lm_head(hidden[:, :-1][kept]).float()
    cap = getattr(decoder.config, "final_logit_softcapping", None)
    if cap:
        logits = (logits / cap).tanh() * cap
    total = functional.cross_entropy(logits, targets[kept], reduction="sum")
    return total / (items if items is not None else kept.sum().clamp(min=1))


def _with_lora(model: Any, plan: GeneratorPlan) -> Any:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    config = LoraConfig(
        r=plan.rank,
        lora_alpha=plan.alpha,  # type: ignore[arg-type]  # any number serves
        lora_dropout=plan.dropout,
        target_modules=list(plan.targets),
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise InvalidInputError(
            f"The base has no modules named {', '.join(plan.targets)}: {str(error)[:150]}"
        ) from error
    for module in adapted.modules():
        if isinstance(module, BaseTunerLayer):
            # Else every input is copied to fp32 for its adapter; under autocast the adapter's
            # small weights are cast instead, which measured half the time of a step.
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010  (nn.Module stubs)
    return adapted


def _is_trained(name: str, layers: int, plan: GeneratorPlan) -> bool:
    if name.startswith("model.norm."):
        return True
    if not name.startswith("model.layers."):
        return False
    return plan.method == "full" or int(name.split(".")[2]) >= layers - plan.top_layers
