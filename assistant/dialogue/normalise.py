"""What a question is made of before anything looks at it."""

from __future__ import annotations

import re
import unicodedata

from assistant.errors import InvalidInputError, TooLargeError

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u2029\ufeff]+")
_SPACE = re.compile(r"\s+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def normalise(text: str, limit: int) -> str:
    """Return the question in NFC on one line, without control characters.

    Raises ``TooLargeError`` beyond ``limit`` characters and ``InvalidInputError`` when nothing is
    left. Lone surrogates, which no file or network peer can carry, become U+FFFD.
    """
    if len(text) > limit:
        raise TooLargeError(
            f"The question has {len(text):,} characters; at most {limit:,} are accepted. "
            "Shorten it, or load the text as a document and ask about that."
        )
    plain = _SURROGATE.sub("\ufffd", text)
    plain = unicodedata.normalize("NFC", _CONTROL.sub(" ", plain))
    plain = _SPACE.sub(" ", plain).strip()
    if not plain or not plain.strip("\ufffd "):
        raise InvalidInputError(
            "The question is empty. Give at least one word, for example: opening hours"
        )
    return plain
