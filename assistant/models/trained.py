"""Fine-tuned models at work in a service: by task, name and tenant, always the current version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from assistant.errors import InvalidInputError, ModelError
from assistant.models.choosing import MULTITASK, answering_version, serving_version
from assistant.models.classifier import Classifier, Prediction
from assistant.models.headed import HeadedModel
from assistant.models.live_models import LiveModels, Opener, Served, Status
from assistant.models.loading import model_from
from assistant.models.manifest import ModelManifest
from assistant.models.names import SHARED_TENANT, TASKS, valid_model_name
from assistant.models.reader import Reader, Reading
from assistant.models.reranker import Reranker
from assistant.models.session import cuda_problem
from assistant.models.store import ModelStore
from assistant.models.tagger import Entity, Tagger
from assistant.settings import Settings
from indexes.types import FloatArray

T = TypeVar("T")
CLASSIFIED_TASKS = ("intent", "sentiment", "topic", "risk", "classifier")
_TAGGER, _RERANKER, _READER = "tagger", "reranker", "reader"
_ROLES: Mapping[str, Callable[[HeadedModel], object]] = {
    _TAGGER: Tagger,
    _RERANKER: Reranker,
    _READER: Reader,
}
_RESOLVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Classified:
    """Predictions in the order of the texts, and the version that made them all."""

    model: str
    predictions: list[Prediction]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The entities of each text, and the version that found them all."""

    model: str
    entities: list[tuple[Entity, ...]]


@dataclass(frozen=True, slots=True)
class Judged(Generic[T]):
    """What a model says of pairs, in their order, and the version that said it."""

    model: str
    values: T


@dataclass(frozen=True, slots=True)
class _Place:
    """Which model serves a task: under which task of the registry, by which name."""

    task: str
    name: str


class TrainedModels:
    """Classifiers, taggers, rerankers and readers in use. Thread-safe.

    A task without a model of its own is served by a multi-task model that has a head of its name.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = ModelStore.of(settings)
        self._live = LiveModels(self._store)
        self._lock = threading.Lock()
        self._places: dict[tuple[str, str | None, str], tuple[float, _Place]] = {}

    def classify(
        self,
        texts: Sequence[str],
        *,
        task: str,
        name: str | None = None,
        tenant: str = SHARED_TENANT,
    ) -> Classified:
        """Classify with the version of ``task`` in use for the tenant.

        ``name`` may be left out when one is in use. Raises InvalidInputError for an unknown task
        or when several are in use, NotFoundError when none is, ModelError when it is damaged,
        BusyError when the queue is full.
        """
        if task in TASKS and task not in CLASSIFIED_TASKS:
            raise InvalidInputError(f"A {task} does not classify; {_offered()}.")
        served = self._served(task, name, tenant)
        with served.use() as (version, model):
            head = task if served.task == MULTITASK else _head(model, task)
            return Classified(version.ref, Classifier(model, head).classify(texts))

    def entities(
        self, texts: Sequence[str], *, name: str | None = None, tenant: str = SHARED_TENANT
    ) -> Tagged:
        """Find entities with the tagger in use for the tenant. Raises as ``classify``."""
        served = self._served(_TAGGER, name, tenant)
        with served.use() as (version, model):
            return Tagged(version.ref, Tagger(model).tag(texts))

    def score(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        name: str | None = None,
        tenant: str = SHARED_TENANT,
    ) -> Judged[FloatArray]:
        """Return the probability that each pair matches, float32 (pairs,), by the reranker that
        answers for the tenant. Raises as ``classify``."""
        served = self._served(_RERANKER, name, tenant)
        with served.use() as (version, model):
            return Judged(version.ref, Reranker(model).score(pairs))

    def read(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        name: str | None = None,
        tenant: str = SHARED_TENANT,
    ) -> Judged[list[Reading]]:
        """Answer questions from passages with the reader in use. Raises as ``classify``."""
        served = self._served(_READER, name, tenant)
        with served.use() as (version, model):
            return Judged(version.ref, Reader(model).read_pairs(pairs))

    def statuses(self, tenant: str | None = None) -> list[Status]:
        """Return the state of the models opened so far, for one tenant or all."""
        return self._live.statuses(tenant)

    def close(self) -> None:
        """Close every model; requests under way finish first."""
        self._live.close()

    def _served(self, task: str, name: str | None, tenant: str) -> Served[HeadedModel]:
        place = self._place(task, name, tenant)
        return self._live.served(
            place.task, place.name, tenant, self._opener(place.task), self._precisions()
        )

    def _place(self, task: str, name: str | None, tenant: str) -> _Place:
        """Resolve a task, at most once a second: versions are followed without this."""
        key = (task, name, tenant)
        now = time.monotonic()
        with self._lock:
            known = self._places.get(key)
        if known is not None and now - known[0] < _RESOLVE_SECONDS:
            return known[1]
        place = self._resolve(task, name, tenant)
        with self._lock:
            # Only what exists is kept, so asking for names in vain fills no memory.
            self._places[key] = (now, place)
        return place

    def _resolve(self, task: str, name: str | None, tenant: str) -> _Place:
        if name is not None:
            valid_model_name(name)  # a service follows the version in use; it takes no number
            version = serving_version(self._store, task, name, tenant)
        else:
            version = answering_version(self._store, task, tenant)
        return _Place(version.task, version.name)

    def _opener(self, task: str) -> Opener[HeadedModel]:
        """Open a model and see that it can do its task, before it takes another's place."""

        def opener(folder: Path, manifest: ModelManifest) -> HeadedModel:
            model = model_from(folder, manifest, self._settings)
            try:
                if task in _ROLES:
                    _ROLES[task](model)
                elif task in CLASSIFIED_TASKS:
                    Classifier(model, _head(model, task))
            except ModelError:
                model.close()
                raise
            return model

        return opener

    def _precisions(self) -> tuple[str, ...]:
        """fp16 where there is a GPU to run it; without one, or where it fails, int8."""
        if self._settings.device == "cpu" or cuda_problem() is not None:
            return ("int8",)
        return ("fp16",) if self._settings.device == "cuda" else ("fp16", "int8")


def _head(model: HeadedModel, task: str) -> str | None:
    """The head named like the task, if the model has one; else its only one will do."""
    names = [head.name for head in model.manifest.heads if head.kind == "sequence"]
    return task if task in names else None


def _offered() -> str:
    return f"the tasks that classify: {', '.join(CLASSIFIED_TASKS)}"
