"""Tell Chinese from English by script, without a model; read traditional Chinese as simplified."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from indexes.types import Language

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_WORD = re.compile(r"[A-Za-z]+(?:['’][A-Za-z]+)?")
_CJK_MARK = re.compile(r"[\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]")
# Words that only running English has; product names and acronyms inside Chinese do not.
_FUNCTION_WORD_LIST = (
    "a an and are as at be by can did do does for from get has have how i if in is it me my not of "
    "on or our shall should that the their there these this to was we what when where which who "
    "why will with would you your"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_WORD_LIST.split())
_SAMPLE = 4000
_WORD_WEIGHT = 0.4


def detect_language(text: str) -> Language:
    """The main language of ``text``: ``"zh"`` or ``"en"`` (also for text with no letters).

    One Han character weighs as much as one English function word; other Latin words weigh less,
    since Chinese questions about software are full of them. Long texts are sampled at their
    beginning, middle and end.
    """
    sample = text if len(text) <= 3 * _SAMPLE else _sample(text)
    han = len(_HAN.findall(sample))
    words = _WORD.findall(sample)
    if not han and not words:
        return "zh" if _CJK_MARK.search(sample) else "en"
    function_words = sum(word.lower() in _FUNCTION_WORDS for word in words)
    english = _WORD_WEIGHT * (len(words) - function_words) + (1 + _WORD_WEIGHT) * function_words
    return "zh" if han > english else "en"


def simplified(text: str) -> str:
    """Return ``text`` with traditional Chinese characters as simplified ones.

    Text that is no valid Unicode (lone surrogates) is returned as it is.
    """
    if not _HAN.search(text):
        return text
    try:
        return _to_simplified()(text)
    except UnicodeEncodeError:
        return text


@cache
def _to_simplified() -> Callable[[str], str]:
    import opencc

    convert: Callable[[str], str] = opencc.OpenCC("t2s").convert
    return convert


def _sample(text: str) -> str:
    middle = (len(text) - _SAMPLE) // 2
    return "\n".join((text[:_SAMPLE], text[middle : middle + _SAMPLE], text[-_SAMPLE:]))
