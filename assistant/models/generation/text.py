"""Tokens to text while they come: whole characters only, stop texts held back and cut off."""

from __future__ import annotations

from tokenizers import Tokenizer

_BROKEN = "�"
"""What a decoder shows for the first bytes of a character whose others are still to come."""


class TextStream:
    """Collects the tokens of one completion.

    Leading blanks are dropped: they belong to the tokens, not to the answer. Not thread-safe.
    """

    def __init__(self, tokenizer: Tokenizer, stop: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        self._whole = ""
        self._given = 0
        self.stopped = False
        """Whether a stop text came; further tokens are ignored."""

    @property
    def tokens(self) -> int:
        return len(self._ids)

    @property
    def text(self) -> str:
        """All text so far."""
        return self._whole[: self._given]

    def push(self, token: int) -> str:
        """Take one more token and return the text that is now certain."""
        if self.stopped:
            return ""
        self._ids.append(token)
        self._whole = self._decoded()
        cut = min((self._whole.find(s) for s in self._stop if s in self._whole), default=-1)
        if cut >= 0:
            self._whole, self.stopped = self._whole[:cut], True
            return self._give(len(self._whole))
        certain = len(self._whole.rstrip(_BROKEN))
        return self._give(certain - self._held(self._whole[:certain]))

    def end(self) -> str:
        """Return the text that was still held back."""
        return self._give(len(self._whole))

    def _give(self, upto: int) -> str:
        piece = self._whole[self._given : upto]
        self._given = max(self._given, upto)
        return piece

    def _held(self, text: str) -> int:
        """Return the length of the longest end of ``text`` that may begin a stop text."""
        most = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(text)), most, -1):
                if text.endswith(stop[:length]):
                    most = length
                    break
        return most

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._ids, skip_special_tokens=True)).lstrip()
