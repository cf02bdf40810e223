"""The prompts a generator is trained on and served with: one place, so that both are the same.

Grounded answers: ``Context / Question / Answer`` (``资料 / 问题 / 回答``), passages numbered from
1; the answer ends with the numbers of the passages it stands on, ``[1]``. Where the passages do not
hold the answer, the model says exactly ``REFUSALS[language]``. Follow-ups: the customer's turns so
far and the new one become one question that can be understood alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Language = Literal["zh", "en"]

REFUSALS: dict[Language, str] = {
    "en": "The context does not hold the answer.",
    "zh": "资料中没有答案。",
}

_MARK = re.compile(r"\s*\[(\d{1,2})\]")
_BLANK = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class GroundedReply:
    """What a grounded completion says: ``text`` without marks, the passages cited (from 1), and
    whether it is the refusal."""

    text: str
    cited: tuple[int, ...]
    refused: bool


def grounded_prompt(question: str, passages: Sequence[str], language: Language) -> str:
    """Return the prompt for an answer from ``passages``, best first; blank lines are folded."""
    lines = "\n".join(f"[{i}] {_one_line(p)}" for i, p in enumerate(passages, 1))
    if language == "zh":
        return f"资料：\n{lines}\n问题：{_one_line(question)}\n回答："
    return f"Context:\n{lines}\nQuestion: {_one_line(question)}\nAnswer:"


def rewrite_prompt(question: str, history: Sequence[str], language: Language) -> str:
    """Return the prompt that turns a follow-up into a standalone question.

    ``history`` holds the customer's earlier turns, oldest first.
    """
    turns = "\n".join(f"- {_one_line(turn)}" for turn in history)
    if language == "zh":
        return f"对话：\n{turns}\n追问：{_one_line(question)}\n完整问题："
    return f"Conversation:\n{turns}\nFollow-up: {_one_line(question)}\nFull question:"


def grounded_answer(text: str, cited: Sequence[int]) -> str:
    """Return the completion that states ``text`` and cites passages by number."""
    return f"{_one_line(text)} " + "".join(f"[{i}]" for i in cited)


def lead(prompt: str) -> str:
    """Return what stands between ``prompt`` and its completion: a space after an ASCII colon.

    The space belongs to the completion, where tokenisers glue it to the first word.
    """
    return " " if prompt.endswith(":") else ""


def read_grounded(completion: str) -> GroundedReply:
    """Return what a grounded completion says; marks are taken out wherever they stand."""
    cited = dict.fromkeys(int(m) for m in _MARK.findall(completion))
    text = _MARK.sub("", completion).strip()
    refused = any(text.startswith(refusal.rstrip(".。")) for refusal in REFUSALS.values())
    return GroundedReply(text, tuple(cited), refused)


def _one_line(text: str) -> str:
    # A line break would let a passage pose as a question or an answer of its own.
    return _BLANK.sub(" ", text).strip()
