"""What a task gets to work on, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from assistant.evaluation import Metric
from assistant.models.build.tuned import TunedWeights
from assistant.models.session import Outputs
from assistant.models.tokens import Tokenized
from assistant.settings import Settings
from training.data.rows import Kind, Row
from training.recipe import Recipe
from training.reporting import Reporter

if TYPE_CHECKING:
    from training.base import Base
    from training.data.storage import Prepared

Metrics: TypeAlias = Mapping[str, Metric]


@dataclass(frozen=True)
class Job:
    """One run: its recipe, what it starts from, its rows, its folder, whom to tell.

    ``notes`` are what the passport must say of its rows.
    """

    recipe: Recipe
    settings: Settings
    base: Base
    data: Prepared
    folder: Path
    reporter: Reporter
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trained:
    """What a task's training gives. ``tuned`` is relative to the job's original base.

    ``reference`` runs the model in PyTorch, fp32, on one padded batch: what the export's parity
    gate compares with. ``sample`` are texts or pairs like those to be served.
    """

    tuned: TunedWeights
    trainable: int
    seconds: float
    examples_per_second: float
    reference: Callable[[Sequence[Tokenized]], list[Outputs]]
    sample: Sequence[str | tuple[str, str]] = ()
    history: Sequence[Mapping[str, float]] = ()
    notes: Sequence[str] = ()
    figures: Mapping[str, float] = field(default_factory=dict)


class TaskModule(Protocol):
    """What every module in ``training.tasks`` offers."""

    KIND: Kind
    """The rows it learns from."""
    METRIC: str
    """The metric that gates and early stopping look at, unless the recipe names another."""

    def train(self, job: Job) -> Trained:
        """Train as the recipe says."""

    def evaluate(self, model: Path, rows: Sequence[Row], job: Job) -> Metrics:
        """Measure a built model (a folder with its manifest) as it will be served."""
