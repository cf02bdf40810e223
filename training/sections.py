"""The sections of a recipe: what each key means, what it may be, and what it is unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from assistant.models.reader import MAX_ANSWER_TOKENS
from training.data.spec import DataSpec, Names, Paths

Task = Literal[
    "encoder",
    "reranker",
    "reader",
    "classifier",
    "tagger",
    "multitask",
    "generator",
    "pretrain",
]
ClassifierKind = Literal["intent", "sentiment", "topic", "risk", "classifier"]
Method = Literal["full", "top_layers", "lora", "adalora", "prompt", "few_shot", "zero_shot"]
Matrix = Literal["q", "k", "v", "ao", "fi", "fo"]


class Section(BaseModel):
    """A section of a recipe; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class About(Section):
    """What is trained. ``kind`` is a classifier's place in the registry.

    An encoder, reranker or classifier is distilled when ``distil.teacher`` names a version.
    """

    task: Task
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    kind: ClassifierKind = "classifier"
    description: str = ""
    seed: int = Field(default=13, ge=0, lt=2**32)


class Base(Section):
    """What training starts from: the name of a built-in base, a folder or hub id with
    safetensors, or a trained version (``registry:TASK/NAME`` or ``registry:TASK/NAME@vN``).

    ``licence`` is stated for bases that do not carry their own. ``characters`` cuts Chinese into
    single characters, for names and answers that would else end inside a token; a model goes on as
    its parent was tuned. ``heads`` false leaves a trained version's heads behind: what it learnt of
    one task is the start of another.
    """

    model: str = "e5-small-zh-en"
    licence: str = ""
    characters: bool = False
    heads: bool = True


class Tuning(Section):
    """Which parameters change. Heads always do.

    ``full``: every layer; ``top_layers``: the last ``layers`` ones; ``lora`` and ``adalora``:
    low-rank factors of ``rank`` beside the matrices in ``targets``; ``prompt``: ``tokens`` vectors
    before the words; ``few_shot``: contrastive tuning on pairs of equal and unequal labels, then a
    linear head (SetFit) or, with ``few_shot_head = "prototypes"``, no training and the nearest
    mean; with ``describe`` what a label is called, or its ``descriptions``, are rows as well;
    ``zero_shot``: no training, labels are told by their ``descriptions`` (one or several a label;
    else the label's own words), each put into every one of ``templates`` for ``{}``.
    ``embeddings``: word vectors change too (full only); they are most of the parameters and most
    of the time.
    """

    method: Method = "full"
    layers: int = Field(default=2, ge=1)
    rank: int = Field(default=16, ge=1, le=256)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[Literal["q", "k", "v", "ao", "fi", "fo"], ...] = (
        "q",
        "k",
        "v",
        "ao",
        "fi",
        "fo",
    )
    tokens: int = Field(default=20, ge=1, le=100)
    embeddings: bool = False
    few_shot_head: Literal["logistic", "prototypes"] = "logistic"
    describe: bool = False
    descriptions: Mapping[str, Names] = Field(default_factory=dict)
    templates: Names = ("{}",)


