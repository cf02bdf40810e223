"""Texts as models have learnt them: not all in capitals, in simplified characters, and questions
without emoji.

A text in capitals falls into other pieces, most of them single letters: the shipped classifiers
lost 7 to 13 points by it, dense search 8 to 12. Emoji at a question's end cost dense English search
9 points. Traditional characters cost question pairs up to 4 points, read as simplified ones none
(``python -m benchmarks.robustness``).
"""

from __future__ import annotations

import re

from indexes.language import simplified

_WORD = re.compile(r"[^\W\d_]{2,}")
_FEWEST = 3
_HAN = re.compile(r"[\u3400-\u9fff]")
_EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f\u200d\u20e3]+")


def unshouted(text: str) -> str:
    """Return a text of three words or more, all in capitals, in lower case; any other as it is."""
    if not text.isupper() or _HAN.search(text) or len(_WORD.findall(text)) < _FEWEST:
        return text
    return text.lower()


def plain_text(text: str) -> str:
    """Return a text not in capitals, in simplified characters; most texts as they are."""
    return unshouted(simplified(text))


def plain_pair(a: str, b: str) -> tuple[str, str]:
    """Return two texts as ``plain_text`` does."""
    return plain_text(a), plain_text(b)


def plain_question(text: str) -> str:
    """Return a question as ``plain_text`` does and without emoji, unless it is nothing else."""
    told = _EMOJI.sub(" ", text)
    return plain_text(" ".join(told.split()) if told != text and told.strip() else text)
