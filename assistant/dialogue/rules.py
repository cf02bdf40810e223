"""Smalltalk and handoff by rule: phrases as data, matched on a folded form of the question."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from indexes.types import Language

Simplify = Callable[[str], str]

_NOT_WORD = re.compile(r"[^\w\s]|_", re.UNICODE)
_SPACES = re.compile(r"\s+")


def fold(text: str) -> str:
    """Return ``text`` in NFKC, lower case, without punctuation, symbols or doubled spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # An apostrophe joins ("what's" → "whats"); other marks separate.
    folded = folded.replace("'", "").replace("’", "")
    return _SPACES.sub(" ", _NOT_WORD.sub(" ", folded)).strip()


def _fold_chinese(folded: str) -> str:
    """Chinese carries no spaces: drop those that punctuation left behind."""
    return re.sub(r"(?<=[^\x00-\x7f]) | (?=[^\x00-\x7f])", "", folded)


@dataclass(frozen=True, slots=True)
class Reply:
    """A ready answer in both languages."""

    zh: str
    en: str

    def in_language(self, language: Language) -> str:
        return self.zh if language == "zh" else self.en


@dataclass(frozen=True, slots=True)
class _Smalltalk:
    name: str
    pattern: re.Pattern[str]
    reply: Reply


def _any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns))


class Rules:
    """Recognises smalltalk and the wish for a person. Stateless and thread-safe."""

    def __init__(self, data: dict[str, Any], simplify: Simplify) -> None:
        handoff = data["handoff"]
        self._simplify = simplify
        self._handoff = _any_of(handoff["patterns"])
        self._unless = _any_of(handoff["unless"])
        self._handoff_reply = Reply(handoff["reply_zh"], handoff["reply_en"])
        self._contact = Reply(handoff["contact_zh"], handoff["contact_en"])
        self._smalltalk = tuple(
            _Smalltalk(s["name"], _any_of(s["patterns"]), Reply(s["reply_zh"], s["reply_en"]))
            for s in data["smalltalk"]
        )

    @classmethod
    def load(cls, simplify: Simplify) -> Rules:
        """Read the packaged phrases. ``simplify`` maps traditional to simplified Chinese."""
        text = files("assistant.dialogue").joinpath("phrases.toml").read_text("utf-8")
        return cls(tomllib.loads(text), simplify)

    def smalltalk(self, text: str) -> Reply | None:
        """Return the reply when the whole question is smalltalk."""
        folded = _fold_chinese(fold(self._simplify(text)))
        if not folded:
            return None
        return next((s.reply for s in self._smalltalk if s.pattern.fullmatch(folded)), None)

    def wants_person(self, text: str) -> bool:
        """Tell whether the question asks to be handed over."""
        folded = _fold_chinese(fold(self._simplify(text)))
        return bool(self._handoff.search(folded)) and not self._unless.search(folded)

    def handoff_reply(self, language: Language, contact: str) -> str:
        """Return the handoff text, with the way to reach a person when one is configured."""
        reply = self._handoff_reply.in_language(language)
        if not contact:
            return reply
        joint = "" if language == "zh" else " "
        return reply + joint + self._contact.in_language(language).format(contact=contact)
