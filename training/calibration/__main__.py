"""Fit the answers' confidence: ``python -m training.calibration DATA [--write]``.

DATA is a folder of the public sets named in ``cases.all_sets``. Every set becomes a knowledge base
through the product's own ingest; its questions go through the product's own retrieval and drafting.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from assistant.dialogue.compose import Draft
from assistant.dialogue.confidence import FAQ_FEATURES, GROUNDED_FEATURES
from assistant.dialogue.policy import Understood, draft_and_values, faq_values
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Retrieved, Scope
from indexes.language import detect_language
from training.calibration.cases import SEED, Case, CaseSet, all_sets
from training.calibration.fit import Samples, fit

_RETRIEVE = 10
_EXAMPLES = Path(__file__).parents[2] / "examples" / "bank"
_TARGET = Path(__file__).parents[2] / "assistant" / "dialogue" / "calibration.json"


@dataclass
class Gathered:
    """Rows of features with their labels, as they come."""

    features: list[list[float]] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    sets: list[str] = field(default_factory=list)

    def add(self, values: list[float], right: bool, name: str) -> None:
        self.features.append(values)
        self.right.append(right)
        self.sets.append(name)

    def samples(self) -> Samples:
        return Samples(np.array(self.features), np.array(self.right), np.array(self.sets))


def fold(text: str) -> str:
    """Return ``text`` without spacing and case."""
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def holds(draft: Draft, texts: tuple[str, ...]) -> bool:
    """Tell whether the draft states one of the gold texts, spacing and case aside."""
    answer = fold(draft.text)
    return any(fold(t) in answer for t in texts)


def ask(runtime: Runtime, cases: list[Case]) -> Iterator[tuple[Case, Understood, Retrieved]]:
    """Retrieve for each case."""
    texts = [case.question for case in cases]
    vectors = runtime.encoder.encode_queries(texts)
    found = runtime.knowledge.search(Scope(), texts, vectors, _RETRIEVE)
    for case, text, vector, result in zip(cases, texts, vectors, found, strict=True):
        yield case, Understood(text, detect_language(text), vector), result


def gather(runtime: Runtime, cases: CaseSet, faq: Gathered, grounded: Gathered) -> None:
    """Add the features and labels of one set."""
    skipped = {"smalltalk", "handoff"}
    answerable = [c for c in cases.cases if c.kind not in skipped and not c.history]
    for case, question, found in ask(runtime, answerable):
        values = faq_values(question, found, runtime.tokenise)
        if values:
            top = found.faqs[0]
            right = top.faq_id in case.faq_ids or any(
                fold(t) in fold(top.answer) for t in case.texts
            )
            faq.add(values, right and case.kind != "clarify", cases.name)
        draft, values = draft_and_values(question, found, runtime.tokenise)
        if draft and not case.faq_ids:
            grounded.add(values, holds(draft, case.texts), cases.name)


def run(data: Path, questions: int, tell: Callable[[str], None]) -> tuple[Gathered, Gathered, str]:
    """Build every knowledge base, ask it, and return the samples and the encoder's fingerprint."""
    faq, grounded = Gathered(), Gathered()
    fingerprint = ""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "files"
        out.mkdir()
        for cases in all_sets(data, _EXAMPLES, out, questions):
            runtime = Runtime.open(Settings(data_dir=Path(folder) / "data" / cases.name))
            for path in cases.faq_files:
                runtime.ingest([path], Scope(), faq=True)
            if cases.document_paths:
                runtime.ingest(list(cases.document_paths), Scope())
            gather(runtime, cases, faq, grounded)
            fingerprint = runtime.encoder.fingerprint
            runtime.close()
            tell(f"{cases.name}: {len(cases.cases)} questions")
    return faq, grounded, fingerprint


def main() -> int:
    """Run the recipe; print the held-aside figures; store them with ``--write``."""
    parser = argparse.ArgumentParser(prog="python -m training.calibration", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=800, help="at most, of each set")
    parser.add_argument("--write", action="store_true", help="replace the packaged calibration")
    parser.add_argument("--samples", type=Path, help="also keep the features here (npz)")
    options = parser.parse_args()
    faq, grounded, encoder = run(
        options.data, options.questions, lambda m: print(m, file=sys.stderr)
    )
    if options.samples:
        keep = {
            f"{name}_{part}": np.array(getattr(rows, part))
            for name, rows in (("faq", faq), ("grounded", grounded))
            for part in ("features", "right", "sets")
        }
        np.savez(options.samples, **keep)  # type: ignore[arg-type]
    by_faq = fit(faq.samples(), FAQ_FEATURES, SEED)
    by_text = fit(grounded.samples(), GROUNDED_FEATURES, SEED)
    stored = {"encoder": encoder, "faq": by_faq.stored, "grounded": by_text.stored}
    version = hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()[:12]
    report = {"faq": by_faq.report, "grounded": by_text.report}
    if options.write:
        text = json.dumps({"version": version, **stored, "held_aside": report}, indent=1)
        _TARGET.write_text(text + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
