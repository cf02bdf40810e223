"""Rows from reading-comprehension sets: squad2 (with unanswerable questions) and cmrc2018.

Passages are cut to a window of whole sentences, so that a row fits a short training sequence.
For cmrc2018, which has no unanswerable questions, a window of the same article that does not hold
the answer stands in.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from indexes.sentences import split_sentences
from training.generator.followups import pronominal
from training.generator.ranking import Ranking
from training.generator.rows import Language, Row, answer_row, refusal_row, rewrite_row

WINDOW_CHARS: dict[Language, int] = {"en": 520, "zh": 190}
MAX_ANSWER_CHARS: dict[Language, int] = {"en": 120, "zh": 45}


@dataclass(frozen=True, slots=True)
class Passage:
    """A paragraph; ``article`` groups the paragraphs of one article."""

    title: str
    text: str
    article: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question on a passage; no answers where the passage does not tell."""

    passage: Passage
    question: str
    answers: tuple[str, ...]


def read_set(folder: Path, prefixes: Sequence[str]) -> list[Asked]:
    """Read ``PREFIX_paragraphs.jsonl`` and ``PREFIX_questions.jsonl`` of each prefix."""
    asked: list[Asked] = []
    for prefix in prefixes:
        passages = {
            str(p["pid"]): Passage(p["title"], p["context"], p["title"] or str(p["pid"]))
            for p in _jsonl(folder / f"{prefix}_paragraphs.jsonl")
        }
        for item in _jsonl(folder / f"{prefix}_questions.jsonl"):
            passage = passages[str(item["pid"])]
            # The text of an answer is trusted, its offset is not (the set's own notes).
            answers = [a["text"].strip() for a in item["answers"]]
            found = tuple(dict.fromkeys(a for a in answers if a and a in passage.text))
            if found or item.get("is_impossible"):
                asked.append(Asked(passage, item["question"].strip(), found))
    return asked


def window(text: str, question: str, answer: str, limit: int, random: Random) -> str | None:
    """Return neighbouring sentences of at most ``limit`` characters that hold ``answer``.

    Without an answer the window lies about the sentence that best matches the question. None when
    the sentence that must be in it is longer than the limit.
    """
    spans = split_sentences(text, 0, len(text))
    if not spans:
        return None
    if answer:
        place = text.find(answer)
        first = max(i for i, s in enumerate(spans) if s.start <= place or i == 0)
        last = next((i for i, s in enumerate(spans) if s.end >= place + len(answer)), first)
    else:
        first = last = Ranking([text[s.start : s.end] for s in spans]).best(question)[0]
    if spans[last].end - spans[first].start > limit:
        return None
    while True:
        sides = [(first - 1, last), (first, last + 1)]
        random.shuffle(sides)
        fitting = [
            (a, b)
            for a, b in sides
            if a >= 0 and b < len(spans) and spans[b].end - spans[a].start <= limit
        ]
        if not fitting:
            return text[spans[first].start : spans[last].end]
        first, last = fitting[0]


def answerable(asked: Sequence[Asked], language: Language, random: Random) -> Iterator[Row]:
    """Yield a row for each answerable question whose window is short enough."""
    limit = WINDOW_CHARS[language]
    for item in asked:
        if not item.answers or len(item.answers[0]) > MAX_ANSWER_CHARS[language]:
            continue
        text = window(item.passage.text, item.question, item.answers[0], limit, random)
        if text is None or item.answers[0] not in text:
            continue
        source = _source(language)
        group = f"{source}:{item.passage.article}"
        references = [a for a in item.answers if a in text]
        yield answer_row(
            item.question, [text], references, [1], language, group=group, source=source
        )


def unanswerable(asked: Sequence[Asked], language: Language, random: Random) -> Iterator[Row]:
    """Yield refusals: questions marked so, or asked of a window that does not hold the answer."""
    limit = WINDOW_CHARS[language]
    for item in asked:
        passage = item.passage.text
        if item.answers:
            kept = [
                passage[s.start : s.end]
                for s in split_sentences(passage, 0, len(passage))
                if not any(answer in passage[s.start : s.end] for answer in item.answers)
            ]
            passage = (" " if language == "en" else "").join(kept)
        text = window(passage, item.question, "", limit, random) if passage else None
        if text is None or len(text) < limit // 4:
            continue
        source = _source(language)
        group = f"{source}:{item.passage.article}"
        yield refusal_row(item.question, [text], language, group=group, source=source)


def follow_ups(asked: Sequence[Asked], language: Language, random: Random) -> Iterator[Row]:
    """Yield rewritings: two questions of one article that both name it, the second by pronoun."""
    articles: dict[str, list[Asked]] = {}
    for item in asked:
        if item.passage.title:
            articles.setdefault(item.passage.article, []).append(item)
    for article, items in articles.items():
        named = [i.question for i in items if i.passage.title in i.question]
        for second in named[:4]:
            first = random.choice(named)
            made = pronominal(first, second, items[0].passage.title, language, random)
            if made is not None:
                source = _source(language)
                yield rewrite_row(made, language, group=f"{source}:{article}", source=source)


def _source(language: Language) -> str:
    return "squad2" if language == "en" else "cmrc2018"


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)
