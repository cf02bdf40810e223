"""Entity tags of any scheme as BIO, the way CoNLL-2003's scorer and seqeval read them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

Scheme = Literal["BIO", "IOB1", "IO", "BIOES"]

_PREFIXED = re.compile(r"^([BIESLUM])[-_](.+)$")
_STARTS = frozenset("BSU")


def detect_scheme(sequences: Iterable[Sequence[str]]) -> Scheme:
    """Tell which scheme tags are written in, from how their entities begin.

    ``BIOES`` also stands for BILOU and BMES. ``IOB1``: entities mostly begin with ``I-``, and
    ``B-`` only parts two that touch (Ramshaw and Marcus 1995). ``IO``: no prefixes at all.
    """
    prefixes: Counter[str] = Counter()
    inside = begun = 0
    for tags in sequences:
        before = ""
        for tag in tags:
            prefix, label = _parts(tag)
            prefixes[prefix] += 1
            if prefix == "I" and label != before:
                inside += 1
            elif prefix == "B":
                begun += 1
            before = label
    if prefixes[""]:
        return "IO"
    if any(prefixes[letter] for letter in "ESLUM"):
        return "BIOES"
    return "IOB1" if inside > begun else "BIO"


def to_bio(tags: Sequence[str], scheme: Scheme) -> tuple[list[str], int]:
    """Return the tags as BIO and how many had to be repaired to make sense.

    Repairs: an inside or end tag with no beginning of its type before it becomes a beginning. A tag
    without a prefix is an entity's, together with equal tags beside it.
    """
    result: list[str] = []
    repairs = 0
    label_before, closed = "", True
    for tag in tags:
        prefix, label = _parts(tag)
        if not label:
            result.append("O")
            label_before, closed = "", True
            continue
        continues = label == label_before and not closed and prefix not in _STARTS
        result.append(f"{'I' if continues else 'B'}-{label}")
        if not continues and prefix not in _STARTS and scheme in ("BIO", "BIOES"):
            repairs += 1
        label_before, closed = label, prefix in ("S", "U", "E", "L")
    return result, repairs


def _parts(tag: str) -> tuple[str, str]:
    """Return prefix and type: ``("B", "ORG")``; ``("O", "")`` outside; ``("", "ORG")`` if bare."""
    if tag in ("O", "o", "", "_"):
        return "O", ""
    match = _PREFIXED.match(tag)
    return (match.group(1), match.group(2)) if match else ("", tag)
