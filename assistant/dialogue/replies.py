"""What the assistant says in its own words: never a fact about the business."""

from __future__ import annotations

from collections.abc import Sequence

from assistant.dialogue.rules import Reply
from assistant.types import Candidate
from indexes.types import Language

_CLARIFY = Reply("您想了解的是下面哪一个？", "Which of these do you mean?")
_CLARIFY_ONE = Reply("您想了解的是这个吗？", "Do you mean this?")
_ABSTAIN = Reply(
    "抱歉，现有资料里没有找到可靠的答案，我不想猜测。您可以换个说法再问，或者回复“转人工”由同事解答。",
    "I couldn't find a reliable answer to this in our documents, and I'd rather not guess. "
    'Try other words, or say "talk to a person" and a colleague will help.',
)
_DECLINE = Reply(
    "抱歉，这类问题我不便回答。需要的话，请回复“转人工”，由同事为您处理。",
    "I'm afraid I can't help with questions of this kind. If you need to, say "
    '"talk to a person" and a colleague will help.',
)
_EMPTY = Reply(
    "这个知识库还没有资料。请先上传文档或常见问题。",
    "This collection has no documents yet. Add documents or an FAQ first.",
)


def clarify(language: Language, candidates: Sequence[Candidate]) -> str:
    """Return the question back, with the closest matches as a list."""
    listed = "\n".join(f"- {c.question}" for c in candidates)
    ask = _CLARIFY if len(candidates) > 1 else _CLARIFY_ONE
    return f"{ask.in_language(language)}\n{listed}"


def abstain(language: Language) -> str:
    """Return the admission that no reliable answer was found."""
    return _ABSTAIN.in_language(language)


def decline(language: Language) -> str:
    """Return the refusal of a question that the tenant does not want answered."""
    return _DECLINE.in_language(language)


def empty_collection(language: Language) -> str:
    """Return the hint that nothing was loaded yet."""
    return _EMPTY.in_language(language)