class Train(Section):
    """How it is trained. ``max_steps`` and ``minutes`` end a run early when above 0.

    ``learning_rate`` 0 takes the method's own default (``training.tuning``). ``warmup`` is a share
    of all steps; ``decay`` the shape after it. ``patience`` counts evaluations without an
    improvement of ``min_delta`` in the validation metric; 0 never stops early. ``precision`` auto:
    bf16 where the hardware multiplies it, else fp32. ``consistency`` weighs how far two readings of
    a row under dropout may be apart (``training.consistency``). ``slips`` is the share of a
    classifier's rows that are read with typing errors, others every time (``training.slips``).
    """

    epochs: float = Field(default=3, gt=0)
    max_steps: int = Field(default=0, ge=0)
    minutes: float = Field(default=0, ge=0)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=0, ge=0, le=1)
    head_learning_rate: float = Field(default=0, ge=0, le=1)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    decay: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.01, ge=0)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    clip: float = Field(default=1.0, ge=0)
    patience: int = Field(default=0, ge=0)
    min_delta: float = Field(default=0.0, ge=0)
    class_weights: Literal["none", "balanced"] = "none"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    consistency: float = Field(default=0.0, ge=0, le=10)
    slips: float = Field(default=0.0, ge=0, le=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    max_tokens: int = Field(default=128, ge=8, le=512)
    group_by_length: bool = True
    evaluations: int = Field(default=0, ge=0, description="a run; 0: one an epoch")
    threads: int = Field(default=0, ge=0, le=256)


class Export(Section):
    """What is written. ``max_loss``: int8 may lose this much of the gate's metric against fp32."""

    precisions: tuple[Literal["int8", "fp16", "fp32"], ...] = ("int8",)
    max_loss: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _serves_on_cpu(self) -> Export:
        if "int8" not in self.precisions:
            raise ValueError("export.precisions must contain int8, which every CPU serves")
        return self


class Gate(Section):
    """When a version may be promoted: ``metric`` on the test split at least ``at_least``, and,
    with ``beat_current``, not significantly worse than the version in use on the same rows."""

    metric: str = ""
    at_least: float = 0.0
    beat_current: bool = True


class Head(Section):
    """One head: of a classifier (``heads.main``) or several on one encoder (multi-task).

    It is linear, or with ``dense`` has a layer with tanh before. ``start``: classifiers and taggers
    begin as a ``logistic`` regression on the untuned encoder, or at ``random``; one taken over from
    a parent or a teacher goes on from there.

    ``reject_label`` is given to what fits no label well: below the probability ``reject_below``, or
    where that is 0 below the one that rejects ``reject_cost`` of the right answers on validation
    rows.
    """

    kind: Literal["classify", "tag"] = "classify"
    data: DataSpec | None = None
    pooling: Literal["mean", "first"] = "mean"
    dense: bool = False
    start: Literal["logistic", "random"] = "logistic"
    multi_label: bool = False
    weight: float = Field(default=1.0, gt=0)
    reject_label: str = ""
    reject_below: float = Field(default=0.0, ge=0, le=1)
    reject_cost: float = Field(default=0.01, ge=0, lt=1)


class Contrast(Section):
    """Contrastive training of encoders: temperature of the similarities, mined hard negatives.

    ``sentences``: a query learns to find the one sentence of its text that is nearest to it, as
    search looks for the nearest sentence of a chunk. ``chunk`` bounds memory: gradients are cached
    (GradCache, Gao et al. 2021, arXiv:2101.06983).
    """

    temperature: float = Field(default=0.02, gt=0)
    hard_negatives: int = Field(default=1, ge=0, le=32)
    mine_top: int = Field(default=50, ge=2)
    mine_margin: float = Field(default=0.95, gt=0, le=1)
    sentences: bool = False
    chunk: int = Field(default=32, ge=1)
    symmetric: bool = False


class Pairs(Section):
    """Rerankers: ``negatives`` mined by the encoder for each positive pair without labels.

    ``window_tokens``: of the passages of these the model reads the sentence nearest to the question
    and its neighbours, about this long, as the product has it read; 0: the whole passage.
    """

    negatives: int = Field(default=4, ge=0, le=64)
    mine_top: int = Field(default=30, ge=2)
    window_tokens: int = Field(default=0, ge=0, le=512)


class Reading(Section):
    """Readers: windows of long contexts overlap by ``stride`` tokens; answers longer than
    ``answer_tokens`` are not learnt, as they would not be served.

    ``elsewhere``: for this share of the questions, one more row with a context that does not answer
    it. ``cloze_questions`` are made of the documents in ``cloze``, ``table_questions`` on made-up
    tables (``training.table_questions``).
    """

    stride: int = Field(default=64, ge=0)
    answer_tokens: int = Field(default=MAX_ANSWER_TOKENS, ge=1, le=MAX_ANSWER_TOKENS)
    elsewhere: float = Field(default=0.0, ge=0, le=1)
    cloze: Paths = ()
    cloze_questions: int = Field(default=0, ge=0)
    table_questions: int = Field(default=0, ge=0, le=1_000_000)


class Pretrain(Section):
    """Domain pre-training: masked (encoder) or causal (generator) language modelling."""

    target: Literal["encoder", "generator"] = "encoder"
    mask: float = Field(default=0.2, gt=0, lt=1)
    block_tokens: int = Field(default=128, ge=16, le=1024)


class Distil(Section):
    """Distillation: the ``teacher`` version into ``layers`` layers of the same width.

    ``alpha`` weighs the teacher's soft targets at ``temperature`` (Hinton et al. 2015,
    arXiv:1503.02531) against the labels; ``hidden`` the mean squared distance of hidden states
    (Sanh et al. 2019, arXiv:1910.01108).
    """

    teacher: str = ""
    layers: int = Field(default=6, ge=1)
    alpha: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=2.0, gt=0)
    hidden: float = Field(default=1.0, ge=0)


class Records(Section):
    """Records as text: ``synthetic`` records more, mixed from those of the training split, with the
    answers of models that read the fields as a table (``training.records``).

    In a mixed record each field comes from another record with probability ``swap``.
    """

    synthetic: int = Field(default=0, ge=0, le=1_000_000)
    swap: float = Field(default=0.3, ge=0, le=1)


class Continual(Section):
    """Update without forgetting: rows of earlier runs mixed in, and the old model as a teacher.

    ``replay`` is the share of old rows in each epoch; ``distil`` the weight of staying near the
    old model's answers (learning without forgetting, Li & Hoiem 2016, arXiv:1606.09282).
    """

    replay_data: DataSpec | None = None
    replay: float = Field(default=0.0, ge=0, le=1)
    distil: float = Field(default=0.0, ge=0)


class Pseudo(Section):
    """Semi-supervised: texts without labels that the model is sure of join the training rows."""

    texts: DataSpec | None = None
    confidence: float = Field(default=0.9, gt=0, lt=1)
    rounds: int = Field(default=1, ge=1, le=10)


class Search(Section):
    """A short search over ``space`` (recipe key -> list of values, or [low, high] floats) on the
    validation split; ``fraction`` of the training rows in each trial."""

    trials: int = Field(default=0, ge=0, le=500)
    fraction: float = Field(default=0.3, gt=0, le=1)
    space: Mapping[str, tuple[int | float | str, ...]] = Field(default_factory=dict)


class Generation(Section):
    """Generators: what an example looks like and how it is trained."""

    template: Literal["grounded", "chat", "plain"] = "grounded"
    max_new_tokens: int = Field(default=96, ge=1)
    export: Literal["int8", "int4", "fp32"] = "int8"
