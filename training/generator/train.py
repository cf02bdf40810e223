"""Fine-tuning and causal pre-training of a decoder with transformers' Trainer."""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import ModelError, StorageError
from training.generator.model import answer_loss, chosen_bf16, load_decoder, prepare, trainable
from training.generator.plan import GeneratorPlan
from training.generator.source import BaseModel
from training.generator.tokens import TokenRow, collate

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands. Losses are mean cross-entropies a token, None when not measured yet."""

    step: int
    steps: int
    seconds: float
    seconds_left: float
    loss: float | None
    valid_loss: float | None


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: the trained model (a torch module) and what it took."""

    model: Any
    steps: int
    seconds: float
    examples: int
    trainable_parameters: int
    precision: str
    valid_loss: float | None
    history: tuple[dict[str, float], ...]
    resumed_from: int


def train(
    plan: GeneratorPlan,
    base: BaseModel,
    rows: Sequence[TokenRow],
    valid: Sequence[TokenRow],
    *,
    folder: Path,
    report: Report | None = None,
) -> Outcome:
    """Train on ``rows`` and return the best model by the loss on ``valid`` (the last without it).

    Checkpoints go to ``folder``; a run that was killed goes on from the last whole one. Raises
    ModelError when the loss is no longer a number.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers import set_seed

    set_seed(plan.seed)
    bf16 = chosen_bf16(plan)
    # What is trained stays fp32, products are computed in bfloat16 (autocast). A frozen base is
    # held in bfloat16, or each product would cast its weights anew.
    model = prepare(load_decoder(base.folder, bf16=bf16 and plan.method == "lora"), plan)
    trainer = _trainer(plan, model, (rows, valid), folder, bf16)
    watch = _watch(plan, report, bool(valid))
    trainer.add_callback(watch)
    checkpoint = _last_checkpoint(folder)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint)
    state = trainer.state
    if any(entry.get("loss") != entry.get("loss") for entry in state.log_history):
        raise ModelError("The loss is no longer a number: lower train.learning_rate.")
    resumed = int(checkpoint.rsplit("-", 1)[1]) if checkpoint else 0
    steps_here = state.global_step - resumed
    return Outcome(
        model=trainer.model,
        steps=state.global_step,
        seconds=time.perf_counter() - started,
        examples=steps_here * plan.batch_size * plan.accumulate,
        trainable_parameters=trainable(trainer.model),
        precision="bf16" if bf16 else "fp32",
        valid_loss=state.best_metric if valid else None,
        history=tuple(_numbers(entry) for entry in state.log_history),
        resumed_from=resumed,
    )


def _trainer(
    plan: GeneratorPlan,
    model: Any,
    data: tuple[Sequence[TokenRow], Sequence[TokenRow]],
    folder: Path,
    bf16: bool,
) -> Any:
    import torch
    from safetensors import SafetensorError
    from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

    class AnswerTrainer(Trainer):
        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            inner = self.accelerator.unwrap_model(model)
            loss = answer_loss(inner, inputs, num_items_in_batch, bf16=bf16)
            return (loss, {"loss": loss}) if return_outputs else loss

        def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            try:
                super()._save_checkpoint(*args, **kwargs)
            except (OSError, RuntimeError, SafetensorError) as error:
                # torch and safetensors each tell a full disk in their own way.
                raise StorageError(
                    f"The checkpoint cannot be written to {folder} ({str(error)[:150]}). Free "
                    "some space and run the recipe again: it goes on from the last whole one."
                ) from error

    rows, valid = data
    per_step = plan.batch_size * plan.accumulate
    steps = plan.max_steps or max(1, round(plan.epochs * len(rows) / per_step))
    every = min(plan.eval_every, steps)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=plan.batch_size,
        per_device_eval_batch_size=plan.batch_size,
        gradient_accumulation_steps=plan.accumulate,
        learning_rate=plan.learning_rate,
        warmup_steps=round(plan.warmup * steps),
        lr_scheduler_type=plan.decay,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.clip,
        use_cpu=not torch.cuda.is_available(),
        seed=plan.seed,
        data_seed=plan.seed,
        train_sampling_strategy="group_by_length" if plan.group_by_length else "random",
        eval_strategy="steps" if valid else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=bool(valid),
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        prediction_loss_only=True,
        logging_steps=max(1, min(10, every)),
        # Else a loss that is no number would be shown as the last one that was.
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    pad = model.config.pad_token_id
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        data_collator=functools.partial(collate, pad=pad if pad is not None else 0),
        train_dataset=_Rows(rows),
        eval_dataset=_Rows(valid) if valid else None,
    )
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    if valid and plan.patience:
        trainer.add_callback(EarlyStoppingCallback(plan.patience, plan.min_delta))
    return trainer


class _Rows:
    """Token rows as a map-style data set."""

    def __init__(self, rows: Sequence[TokenRow]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, tuple[int, ...]]:
        row = self._rows[index]
        return {"input_ids": row.ids, "labels": row.labels}


def _watch(plan: GeneratorPlan, report: Report | None, has_valid: bool) -> Any:
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        """Tells where the run stands and ends it when its minutes are over."""

        def __init__(self) -> None:
            self._started = time.perf_counter()
            self._first = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._started, self._first = time.perf_counter(), state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seconds = time.perf_counter() - self._started
            if plan.minutes and seconds >= 60 * plan.minutes:
                control.should_training_stop = True
                control.should_save = True
                control.should_evaluate = has_valid
            if report is not None:
                done = max(1, state.global_step - self._first)
                left = seconds / done * (state.max_steps - state.global_step)
                losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
                valid = [e["eval_loss"] for e in state.log_history if "eval_loss" in e]
                report(
                    Progress(
                        state.global_step,
                        state.max_steps,
                        seconds,
                        left,
                        losses[-1] if losses else None,
                        valid[-1] if valid else None,
                    )
                )

    return Watch()


def _last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end.

    The Trainer writes its state last, so a folder without it was cut off.
    """
    found = [
        (int(path.name.rsplit("-", 1)[1]), path)
        for path in folder.glob("checkpoint-*")
        if path.name.rsplit("-", 1)[1].isdigit() and (path / "trainer_state.json").is_file()
    ]
    return str(max(found)[1]) if found else None


def _numbers(entry: dict[str, Any]) -> dict[str, float]:
    return {key: float(value) for key, value in entry.items() if isinstance(value, int | float)}
