"""From questions on contexts to windows of tokens with the answer's first and last token."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assistant.models.tokens import ModelTokenizer, Windowed
from indexes.language import detect_language
from indexes.types import Language
from training.data.rows import PlainText, ReadingAnswer, ReadingExample, Row
from training.data.spans import find_nearest
from training.fitting import example
from training.loop import Example
from training.serving import bare

_SENTENCE = re.compile(r"[^。！？!?\n]+?(?:[。！？!?]|\.(?=\s|$)|\n|$)")
_NAMED = re.compile(
    r"《[^》\n]{2,30}》|「[^」\n]{2,30}」"
    r"|\d[\d,.]*\s?(?:%|percent|million|billion|年|月|日|元|万元|亿元|个百分点|人|家|次|天|小时)?"
    r"|(?<![.!?]\s)(?<!^)(?:[A-Z][\w&'-]+(?:\s(?:of|and|the)\s)?\s?){1,4}(?<!\s)"
)
_ASKS: dict[Language, str] = {"zh": "什么", "en": "what"}
_MIN_SENTENCE, _MAX_SENTENCE, _MIN_PARAGRAPH = 12, 240, 80


@dataclass(frozen=True, slots=True)
class Windows:
    """Training windows and the questions left out: their answer is not in the context where it
    is said to be (``missing``), or longer than an answer may be (``long``)."""

    examples: tuple[Example, ...]
    missing: int
    long: int


def questions(rows: Iterable[Row]) -> list[ReadingExample]:
    """Return the rows that are questions on a context with any text."""
    return [
        row
        for row in rows
        if isinstance(row, ReadingExample) and row.question.strip() and row.context.strip()
    ]


def windows(
    tokenizer: ModelTokenizer, rows: Sequence[ReadingExample], stride: int, answer_tokens: int
) -> Windows:
    """Return every window of every row as a training row.

    ``starts`` and ``ends`` are places in the window, both 0 where it does not hold the whole
    answer; ``lead`` and ``count`` say where the context's tokens stand.
    """
    found: list[Example] = []
    missing = long = 0
    pairs = [(row.question, row.context) for row in rows]
    for row, item in zip(rows, tokenizer.pair_windows(pairs, stride), strict=True):
        answer = first_answer(row)
        if row.answers and answer is None:
            missing += 1
            continue
        span = None if answer is None else token_span(item, answer)
        if answer is not None and span is None:
            missing += 1
        elif span is not None and span[1] - span[0] >= answer_tokens:
            long += 1
        else:
            found.extend(_examples(item, span))
    return Windows(tuple(found), missing, long)


def first_answer(row: ReadingExample) -> ReadingAnswer | None:
    """Return the first answer that the context holds, at its place nearest to the one stated."""
    for answer in row.answers:
        start = find_nearest(row.context, answer.text, answer.start)
        if start is not None:
            return ReadingAnswer(answer.text, start)
    return None


def token_span(item: Windowed, answer: ReadingAnswer) -> tuple[int, int] | None:
    """Return the first and last of the context's tokens that cover any of the answer."""
    starts, ends = item.offsets[:, 0], item.offsets[:, 1]
    last = answer.start + len(answer.text)
    inside = np.flatnonzero((starts < last) & (ends > answer.start) & (ends > starts))
    return (int(inside[0]), int(inside[-1])) if len(inside) else None


def language_of(row: ReadingExample) -> Language:
    """Return the language a question is scored in: that of its context."""
    return detect_language(row.context)


def elsewhere(rows: Sequence[ReadingExample], share: float, seed: int) -> list[ReadingExample]:
    """Return questions put to a context of another question, so that it does not answer them.

    ``share`` of ``rows`` that have an answer; the context is of the same language, preferably of
    the same group (document), and holds none of the answers. Retrieval hands a reader such
    passages most of the time.
    """
    random = np.random.default_rng(seed)
    answered = [row for row in rows if row.answers]
    chosen = random.permutation(len(answered))[: round(share * len(answered))]
    contexts: dict[tuple[str, str], list[str]] = {}
    for row in answered:
        language = language_of(row)
        for key in {(language, row.group), (language, "")}:
            contexts.setdefault(key, []).append(row.context)
    pools = {key: list(dict.fromkeys(texts)) for key, texts in contexts.items()}
    found = []
    for place in sorted(chosen.tolist()):
        row = answered[place]
        other = _other_context(row, pools, random)
        if other is not None:
            found.append(ReadingExample(f"{row.id}-elsewhere", row.question, other, (), row.group))
    return found


def cloze(documents: Iterable[PlainText], limit: int, seed: int) -> list[ReadingExample]:
    """Return questions made of plain text: a sentence with a name or number asked for.

    The context is the sentence's paragraph. At most ``limit`` of them, one a paragraph, seeded. In
    the manner of Lewis et al. 2019 (arXiv:1906.04980), without their translation of clozes.
    """
    paragraphs = [
        part.strip()
        for document in documents
        for part in re.split(r"\n\s*\n", document.text)
        if len(part.strip()) >= _MIN_PARAGRAPH
    ]
    random = np.random.default_rng(seed)
    found: list[ReadingExample] = []
    for place in random.permutation(len(paragraphs)).tolist():
        if len(found) >= limit:
            break
        made = list(_clozes(paragraphs[place]))
        if made:
            question, answer = made[int(random.integers(len(made)))]
            found.append(
                ReadingExample(f"cloze-{len(found)}", question, paragraphs[place], (answer,))
            )
    return found


def collate(pad: int) -> Any:
    """Return what makes a batch of windows."""
    import torch

    from training.modeling import padded

    def batch(rows: list[Example]) -> dict[str, Any]:
        ids, mask = padded([row["item"] for row in rows], pad)
        places = {
            name: torch.tensor([row[name] for row in rows])
            for name in ("starts", "ends", "lead", "count")
        }
        return {"input_ids": ids, "attention_mask": mask, **places}

    return batch


def _examples(item: Windowed, span: tuple[int, int] | None) -> Iterator[Example]:
    for window in item.windows:
        start = end = 0
        inside = (
            span is not None and window.start <= span[0] and span[1] < window.start + window.count
        )
        if span is not None and inside:
            start, end = (window.lead + place - window.start for place in span)
        if window.count:
            yield example(
                bare(window.tokens), starts=start, ends=end, lead=window.lead, count=window.count
            )


def _other_context(
    row: ReadingExample, pools: dict[tuple[str, str], list[str]], random: np.random.Generator
) -> str | None:
    language = language_of(row)
    for key in ((language, row.group), (language, "")):
        pool = pools[key]
        for place in random.permutation(len(pool))[:8].tolist():
            text: str = pool[place]
            if text != row.context and not any(a.text in text for a in row.answers):
                return text
    return None


def _clozes(paragraph: str) -> Iterator[tuple[str, ReadingAnswer]]:
    for sentence in _SENTENCE.finditer(paragraph):
        text = sentence.group()
        if not _MIN_SENTENCE <= len(text.strip()) <= _MAX_SENTENCE:
            continue
        asks = _ASKS[detect_language(text)]
        for name in _NAMED.finditer(text):
            answer = name.group().strip()
            if len(answer) > 1:
                question = f"{text[: name.start()]}{asks}{text[name.end() :]}".strip()
                place = sentence.start() + text.index(answer, name.start())
                yield question, ReadingAnswer(answer, place)
