"""Evidence for tests: chunks of sentences with vectors, FAQ entries, questions."""

from __future__ import annotations

import numpy as np

from assistant.dialogue.policy import Understood
from assistant.types import ChunkHit, FaqHit, Sentence
from indexes.types import FloatArray, Span

DIM = 8


def unit(*values: float) -> FloatArray:
    """Return a unit vector that begins with ``values``."""
    vector = np.zeros(DIM, dtype=np.float32)
    vector[: len(values)] = values
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def hit(
    number: int, sentences: list[tuple[str, FloatArray]], score: float = 0.5, title: str = "Fees"
) -> ChunkHit:
    """A chunk of the given sentences, 100 characters into its document."""
    start, rows = 100, []
    text = " ".join(s for s, _ in sentences)
    at = start
    for sentence, vector in sentences:
        rows.append(Sentence(Span(at, at + len(sentence)), sentence, vector))
        at += len(sentence) + 1
    return ChunkHit(
        number, f"d{number}", title, "fees.md", "en", start, start + len(text), text,
        ("Fees",), None, tuple(rows), score, 0.9, 0.5,
    )  # fmt: skip


def entry(name: str, matched: str, score: float) -> FaqHit:
    """An FAQ entry found by the wording ``matched``."""
    return FaqHit(
        name, matched, matched, f"answer {name}", "en", "f", "FAQ", "f.csv", 0, 8, score, 0.9, 0.5
    )


def asked(text: str, *vector: float) -> Understood:
    """A question with its vector."""
    return Understood(text, "en", unit(*(vector or (1,))))
