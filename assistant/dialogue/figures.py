"""Figures in text: what an answer states must stand in its evidence."""

from __future__ import annotations

import re
import unicodedata

# Digits with inner separators: amounts, percentages, dates, times, phone numbers.
_FIGURE = re.compile(r"\d+(?:[.,:/\-]\d+)*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def figures(text: str) -> frozenset[str]:
    """Return the figures of ``text`` in one written form (``1,000.50`` → ``1000.5``)."""
    plain = _THOUSANDS.sub("", unicodedata.normalize("NFKC", text))
    return frozenset(_canonical(f) for f in _FIGURE.findall(plain))


def _canonical(figure: str) -> str:
    whole, dot, fraction = figure.partition(".")
    if dot and fraction.isdigit() and whole.isdigit():
        fraction = fraction.rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole
    return figure


def unsupported_figures(answer: str, evidence: str) -> frozenset[str]:
    """Return the figures that ``answer`` states and ``evidence`` does not."""
    return figures(answer) - figures(evidence)
