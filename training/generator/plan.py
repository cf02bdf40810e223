"""What a run of the generator needs to know; made from a recipe by the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from assistant.errors import InvalidInputError

Method = Literal["lora", "full", "top_layers"]
Precision = Literal["auto", "fp32", "bf16"]
ExportPrecision = Literal["int8", "fp32", "int4"]

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True, slots=True)
class GeneratorPlan:
    """One run. Lengths are in tokens, ``minutes`` and ``max_steps`` 0 mean no such bound.

    ``train``, ``valid``, ``test``: JSON Lines of ``training.generator.rows.Row`` or, with
    ``objective`` ``causal``, of ``{"text": …}``. ``eval_every`` counts optimiser steps.
    ``max_loss`` is the most the exported model may lose against PyTorch, in mean cross-entropy.
    """

    name: str
    base: str = "gemma-3-270m"
    objective: Literal["sft", "causal"] = "sft"
    train: tuple[Path, ...] = ()
    valid: tuple[Path, ...] = ()
    test: tuple[Path, ...] = ()
    seed: int = 13
    # tuning
    method: Method = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: tuple[str, ...] = LORA_TARGETS
    top_layers: int = 4
    # training
    epochs: float = 2.0
    max_steps: int = 0
    minutes: float = 0.0
    batch_size: int = 4
    accumulate: int = 4
    learning_rate: float = 3e-4
    warmup: float = 0.05
    decay: Literal["linear", "cosine", "constant"] = "cosine"
    weight_decay: float = 0.0
    clip: float = 1.0
    patience: int = 3
    min_delta: float = 1e-3
    precision: Precision = "auto"
    max_tokens: int = 256
    group_by_length: bool = True
    eval_every: int = 20
    max_rows: int = 0
    # export and gate
    precisions: tuple[ExportPrecision, ...] = ("int8",)
    context_tokens: int = 2048
    max_loss: float = 0.05
    max_new_tokens: int = 96
    eval_rows: int = 0
    licences: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        limits = {
            "rank": (self.rank, 1, 256),
            "batch_size": (self.batch_size, 1, 1024),
            "accumulate": (self.accumulate, 1, 1024),
            "max_tokens": (self.max_tokens, 16, 32768),
            "context_tokens": (self.context_tokens, 64, 32768),
            "learning_rate": (self.learning_rate, 1e-8, 1.0),
            "dropout": (self.dropout, 0.0, 0.9),
            "top_layers": (self.top_layers, 1, 1000),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InvalidInputError(f"{name} is {value}; it must be from {low} to {high}.")
        if not self.train:
            raise InvalidInputError("No training file is given; name at least one.")
        if not self.precisions:
            raise InvalidInputError("precisions is empty; name int8, fp32 or int4.")
