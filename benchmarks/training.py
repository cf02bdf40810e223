"""Training speed: this project's loop against the plain trainers of the libraries.

``python -m benchmarks.training [--threads 2] [--rounds 3] [--steps 12] [--json FILE]``

Same base, same texts of 32 tokens, same batch, same precision, same parameters trained (every
layer; word vectors frozen, as our recipes have them), the contenders in turns within each round.
Classification stands against ``transformers.Trainer`` with ``BertForSequenceClassification``,
contrastive training against ``SentenceTransformerTrainer`` with its ranking loss. The figure is the
best round of each, in examples a second between the first steps and the last; an example of
contrastive training is a pair, two texts. Exit status 1 when ours is more than 10 % behind, or
below 50 examples a second. Needs the ``train`` extra.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from assistant.models.build import gates
from assistant.models.heads import HeadSpec
from assistant.models.tokens import ModelTokenizer
from assistant.settings import Settings
from training import contrast, fitting, tuning
from training.base import Base, load_base
from training.contrast import Pair, PairModel
from training.loop import fit
from training.losses import SingleLabel
from training.modeling import TunedModel
from training.recipe import Recipe, make_recipe
from training.reporting import Silent
from training.run import switch_off_telemetry
from training.sections import Base as BaseSection
from training.sections import Contrast

TOKENS = 32
LABELS = 16
WARM = 4
AT_LEAST = 50.0
WITHIN = 0.9


@dataclass(frozen=True)
class Task:
    """What every contender gets: texts of exactly ``TOKENS`` tokens, and how many steps.

    ``source`` is a Hugging Face folder of the base.
    """

    base: Base
    source: Path
    texts: list[str]
    recipe: Recipe

    @property
    def tokenizer(self) -> ModelTokenizer:
        return self.base.model_tokenizer(TOKENS)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Times the steps after the first few, which warm up."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self._started = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args, control
        if state.global_step == WARM:
            self._started = time.perf_counter()
        self.steps = state.global_step - WARM
        self.seconds = time.perf_counter() - self._started

    def rate(self, batch: int) -> float:
        """Return examples a second."""
        return self.steps * batch / self.seconds


def texts_of(base: Base, count: int) -> list[str]:
    """Return ``count`` different bilingual texts that ``TOKENS`` tokens hold no whole one of."""
    pool = [part for pair in gates.SAMPLE for part in pair]
    random = np.random.default_rng(0)
    texts = [" ".join(random.choice(pool, 12)) for _ in range(count)]
    lengths = {len(item.tokens.ids) for item in base.model_tokenizer(TOKENS).texts(texts)}
    if lengths != {TOKENS}:
        raise ValueError(f"texts of {lengths} tokens; all should have {TOKENS}")
    return texts


def ours_classifying(task: Task, folder: Path) -> float:
    """Train a classifier as a recipe does."""
    torch.manual_seed(0)
    head = HeadSpec("label", "sequence", tuple(f"l{i}" for i in range(LABELS)), pooling="first")
    model = TunedModel(task.base.weights, [head], losses={"label": SingleLabel()})
    items = task.tokenizer.texts(task.texts)
    rows = [fitting.example(item, labels=i % LABELS) for i, item in enumerate(items)]
    return _ours(task, model, rows, fitting.collate(task.base.weights.vocabulary.pad), folder)


def ours_contrasting(task: Task, folder: Path) -> float:
    """Train an encoder as a recipe does."""
    torch.manual_seed(0)
    chunk = 2 * task.recipe.train.batch_size
    model = PairModel(task.base.weights, Contrast(temperature=0.05, chunk=chunk))
    items = task.tokenizer.texts(task.texts)
    half = len(items) // 2
    rows = [Pair(items[i], items[half + i], i).example() for i in range(half)]
    return _ours(task, model, rows, contrast.collate(task.base.weights.vocabulary.pad), folder)


def _ours(task: Task, model: TunedModel, rows: Any, collate: Any, folder: Path) -> float:
    tuning.prepare(model, task.recipe.tuning, task.recipe.train.max_steps)
    clock = Clock()
    fit(model, rows, collate, task.recipe, folder, reporter=Silent(), callbacks=[clock])
    return clock.rate(task.recipe.train.batch_size)


def plain_classifying(task: Task, folder: Path) -> float:
    """Train ``BertForSequenceClassification`` with the Trainer as it comes."""
    from transformers import (
        BertForSequenceClassification,
        DataCollatorWithPadding,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(0)
    model = BertForSequenceClassification.from_pretrained(task.source, num_labels=LABELS)
    _freeze_words(model.bert)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(task.source)
    prefix = task.base.original.query_prefix
    rows = [
        {**tokenizer(prefix + text, truncation=True, max_length=TOKENS), "labels": i % LABELS}
        for i, text in enumerate(task.texts)
    ]
    clock = Clock()
    Trainer(
        model=model,
        args=TrainingArguments(**_arguments(task, folder)),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[clock],
    ).train()
    return clock.rate(task.recipe.train.batch_size)


def plain_contrasting(task: Task, folder: Path) -> float:
    """Train with sentence-transformers' trainer and loss as they come."""
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    torch.manual_seed(0)
    parts = [
        Transformer(str(task.source), max_seq_length=TOKENS),
        Pooling(task.base.weights.shape.hidden),
    ]
    model = SentenceTransformer(modules=parts, device="cpu")
    _freeze_words(model[0].model)
    half = len(task.texts) // 2
    prefixed = [task.base.original.query_prefix + text for text in task.texts]
    rows = Dataset.from_dict({"anchor": prefixed[:half], "positive": prefixed[half:]})
    clock = Clock()
    SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(**_arguments(task, folder)),
        train_dataset=rows,
        loss=MultipleNegativesRankingLoss(model),
        callbacks=[clock],
    ).train()
    return clock.rate(task.recipe.train.batch_size)


