"""Where a model fails: what it takes for what, and how it does on groups of inputs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assistant.evaluation.entities import EntitySpan
from assistant.models.passport import Failure
from indexes.language import detect_language
from training.data.rows import LabelledText, ReadingExample, Row, TaggedText, TextPair

NOTHING = "(none)"
"""What is right, or said, where there is no label, entity or answer."""

_MOST = 10
_FEWEST = 30
_QUOTED = 120
_OPEN = ("CC-BY-3", "CC-BY-4", "CC-BY-SA", "CC0", "MIT", "APACHE", "CDLA")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was right for a text, or a part of it, and what the model said."""

    right: str
    said: str
    text: str


def failures(outcomes: Iterable[Outcome], *, quote: bool = False) -> tuple[Failure, ...]:
    """Return the most frequent mistakes, at most ten; ``quote`` adds one text of each."""
    seen: Counter[str] = Counter()
    wrong: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in outcomes:
        seen[one.right] += 1
        if one.right != one.said:
            wrong[one.right, one.said].append(one.text)
    ranked = sorted(wrong.items(), key=lambda item: (-len(item[1]), item[0]))[:_MOST]
    return tuple(
        Failure(right, said, len(texts), seen[right], _quoted(texts) if quote else "")
        for (right, said), texts in ranked
    )


def may_quote(licences: Sequence[str]) -> bool:
    """Tell whether each licence lets rows be printed, with attribution, in what is passed on."""
    return bool(licences) and all(licence.upper().startswith(_OPEN) for licence in licences)


def groups(rows: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    """Return rows by the folder and the language they come from, where there are several, and the
    shortest and longest quarter of them; small groups are left out."""
    lengths = np.array([len(text_of(row)) for row in rows])
    short, long = np.quantile(lengths, [0.25, 0.75]) if len(rows) else (0.0, 0.0)
    sized = zip(rows, lengths.tolist(), strict=True)
    found = {
        **_several(rows, [_folder(row) for row in rows]),
        **_several(rows, [detect_language(text_of(row)) for row in rows]),
    }
    for row, length in sized:
        for name, inside in (("shortest", length <= short), ("longest", length >= long)):
            if inside:
                found.setdefault(name, []).append(row)
    return {name: own for name, own in found.items() if len(own) >= _FEWEST}


def text_of(row: Row) -> str:
    """Return the text that a row is mostly known by."""
    match row:
        case LabelledText() | TaggedText():
            return row.text
        case TextPair():
            return row.text_a
        case ReadingExample():
            return row.question
        case _:
            return ""


def span_outcomes(
    text: str, right: Sequence[EntitySpan], said: Sequence[EntitySpan]
) -> Iterator[Outcome]:
    """Yield an outcome for each true span and each one told where there is none.

    Spans are of code points. A true one met by others only in part counts as
    "cut otherwise" where the type is right.
    """
    given = {(start, end): label for label, start, end in said}
    met: set[tuple[int, int]] = set()
    for label, start, end in right:
        over = [place for place in given if place[0] < end and place[1] > start]
        met.update(over)
        if (start, end) in given:
            told = given[start, end]
        else:
            told = given[over[0]] if over else NOTHING
            told = f"{told}, cut otherwise" if told == label else told
        yield Outcome(label, told, text[start:end])
    for place, label in given.items():
        if place not in met:
            yield Outcome(NOTHING, label, text[slice(*place)])


def _several(rows: Sequence[Row], names: Sequence[str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row, name in zip(rows, names, strict=True):
        found.setdefault(name, []).append(row)
    return found if len(found) > 1 else {}


def _folder(row: Row) -> str:
    path = Path(row.source.rpartition(":")[0])
    return (path.parent if path.suffix else path).name or "root"


def _quoted(texts: Sequence[str]) -> str:
    shortest = " ".join(min(texts, key=len).split())
    return shortest if len(shortest) <= _QUOTED else f"{shortest[: _QUOTED - 1]}…"
