"""The training loop: transformers' Trainer, told what a recipe says.

What is added to it: checkpoints hold only what changes (the word vectors alone are 200 MB),
validation is the task's own metric, progress reaches a reporter, a time limit ends a run early.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainingArguments

from assistant.errors import InvalidInputError, StorageError
from assistant.models.loading import available_cores
from training.dropout import quicken
from training.recipe import Recipe
from training.reporting import Reporter
from training.sections import Train
from training.tuning import HEAD_RATE, LEARNING_RATES, counts

WEIGHTS = "trainable.safetensors"
_WHOLE = (WEIGHTS, "trainer_state.json")
"""What a checkpoint has that was written to its end, the state last."""
_UNWRITTEN = "inline_container.cc"
"""Where torch fails on a full disk; it says so by a RuntimeError."""
KEEP_SECONDS = 600.0
"""A run that is ended loses at most what it did in this time."""
Example: TypeAlias = Mapping[str, Any]
"""One training row: ``input_ids`` (a sequence, its length groups batches) and what the loss
needs."""
Collate: TypeAlias = Callable[[list[Example]], dict[str, Any]]
Validate: TypeAlias = Callable[[nn.Module], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a run of the loop took and reached. ``history`` is its log, one entry a line.

    ``judging`` is the share of ``seconds`` that went into validation.
    """

    steps: int
    seconds: float
    examples: int
    trainable: int
    parameters: int
    best: float | None
    judging: float = 0.0
    history: tuple[Mapping[str, float], ...] = field(default_factory=tuple)

    @property
    def examples_per_second(self) -> float:
        """Of training alone."""
        training = self.seconds - self.judging
        return self.examples / training if training > 0 else 0.0


def total_steps(recipe: Train, examples: int) -> int:
    """Return how many optimiser steps a run over this many examples takes."""
    if recipe.max_steps:
        return recipe.max_steps
    each = math.ceil(math.ceil(examples / recipe.batch_size) / recipe.accumulate)
    return max(1, math.ceil(each * recipe.epochs))


