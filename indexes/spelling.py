"""Words mistyped at one key, mended into words that the texts use.

A word is taken for mistyped when no text of the collection has it and it is no common word of any
language; it becomes the word, one slip away, that most texts have (candidates one edit away as in
Norvig 2007, "How to Write a Spelling Corrector"). Words the texts do not use are left as they are:
nothing would be found by mending them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

Known = Callable[[Sequence[str]], Sequence[bool]]
"""Whether each word is a common one of some language."""
Frequencies = Callable[[Sequence[str]], Sequence[int]]
"""How many texts have each word, in any of its forms."""

SHORTEST, LONGEST = 4, 24
"""A shorter word is one slip away from too many others, a longer one is none."""
MOST = 8
"""A text with more strange words is not mistyped: it is in another tongue, or noise. Each one costs
some thousand look-ups."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Codes, addresses, hashtags and what an apostrophe joins are not words to mend.
_WORD = re.compile(
    rf"(?<![\w@#$./'’-])[A-Za-z]{{{SHORTEST},{LONGEST}}}(?![A-Za-z0-9_@#/'’-]|\.\w)", re.ASCII
)


def mended(text: str, known: Known, frequencies: Frequencies) -> str:
    """Return ``text`` with its mistyped Latin words as the texts have them.

    Names are left alone: what has capitals, but for the first letter of the text.
    """
    words = [m[0].lower() for m in _WORD.finditer(text) if _may_be_mistyped(m)]
    strange = {w for w, common in zip(words, known(words), strict=True) if not common}
    if not 0 < len(strange) <= MOST:
        return text
    counts = zip(strange, frequencies(list(strange)), strict=True)
    found = {word: _meant(word, known, frequencies) for word, n in counts if not n}
    meant = {word: other for word, other in found.items() if other != word}
    return _WORD.sub(lambda m: meant.get(m[0].lower(), m[0]) if _may_be_mistyped(m) else m[0], text)


def _may_be_mistyped(match: re.Match[str]) -> bool:
    word = match[0]
    return word.islower() or (match.start() == 0 and word[1:].islower())


def _meant(word: str, known: Known, frequencies: Frequencies) -> str:
    """Return the common word meant by a strange one; itself where nothing near it is used."""
    near = list(dict.fromkeys(one_slip(word)))
    used = [(n, c) for n, c in zip(near, frequencies(near), strict=True) if c]
    # Forms of a stem that is used need not be words themselves.
    common = known([candidate for candidate, _ in used])
    words = [pair for pair, is_word in zip(used, common, strict=True) if is_word]
    # The first letter is the one least often missed.
    return max(words, key=lambda pair: (pair[0][0] == word[0], pair[1]), default=(word, 0))[0]


def one_slip(word: str) -> Iterator[str]:
    """Yield what ``word`` may have been before one key was missed, doubled, swapped or mistaken."""
    for i in range(len(word)):
        rest = word[i:]
        yield word[:i] + rest[1:]
        if len(rest) > 1:
            yield word[:i] + rest[1] + rest[0] + rest[2:]
        for letter in _LETTERS:
            yield word[:i] + letter + rest[1:]
            yield word[:i] + letter + rest
    for letter in _LETTERS:
        yield word + letter