def _freeze_words(encoder: Any) -> None:
    """Freeze what our recipes freeze: word, position and type vectors."""
    for name, part in encoder.embeddings.named_children():
        if name != "LayerNorm":
            part.requires_grad_(False)


def _arguments(task: Task, folder: Path) -> dict[str, Any]:
    train = task.recipe.train
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": train.batch_size,
        "max_steps": train.max_steps,
        "learning_rate": 5e-5,
        "bf16": train.precision == "bf16",
        "use_cpu": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1000,
        "dataloader_pin_memory": False,
    }


CONTENDERS: dict[str, dict[str, Callable[[Task, Path], float]]] = {
    "classification": {
        "ours": ours_classifying,
        "transformers.Trainer": plain_classifying,
    },
    "contrastive": {
        "ours": ours_contrasting,
        "SentenceTransformerTrainer": plain_contrasting,
    },
}


def measure(steps: int, rounds: int, threads: int, batch: int) -> dict[str, Any]:
    """Return the best examples a second of every contender, and ours over the library's."""
    switch_off_telemetry()
    base = load_base(BaseSection(), Settings())
    amx = bool(torch.cpu._is_amx_tile_supported())
    recipe = _recipe(steps, threads, batch, "bf16" if amx else "fp32")
    count = 2 * batch * (steps + WARM)
    task = Task(base, base.folder(Settings()), texts_of(base, min(count, 1024)), recipe)
    torch.set_num_threads(threads)
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
        "precision": recipe.train.precision,
        "batch": batch,
        "tokens": TOKENS,
    }
    for name, contenders in CONTENDERS.items():
        best = {who: 0.0 for who in contenders}
        for _ in range(rounds):
            for who, train in contenders.items():
                with tempfile.TemporaryDirectory() as folder:
                    best[who] = max(best[who], train(task, Path(folder)))
        library = next(who for who in contenders if who != "ours")
        report[name] = {
            "examples_per_second": {who: round(rate, 1) for who, rate in best.items()},
            "texts_per_second": round(best["ours"] * (2 if name == "contrastive" else 1), 1),
            "ours_over_library": round(best["ours"] / best[library], 3),
        }
    return report


def _recipe(steps: int, threads: int, batch: int, precision: str) -> Recipe:
    values = {
        "recipe": {"task": "encoder", "name": "benchmark"},
        "train": {
            "max_steps": steps + WARM,
            "batch_size": batch,
            "max_tokens": TOKENS,
            "precision": precision,
            "threads": threads,
            "group_by_length": False,
        },
    }
    return make_recipe(values, "benchmark")


def passed(report: dict[str, Any]) -> bool:
    """Say whether both targets hold."""
    return all(
        report[name]["ours_over_library"] >= WITHIN
        and report[name]["examples_per_second"]["ours"] >= AT_LEAST
        for name in CONTENDERS
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    report = measure(arguments.steps, arguments.rounds, arguments.threads, arguments.batch)
    report["passed"] = passed(report)
    text = json.dumps(report, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0 if report["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