def fit(
    model: nn.Module,
    examples: Sequence[Example],
    collate: Collate,
    recipe: Recipe,
    folder: Path,
    *,
    reporter: Reporter,
    validate: Validate | None = None,
    metric: str = "",
    sampler: Callable[[], Sampler[int]] | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> Fitted:
    """Train ``model`` in place; with ``validate``, leave it as it was at its best ``metric``.

    An unfinished run in ``folder`` is taken up at its last checkpoint. Raises InvalidInputError
    without examples, StorageError when a checkpoint cannot be written.
    """
    if not examples:
        raise InvalidInputError("There are no training rows; look at the data card of the run.")
    torch.set_num_threads(recipe.train.threads or available_cores())
    if not torch.cuda.is_available():
        quicken(model)
    arguments = _arguments(recipe, folder, len(examples), validate is not None, metric)
    log = _Log(reporter, folder / "log.jsonl", recipe.train.minutes, validated=validate is not None)
    trainer = _Loop(
        model=model,
        args=arguments,
        train_dataset=examples,
        # Our own evaluation looks at no data set, but the Trainer insists on one.
        eval_dataset=examples if validate is not None else None,
        data_collator=collate,
        callbacks=[log, _Keep(), *_stopping(recipe.train, validate is not None), *callbacks],
        optimizers=(_optimizer(model, recipe), None),
    )
    trainer.validate, trainer.own_sampler = validate, sampler
    for noisy in ("PrinterCallback", "ProgressCallback"):
        _without(trainer, noisy)
    trainable, parameters = counts(model)
    started = time.perf_counter()
    try:
        trainer.train(resume_from_checkpoint=_resumable(folder))
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _UNWRITTEN not in str(error):
            raise
        raise StorageError(
            f"Training stopped: {folder} cannot be written ({error}). Free some space and run the "
            "same recipe again; it goes on from the last checkpoint."
        ) from error
    best = trainer.state.best_metric
    return Fitted(
        steps=trainer.state.global_step,
        seconds=time.perf_counter() - started,
        examples=trainer.state.global_step * recipe.train.batch_size * recipe.train.accumulate,
        trainable=trainable,
        parameters=parameters,
        best=None if best is None else float(best),
        judging=trainer.judging,
        history=tuple(log.lines),
    )


def _arguments(
    recipe: Recipe, folder: Path, examples: int, validated: bool, metric: str
) -> TrainingArguments:
    train = recipe.train
    steps = total_steps(train, examples)
    every = max(1, steps // train.evaluations) if train.evaluations else 0
    when = "steps" if every else "epoch"
    cuda = torch.cuda.is_available()
    schedule = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
    return TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=train.batch_size,
        gradient_accumulation_steps=train.accumulate,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        lr_scheduler_type=schedule[train.decay],
        warmup_steps=math.ceil(steps * train.warmup),
        max_grad_norm=train.clip,
        bf16=uses_bf16(train),
        use_cpu=not cuda,
        seed=recipe.recipe.seed,
        data_seed=recipe.recipe.seed,
        train_sampling_strategy="group_by_length" if train.group_by_length else "random",
        eval_strategy=when if validated else "no",
        eval_steps=every or None,
        save_strategy=when,
        save_steps=every or 500,
        save_total_limit=1,
        load_best_model_at_end=validated,
        metric_for_best_model=f"eval_{metric}" if validated else None,
        greater_is_better=True if validated else None,
        logging_steps=max(1, min(50, steps // 20)),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        label_names=[],
    )


def uses_bf16(train: Train) -> bool:
    """Whether matrix products run in bfloat16: as told, or where the hardware has them."""
    if train.precision != "auto":
        return train.precision == "bf16"
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported())


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return AdamW with rates for encoder and heads, no decay on biases and norms."""
    train = recipe.train
    rate = train.learning_rate or LEARNING_RATES[recipe.tuning.method]
    head_rate = train.head_learning_rate or max(rate, HEAD_RATE)
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and name != "prompt"
            groups.setdefault((name.startswith("heads."), decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": head_rate if head else rate,
                "weight_decay": train.weight_decay if decays else 0.0,
            }
            for (head, decays), parameters in groups.items()
        ],
        fused=True,
    )


class _Loop(Trainer):  # type: ignore[misc]
    """The Trainer, with our validation and with checkpoints of the trainable part only."""

    validate: Validate | None = None
    own_sampler: Callable[[], Sampler[int]] | None = None
    judging = 0.0

    @property
    def own(self) -> nn.Module:
        """The model that is trained, as it was given."""
        return cast("nn.Module", self.model)

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """Judge the model as the task does, in evaluation mode."""
        if self.validate is None:
            raise ValueError("evaluation asked for without a way to validate")
        started = time.perf_counter()
        self.own.eval()
        found = {f"eval_{name}": value for name, value in self.validate(self.own).items()}
        self.own.train()
        self.judging += time.perf_counter() - started
        self.log(dict(found))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        if self.own_sampler is not None:
            return self.own_sampler()
        return super()._get_train_sampler(train_dataset)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        del state_dict
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        own = {n: p.detach().contiguous() for n, p in _changing(self.own).items()}
        save_file(own, folder / WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        _load(model or self.own, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        _load(self.own, Path(str(self.state.best_model_checkpoint)))


def _changing(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _load(model: nn.Module, folder: Path) -> None:
    saved = load_file(folder / WEIGHTS)
    with torch.no_grad():
        for name, parameter in _changing(model).items():
            parameter.copy_(saved[name])


class _Log(TrainerCallback):  # type: ignore[misc]
    """Keeps the log of a run, tells the reporter, and ends the run when its time is up."""

    def __init__(self, reporter: Reporter, path: Path, minutes: float, *, validated: bool) -> None:
        self.lines: list[Mapping[str, float]] = []
        self._reporter, self._path = reporter, path
        self._limit, self._validated = minutes * 60, validated
        self._started = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        self._started = time.perf_counter()
        self._first = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args
        elapsed = time.perf_counter() - self._started
        done = state.global_step - self._first
        left = elapsed / done * (state.max_steps - state.global_step) if done else math.inf
        self._reporter.step(state.global_step, state.max_steps, left)
        if self._limit and elapsed > self._limit:
            control.should_training_stop = control.should_save = True
            control.should_evaluate = self._validated

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        del args, control
        line = {"step": state.global_step, "epoch": round(state.epoch or 0, 3)}
        line |= {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
        line["seconds"] = round(time.perf_counter() - self._started, 2)
        self.lines.append(line)
        self._reporter.log(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class _Keep(TrainerCallback):  # type: ignore[misc]
    """Has a checkpoint written at least every ``KEEP_SECONDS``, between validations too."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state, control
        self._since = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state
        if time.perf_counter() - self._since >= KEEP_SECONDS:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, state, control
        self._since = time.perf_counter()


def _stopping(train: Train, validated: bool) -> list[TrainerCallback]:
    from transformers import EarlyStoppingCallback

    if not (train.patience and validated):
        return []
    return [EarlyStoppingCallback(train.patience, train.min_delta)]


def _without(trainer: Trainer, name: str) -> None:
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ == name:
            trainer.remove_callback(callback)


def _resumable(folder: Path) -> str | None:
    """Return the last checkpoint that was written to its end."""
    logging.getLogger("transformers.trainer").setLevel(logging.ERROR)
    found = [path for path in folder.glob("checkpoint-*") if path.name.split("-")[-1].isdigit()]
    whole = [path for path in found if all((path / name).is_file() for name in _WHOLE)]
    last = max(whole, key=lambda path: int(path.name.split("-")[-1]), default=None)
    return str(last) if last else None
