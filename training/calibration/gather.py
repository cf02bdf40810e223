"""What the product sees of each question of a knowledge base, and whether answering was right."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assistant.dialogue.compose import Draft
from assistant.dialogue.confidence import (
    ALL_PARTS,
    FAQ_FEATURES,
    Features,
    Parts,
    grounded_features_of,
)
from assistant.dialogue.engine import RETRIEVE
from assistant.dialogue.policy import Understood, draft_and_values, faq_values
from assistant.dialogue.reading import read
from assistant.dialogue.reranking import rerank_chunks
from assistant.models.reader import Reading
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Retrieved, Scope
from indexes.language import detect_language
from training.calibration.cases import Case, CaseSet, all_sets
from training.calibration.fit import Samples

_READ_AT_ONCE = 10
_EXAMPLES = Path(__file__).parents[2] / "examples" / "bank"


@dataclass
class Rows:
    """Features of one way of answering with their labels, as they come."""

    names: tuple[str, ...]
    features: list[list[float]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)

    def add(self, values: Features, right: bool, name: str) -> None:
        self.features.append([values[feature] for feature in self.names])
        self.right.append(right)
        self.sets.append(name)

    def samples(self) -> Samples:
        return Samples(np.array(self.features), np.array(self.right), np.array(self.sets))


@dataclass(frozen=True)
class Gathered:
    """Rows of the FAQ way, those of the grounded way by the parts that took part, and the models by
    role whose scores they are."""

    faq: Rows
    grounded: Mapping[Parts, Rows]
    models: dict[str, str] = field(default_factory=dict)


def gather(data: Path, questions: int, settings: Settings, tell: Callable[[str], None]) -> Gathered:
    """Build every knowledge base, ask it, and return what was seen.

    ``settings`` name the models; each set has a data folder of its own for its documents.
    """
    by_text = {parts: Rows(grounded_features_of(parts)) for parts in ALL_PARTS}
    gathered = Gathered(Rows(FAQ_FEATURES), by_text)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "files"
        out.mkdir()
        models = Runtime.open(settings)
        for cases in all_sets(data, _EXAMPLES, out, questions):
            own = settings.model_copy(update={"data_dir": Path(folder) / "data" / cases.name})
            runtime = Runtime.open(own)
            for path in cases.faq_files:
                runtime.ingest([path], Scope(), faq=True)
            if cases.document_paths:
                runtime.ingest(list(cases.document_paths), Scope())
            _ask(runtime, models, cases, gathered)
            gathered.models["encoder"] = runtime.encoder.fingerprint
            runtime.close()
            tell(f"{cases.name}: {len(cases.cases)} questions")
        models.close()
    return gathered


def holds(draft: Draft, texts: tuple[str, ...]) -> bool:
    """Tell whether the draft states one of the gold texts, spacing and case aside."""
    answer = fold(draft.text)
    return any(fold(t) in answer for t in texts)


def fold(text: str) -> str:
    """Return ``text`` without spacing and case."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _ask(runtime: Runtime, models: Runtime, cases: CaseSet, gathered: Gathered) -> None:
    """Add what is seen of one set, with the parts that take part one after the other."""
    skipped = {"smalltalk", "handoff"}
    asked = [c for c in cases.cases if c.kind not in skipped and not c.history]
    texts = [case.question for case in asked]
    vectors = runtime.encoder.encode_queries(texts)
    found = runtime.knowledge.search(Scope(), texts, vectors, RETRIEVE)
    questions = [
        Understood(text, detect_language(text), vector)
        for text, vector in zip(texts, vectors, strict=True)
    ]
    for case, question, one in zip(asked, questions, found, strict=True):
        _add_entry(gathered.faq, runtime, cases.family, case, (question, one))
    for parts in ALL_PARTS:
        if parts == "reranker":
            found = _reranked(models, questions, found, gathered.models)
        elif parts == "reader":
            found = _read(models, questions, found, gathered.models)
        for case, question, one in zip(asked, questions, found, strict=True):
            _add_draft(gathered.grounded[parts], runtime, cases.family, case, (question, one))


def _add_entry(
    rows: Rows, runtime: Runtime, name: str, case: Case, seen: tuple[Understood, Retrieved]
) -> None:
    question, found = seen
    values = faq_values(question, found, runtime.tokenise)
    if values:
        top = found.faqs[0]
        right = top.faq_id in case.faq_ids or any(fold(t) in fold(top.answer) for t in case.texts)
        rows.add(values, right and case.kind != "clarify", name)


def _add_draft(
    rows: Rows, runtime: Runtime, name: str, case: Case, seen: tuple[Understood, Retrieved]
) -> None:
    question, found = seen
    draft, values = draft_and_values(question, found, runtime.tokenise)
    if draft and not case.faq_ids:
        rows.add(values, holds(draft, case.texts), name)


def _reranked(
    models: Runtime,
    questions: Sequence[Understood],
    found: Sequence[Retrieved],
    versions: dict[str, str],
) -> list[Retrieved]:
    """Read the evidence as a service does, whether or not an entry settles it already."""

    def judge(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        scored = models.trained.score(pairs)
        versions["reranker"] = scored.model
        return scored.values

    candidates, ordered = models.settings.rerank, []
    for start in range(0, len(questions), _READ_AT_ONCE):
        some = questions[start : start + _READ_AT_ONCE]
        ordered += rerank_chunks(judge, some, found[start : start + _READ_AT_ONCE], candidates)
    return ordered


def _read(
    models: Runtime,
    questions: Sequence[Understood],
    found: Sequence[Retrieved],
    versions: dict[str, str],
) -> list[Retrieved]:
    def reader(pairs: Sequence[tuple[str, str]]) -> list[Reading]:
        answered = models.trained.read(pairs)
        versions["reader"] = answered.model
        return answered.values

    marked = []
    for start in range(0, len(questions), _READ_AT_ONCE):
        end = start + _READ_AT_ONCE
        marked += read(reader, questions[start:end], found[start:end])
    return marked
