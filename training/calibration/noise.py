"""Questions that are none: what a hand on the keyboard, a script or a test sends."""

from __future__ import annotations

import random
import string

_ALPHABETS = (string.ascii_lowercase, string.digits, string.hexdigits, "qwertyasdfghzxcvb", "")
_HAN = (0x4E00, 0x9FFF)
LONGEST = 1800


def noise(rng: random.Random) -> str:
    """Return one to a few made-up words, once or over and over, up to ``LONGEST`` characters.

    Short and long ones are as frequent: lengths are spread over their logarithm.
    """
    alphabet = rng.choice(_ALPHABETS)
    distinct = rng.choice((1, 2, 6, LONGEST))
    length = round(LONGEST ** rng.uniform(0.2, 1.0))
    words: list[str] = []
    while sum(map(len, words)) + len(words) < length:
        known = len(words) >= distinct
        words.append(words[len(words) % distinct] if known else _word(rng, alphabet))
    return (" " if alphabet else "").join(words)[:length]


def _word(rng: random.Random, alphabet: str) -> str:
    if not alphabet:
        return "".join(chr(rng.randint(*_HAN)) for _ in range(rng.randint(1, 4)))
    return "".join(rng.choices(alphabet, k=rng.randint(3, 9)))
