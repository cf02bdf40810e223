"""Follow-up questions made by rule from questions that stand alone.

Two rules, both with a known right rewriting, because the follow-up is made *from* it:

- **Swap.** Two questions that differ in one middle part ("annual fee of the *Classic* card",
  "annual fee of the *Gold* card"): the first was asked, the follow-up names only the part that
  differs ("and the Gold card?").
- **Pronoun.** Two questions about one thing, both naming it: in the second the name gives way to a
  pronoun.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Language = Literal["zh", "en"]

_END = re.compile(r"[?？。.!！\s]+$")
_EN_SWAPS = ("and {}?", "what about {}?", "And for {}?", "how about {}", "and {}")
_ZH_SWAPS = ("{}呢？", "那{}呢", "那{}呢？", "{}呢")
_EN_PRONOUNS = ("it", "it", "this")
_ZH_PRONOUNS = ("它", "它", "这个")
_MAX_PART = {"en": 5, "zh": 10}
_STOP_EDGE = re.compile(r"^(?:a|an|of|in|on|to|for|is|are|do|does|my|your|i|by|with|at)$", re.I)
# After these an English part begins with a verb, and after "Wh- is" with a whole clause.
_BEFORE_CLAUSE = re.compile(r"^(?:i|we|you|to|is|are|do|does|can|will)$", re.I)
_ZH_CLAUSE = re.compile(r"[吗么有会能可]|多少|怎么|多久")


@dataclass(frozen=True, slots=True)
class FollowUp:
    """``history`` was asked, then ``question``, which means ``standalone``."""

    history: tuple[str, ...]
    question: str
    standalone: str


def swapped(first: str, second: str, language: Language, random: Random) -> FollowUp | None:
    """Return ``second`` as a follow-up to ``first``, or None when they share no frame.

    They must share a beginning or an end of at least half of ``second``, and differ in one part of
    at most five words (ten characters).
    """
    a, b = _units(first, language), _units(second, language)
    start = _common(a, b)
    end = _common(a[start:][::-1], b[start:][::-1])
    part = b[start : len(b) - end]
    old = a[start : len(a) - end]
    if not part or not old or max(len(part), len(old)) > _MAX_PART[language]:
        return None
    if 2 * (start + end) < len(b) or start < 2:
        return None
    named = (" " if language == "en" else "").join(part)
    if not _names_a_thing(named, a[:start], language):
        return None
    form = random.choice(_EN_SWAPS if language == "en" else _ZH_SWAPS)
    return FollowUp((first,), form.format(named), second)


def pronominal(
    first: str, second: str, name: str, language: Language, random: Random
) -> FollowUp | None:
    """Return ``second`` with ``name`` replaced by a pronoun, or None when either lacks the name."""
    if len(name) < 2 or name.lower() not in first.lower() or name not in second or first == second:
        return None
    forms = _ZH_PRONOUNS if language == "zh" else _EN_PRONOUNS
    marks = "《》“”\"'"
    pattern = rf"[{marks}]?{re.escape(name)}[{marks}]?"
    if language == "en":
        # "the Normans" as a whole; a possessive or a part of a longer name is left alone.
        pattern = rf"\b(?:the |The )?{re.escape(name)}\b(?!['’\-])"
    text, count = re.subn(pattern, random.choice(forms), second, count=1)
    if not count or name in text or len(text) < 5:
        return None
    return FollowUp((first,), text[0].upper() + text[1:], second)


def swaps(
    questions: Sequence[str], language: Language, random: Random, per_question: int = 2
) -> list[FollowUp]:
    """Return follow-ups between all pairs of ``questions``, at most ``per_question`` for each."""
    found: list[FollowUp] = []
    for second in questions:
        firsts = [q for q in questions if q != second]
        random.shuffle(firsts)
        made = (swapped(first, second, language, random) for first in firsts)
        kept = [f for f in made if f is not None]
        found.extend(kept[:per_question])
    return found


def _names_a_thing(part: str, before: Sequence[str], language: Language) -> bool:
    """Say whether a follow-up may consist of ``part`` alone: a thing, not half a clause."""
    if language == "zh":
        return len(part) > 1 and not _ZH_CLAUSE.search(part)
    words = part.split()
    edges = _STOP_EDGE.match(words[0]) or _STOP_EDGE.match(words[-1])
    return not edges and not _BEFORE_CLAUSE.match(before[-1])


def _units(question: str, language: Language) -> list[str]:
    plain = _END.sub("", question)
    return plain.split() if language == "en" else list(plain)


def _common(a: Sequence[str], b: Sequence[str]) -> int:
    length = 0
    for x, y in zip(a, b, strict=False):
        if x.lower() != y.lower():
            break
        length += 1
    return length
