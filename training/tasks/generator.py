"""The generator: prompts and completions (or, for pre-training, plain text) to a served decoder.

Its base is a decoder, not the encoder other tasks start from, so it makes its version by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from assistant.errors import InvalidInputError
from assistant.evaluation import Metric
from assistant.models.generation.generator import open_generator
from assistant.models.names import SHARED_TENANT
from assistant.models.passport import DataNote, Gate, Passport
from assistant.models.store import ModelStore
from assistant.settings import Settings
from training.data.pipeline import prepare
from training.data.rows import ChatExample, Kind, PlainText
from training.data.rows import Row as DataRow
from training.data.storage import Prepared, card_json
from training.generator.evaluate import evaluate
from training.generator.plan import GeneratorPlan
from training.generator.rows import Row, row_of
from training.generator.start import resolve_start
from training.generator.task import Examples, passport_of, run
from training.recipe import Recipe
from training.reporting import Reporter

KIND: Kind = "chat"
METRIC = "right"

_TARGETS = {
    "q": ("q_proj",),
    "k": ("k_proj",),
    "v": ("v_proj",),
    "ao": ("o_proj",),
    "fi": ("gate_proj", "up_proj"),
    "fo": ("down_proj",),
}
_RATES = {"lora": 3e-4, "top_layers": 1e-4, "full": 2e-5}


def make(
    recipe: Recipe,
    settings: Settings,
    reporter: Reporter,
    folder: Path,
    *,
    tenant: str = SHARED_TENANT,
) -> Passport:
    """Make the version in ``folder/version`` and return its passport.

    Raises as ``training.generator.task.run``; InvalidInputError for recipe values that generators
    do not know.
    """
    if recipe.data is None:
        raise InvalidInputError(f"Recipe {recipe.recipe.name} has no [data] section.")
    causal = recipe.recipe.task == "pretrain"
    reporter.stage("preparing the data")
    data = prepare(recipe.data, "text" if causal else KIND, folder / "data")
    reporter.stage(f"opening the base {recipe.base.model}")
    base = resolve_start(recipe.base.model, settings, tenant)
    examples = examples_of(data)
    plan = plan_of(recipe, len(examples.train))
    made = run(plan, examples, base, folder, reporter)
    in_use = _in_use(recipe, settings, tenant, {"valid": examples.valid, "test": examples.test})
    gate = _gate(recipe, made.metrics, in_use, made.parity["int8_loss_added"])
    licences = {*data.card.licences, recipe.base.licence or base.licence} - {""}
    rows = {"train": len(data.train), "valid": len(data.valid), "test": len(data.test)}
    note = DataNote(data.card.sha256, tuple(sorted(licences)), rows, card_json(data.card))
    return passport_of(made, plan, recipe=recipe.resolved(), data=note, gate=gate)


def plan_of(recipe: Recipe, rows: int) -> GeneratorPlan:
    """Return what the recipe asks of a generator; ``rows`` sets how often it is evaluated."""
    tuning, training = recipe.tuning, recipe.train
    if tuning.method not in _RATES:
        raise InvalidInputError(
            f"tuning.method is {tuning.method!r}; a generator knows {', '.join(_RATES)}."
        )
    if "fp16" in recipe.export.precisions:
        raise InvalidInputError("export.precisions: a generator knows int8, fp32 and int4.")
    steps = training.max_steps or max(
        1, round(training.epochs * rows / (training.batch_size * training.accumulate))
    )
    evaluations = training.evaluations or max(1, round(training.epochs))
    causal = recipe.recipe.task == "pretrain"
    precisions = dict.fromkeys((*recipe.export.precisions, recipe.generation.export))
    return GeneratorPlan(
        name=recipe.recipe.name,
        base=recipe.base.model,
        objective="causal" if causal else "sft",
        train=(Path("train"),),
        seed=recipe.recipe.seed,
        method=tuning.method,  # type: ignore[arg-type]  # checked above
        rank=tuning.rank,
        alpha=tuning.alpha,
        dropout=tuning.dropout,
        targets=tuple(name for key in tuning.targets for name in _TARGETS[key]),
        top_layers=tuning.layers,
        epochs=training.epochs,
        max_steps=training.max_steps,
        minutes=training.minutes,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        learning_rate=training.learning_rate or _RATES[tuning.method],
        warmup=training.warmup,
        decay=training.decay,
        weight_decay=training.weight_decay,
        clip=training.clip,
        patience=training.patience,
        min_delta=training.min_delta,
        precision=training.precision,
        max_tokens=recipe.pretrain.block_tokens if causal else training.max_tokens,
        group_by_length=training.group_by_length and not causal,
        eval_every=max(1, steps // evaluations),
        precisions=tuple(precisions),  # type: ignore[arg-type]  # checked above
        max_loss=recipe.export.max_loss,
        max_new_tokens=recipe.generation.max_new_tokens,
    )


def examples_of(data: Prepared) -> Examples:
    """Return prepared rows as what the generator learns from."""
    if data.kind == "text":
        return Examples(train_texts=_texts(data.train), valid_texts=_texts(data.valid))
    return Examples(_rows(data.train), _rows(data.valid), _rows(data.test))


def _texts(rows: Sequence[DataRow]) -> list[str]:
    return [row.text for row in rows if isinstance(row, PlainText)]


def _rows(rows: Sequence[DataRow]) -> list[Row]:
    """A conversation's turns before the last are its prompt, a line each."""
    found = []
    for row in rows:
        if isinstance(row, ChatExample):
            prompt = "\n".join(message.content for message in row.messages[:-1])
            answer = row.messages[-1].content
            found.append(row_of(prompt, answer, row.group, dict(row.extra)))
    return found


