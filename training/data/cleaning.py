"""Clean rows: the same text in, the same text out, every change counted.

Cleaning a row keeps what points into its text right: token offsets and answer starts are found
anew, and a row whose answer is gone is dropped, not taught wrong.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import replace
from functools import cached_property

from assistant.errors import InvalidInputError
from indexes.language import simplified
from training.data.ledger import Ledger, RowProblem
from training.data.masking import mask_personal_data
from training.data.mojibake import mend_mojibake
from training.data.rows import (
    ChatExample,
    ChatMessage,
    Kind,
    LabelledText,
    PlainText,
    ReadingAnswer,
    ReadingExample,
    Row,
    TaggedText,
    TextPair,
)
from training.data.spans import find_nearest
from training.data.spec import Normalise

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Zero-width and formatting characters that carry no meaning in Chinese or English. The zero-width
# joiner stays: it holds emoji together.
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u00ad\u200b\u200c\u200e\u200f"
    "\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_MANY_BREAKS = re.compile(r" ?\n(?: ?\n)+ ?")


class Cleaner:
    """Cleans texts by a ``Normalise`` table; changes are counted in the ledger."""

    def __init__(self, rules: Normalise, kind: Kind, ledger: Ledger) -> None:
        if rules.mask and kind == "tag":
            raise InvalidInputError(
                "normalise.mask cannot be used with tagged text: a mask would hide entities and "
                "move offsets. Mask the raw files first, or leave it out."
            )
        self._rules = rules
        self._kind: Kind = kind
        self._ledger = ledger
        lines: bool = kind in ("text", "chat")
        self._whitespace = rules.whitespace
        if rules.whitespace == "auto":
            self._whitespace = "lines" if lines else "collapse"

    @cached_property
    def _silent(self) -> Cleaner:
        """Cleans what was cleaned before, without counting it twice."""
        return Cleaner(self._rules, self._kind, Ledger())

    def text(self, text: str) -> str:
        """Return the cleaned text, which may be empty. Too long raises by ``too_long``."""
        return self._final(self.fragment(self._bounded(text)))

    def fragment(self, text: str) -> str:
        """Clean a piece of a text: all but trimming its ends, so pieces can be joined."""
        rules, ledger = self._rules, self._ledger
        text, broken = _SURROGATE.subn("\ufffd", text)
        ledger.mend("characters that were half a pair", broken)
        if rules.html and "&" in text:
            text, found = _ENTITY.subn(lambda m: html.unescape(m.group()), text)
            ledger.mend("HTML entities", found)
        if rules.mojibake:
            text, found = mend_mojibake(text)
            ledger.mend("garbled characters", found)
        text = _LINE_ENDS.sub("\n", text)
        if rules.control:
            text, found = _INVISIBLE.subn("", text)
            ledger.mend("control and zero-width characters", found)
        if rules.unicode != "none" and not unicodedata.is_normalized(rules.unicode, text):
            text = unicodedata.normalize(rules.unicode, text)
            ledger.mend(f"texts brought to {rules.unicode}")
        if rules.simplify:
            text = self._simplified(text)
        return self._spaced(text)

    def _final(self, text: str) -> str:
        if self._whitespace != "keep":
            text = text.strip()
        if self._rules.mask:
            text, found = mask_personal_data(text, self._rules.mask)
            for kind, count in found.items():
                self._ledger.mend(f"masked: {kind}", count)
        return text

    def _simplified(self, text: str) -> str:
        simple = simplified(text)
        if simple != text:
            self._ledger.mend("texts brought to simplified characters")
        return simple

    def _spaced(self, text: str) -> str:
        if self._whitespace == "collapse":
            return re.sub(r"\s+", " ", text)
        if self._whitespace == "lines":
            return _MANY_BREAKS.sub("\n\n", _BLANKS.sub(" ", text))
        return text

    def _bounded(self, text: str) -> str:
        limit = self._rules.max_chars
        if len(text) <= limit:
            return text
        message = f"{len(text):,} characters; the limit normalise.max_chars is {limit:,}"
        if self._rules.too_long == "cut":
            self._ledger.mend(f"texts cut at {limit:,} characters")
            return text[:limit]
        if self._rules.too_long == "fail":
            raise InvalidInputError(
                f"A text of {message}. Raise it, or set normalise.too_long to reject or cut. "
                + ("" if self._rules.mask else f"It begins: {text[:60]!r}")
            )
        raise RowProblem("text too long", message, text)

    def row(self, row: Row) -> Row:
        """Return the cleaned row. Raises ``RowProblem`` where nothing usable is left."""
        match row:
            case LabelledText() | PlainText():
                return replace(row, text=self._filled(row.text))
            case TextPair():
                return replace(
                    row, text_a=self._filled(row.text_a), text_b=self._filled(row.text_b)
                )
            case TaggedText():
                return self._tagged(row)
            case ReadingExample():
                return self._reading(row)
            case ChatExample():
                messages = (ChatMessage(m.role, self._filled(m.content)) for m in row.messages)
                return replace(row, messages=tuple(messages))

    def _filled(self, text: str) -> str:
        cleaned = self.text(text)
        if not cleaned.strip():
            raise RowProblem("empty text", text=text)
        if len(cleaned) < self._rules.min_chars:
            raise RowProblem(
                "text too short", f"normalise.min_chars is {self._rules.min_chars}", cleaned
            )
        return cleaned

    def _tagged(self, row: TaggedText) -> TaggedText:
        self._bounded_tokens(row)
        if self._silent.text(row.text) == row.text:
            return row  # the usual case, and a hundred times faster than token by token
        tokens: list[str] = []
        tags: list[str] = []
        offsets: list[tuple[int, int]] = []
        text, before, opened = "", 0, ""
        for token, tag, (start, end) in zip(row.tokens, row.tags, row.offsets, strict=True):
            gap = " " if tokens and row.text[before:start] else ""
            before = end
            cleaned = self.fragment(token).strip()
            if not cleaned:
                opened = tag if tag.startswith("B-") else opened
                continue
            if opened and tag == f"I-{opened[2:]}":  # the entity's first token was cleaned away
                tag = opened  # noqa: PLW2901
            opened = ""
            tokens.append(cleaned)
            tags.append(tag)
            offsets.append((len(text) + len(gap), len(text) + len(gap) + len(cleaned)))
            text += gap + cleaned
        if not tokens:
            raise RowProblem("empty text", text=row.text)
        return replace(
            row, tokens=tuple(tokens), tags=tuple(tags), text=text, offsets=tuple(offsets)
        )

    def _bounded_tokens(self, row: TaggedText) -> None:
        if len(row.text) > self._rules.max_chars and self._rules.too_long == "cut":
            raise RowProblem(
                "text too long",
                f"{len(row.text):,} characters; tagged text cannot be cut",
                row.text,
            )
        self._bounded(row.text)

    def _reading(self, row: ReadingExample) -> ReadingExample:
        context, question = self._filled(row.context), self._filled(row.question)
        answers = tuple(self._answer(row.context, context, answer) for answer in row.answers)
        found = tuple(dict.fromkeys(answer for answer in answers if answer))
        if row.answers and not found:
            raise RowProblem("answer not in context", row.answers[0].text, row.question)
        return replace(row, question=question, context=context, answers=found)

    def _answer(self, raw: str, context: str, answer: ReadingAnswer) -> ReadingAnswer | None:
        """Find the answer again: where it stands closest to where its start has moved."""
        text = self._final(self.fragment(answer.text))
        if not text:
            return None
        moved = answer.start
        if raw != context:
            moved = len(self._silent.fragment(raw[: answer.start]).lstrip())
        position = find_nearest(context, text, moved)
        return None if position is None else ReadingAnswer(text, position)