def _gate(
    recipe: Recipe,
    metrics: Mapping[str, Mapping[str, Metric]],
    current: Callable[[str], tuple[str, Metric] | None],
    int8_added: float,
) -> Gate:
    """Judge on test rows, else on validation, against the recipe's bar and the version in use.

    ``current`` measures the version in use on the rows of a split.
    """
    metric = recipe.gate.metric or METRIC
    split = "test" if "test" in metrics else "valid"
    if split not in metrics:
        reason = f"plain text; int8 adds {int8_added:.4f} to the loss"
        return Gate("int8_loss_added", None, True, reason, int8_added)
    known = metrics[split]
    if metric not in known:
        names = ", ".join(sorted(known))
        raise InvalidInputError(f"gate.metric is {metric!r}; these rows measure {names}.")
    own, bar, name = known[metric], recipe.gate.at_least, f"{split}.{metric}"
    if own.value < bar:
        return Gate(name, bar, False, "below the recipe's bar", own.value)
    other = current(split) if recipe.gate.beat_current else None
    if other is None:
        return Gate(name, bar, True, "", own.value)
    if own.value < other[1].low:
        reason = f"below the interval of {other[0]}, which reaches {other[1].value:.4f}"
        return Gate(name, bar, False, reason, own.value)
    return Gate(name, bar, True, f"{other[0]} reaches {other[1].value:.4f}", own.value)


def _in_use(
    recipe: Recipe, settings: Settings, tenant: str, rows: Mapping[str, Sequence[Row]]
) -> Callable[[str], tuple[str, Metric] | None]:
    """Return what measures the version in use; it gives None when there is none that works."""

    def measure(split: str) -> tuple[str, Metric] | None:
        version = ModelStore.of(settings).current_or_none("generator", recipe.recipe.name, tenant)
        if version is None:
            return None
        try:
            with open_generator(version.part("int8")) as opened:
                report = evaluate(opened, rows[split], max_tokens=recipe.generation.max_new_tokens)
            return str(version.ref), report.metrics[recipe.gate.metric or METRIC]
        except Exception as error:  # whatever is wrong with the old one must not stop the new one
            log = logging.getLogger(__name__)
            log.warning("%s cannot be compared with: %s", version.ref, error)
            return None

    return measure
