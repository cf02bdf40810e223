"""Follow-ups: turn "and for business accounts?" into a question that stands alone.

No model is asked: a follow-up either adds to the question before it or changes its aspect, so
each rewrite keeps the words of both. Retrieval then decides which rewrite has evidence.
"""

from __future__ import annotations

import re

from assistant.types import Turn

_EN_LEAD = re.compile(
    r"^\s*(?:(?:ok(?:ay)?|right|thanks|thank you|great|i see|hmm+|well|oh)[,.!\s]+)*"
    r"(?:and|but|so|or|then|also)?[,\s]*"
    r"(?:(?:what|how)\s+about|what\s+if|same\s+for|is\s+(?:it|that)\s+the\s+same\s+(?:for|with|in|on|at))?\s*",
    re.IGNORECASE,
)
_EN_MARK = re.compile(
    r"^\s*(?:(?:ok(?:ay)?|right|thanks|great|i see|hmm+|well|oh)[,.!\s]+)*"
    r"(?:and\b|but\b|or\b|then\b|also\b|what about\b|how about\b|what if\b|same for\b|"
    r"is (?:it|that) the same\b|why\b(?!\s+\w+\s+\w+\s+\w+\s+\w+)|since when\b|until when\b)",
    re.IGNORECASE,
)
_EN_PRONOUN = re.compile(
    r"\b(?:it|its|that|this|these|those|they|them|their|one|ones|there|the same|such)\b",
    re.IGNORECASE,
)
_EN_BARE = re.compile(
    r"^\s*(?:how (?:much|long|many|often|soon|far|fast)|when|where|which|who|why|how|what|"
    r"for how long|by when|until when|in (?:which|what) \w+|at what \w+)"
    r"(?:\s+(?:exactly|then|is|are|do|does|can|i|you|the|a|fee|cost|limit|will|would))*\s*\??\s*$",
    re.IGNORECASE,
)
_ZH_LEAD = re.compile(
    r"^\s*(?:(?:好的?|嗯+|哦+|谢谢|明白了?|知道了?|了解了?|行|ok)[，,。.!！\s]*)*"
    r"(?:那么|那|还有|另外|然后|以及|而且|可是|但是?|所以|此外|再问(?:一下|下)?|顺便问(?:一下|下)?)?"
    r"[，,\s]*(?:请问)?(?:如果|要是|假如|若)?(?:换成|换做|换|是|对于|对|关于)?",
    re.IGNORECASE,
)
_ZH_MARK = re.compile(
    r"^\s*(?:(?:好的?|嗯+|哦+|谢谢|明白了?|知道了?|行)[，,。.!！\s]*)*"
    r"(?:那么?(?!里|个|些|边|种|样|天|时)|还有|另外|然后|以及|而且|可是|但是?|此外|如果是|要是|换成|顺便)"
    r"|[呢吶][?？。!！\s]*$"
)
_ZH_PRONOUN = re.compile(
    r"它|这个|那个|这种|那种|这笔|这张|这类|该|此|上述|前者|后者|刚才|其中|同样"
)
_ZH_BARE = re.compile(
    r"^\s*(?:要|需要|得)?(?:多久|多少钱?|多长时间|几天|什么时候|什么时间|在哪里?|哪里|为什么|"
    r"怎么办|怎么弄|"
    r"收费吗|收多少|要钱吗|要收费吗|免费吗|可以吗|能吗|安全吗|怎么申请|如何申请|需要什么(?:材料|资料|条件)?|"
    r"有什么(?:要求|条件|限制)|有限额吗|限额(?:是)?多少|手续费(?:是)?多少|几点|"
    r"周末(?:也)?(?:可以|行)吗?)[?？。!！啊呀\s]*$"
)
_ZH_TAIL = re.compile(r"(?:呢|吶|啊|呀|吗|么|嘛|怎么样|如何|的话)*[?？。!！\s]*$")
_ZH_ASK = re.compile(
    r"(?:一般|大概|大约|通常|最快|最多|最少|最高|最低|每天|每日|每月|每年|每次|单笔)?"
    r"(?:是|要|需要|得|会|能|可以|可|有|收取?|付|应该?|应)?"
    r"(?:多久|多少|多长|多大|几[天个次点年月笔种]|怎么|怎样|如何|什么|哪[些里个种家]|是否|能不能|可不可以|"
    r"可以|需不需要|要不要|有没有|会不会|吗|么$)"
)
# What a question asks of its topic; a follow-up that names one replaces it.
_ZH_ASPECT = (
    r"(?:手续费|费用|费率|收费|价格|限额|额度|上限|时间|时限|期限|条件|要求|材料|资料|证件|利率|利息|"
    r"流程|步骤|方式|年费|违约金|起存金额|截止时间|到账时间)"
)
_ZH_ASPECT_END = re.compile(rf"(?<=..)的?{_ZH_ASPECT}$")
_ZH_ASPECT_IN = re.compile(_ZH_ASPECT)
_HAN = re.compile(r"[\u3400-\u9fff]")
_SHORT_ZH = 9
_SHORT_EN = 7
_FRAGMENT_ZH = 8
_FRAGMENT_EN = 4
_BARE_ZH = 3
_BARE_EN = 1


def is_follow_up(text: str, history: tuple[Turn, ...]) -> bool:
    """Tell whether ``text`` leans on the conversation before it."""
    if not history:
        return False
    if _HAN.search(text):
        return bool(
            _ZH_MARK.search(text)
            or _ZH_BARE.search(text)
            or (_ZH_PRONOUN.search(text) and len(text) <= 3 * _SHORT_ZH)
        )
    words = len(text.split())
    return bool(
        (_EN_MARK.search(text) and words <= 2 * _SHORT_EN)
        or _EN_BARE.search(text)
        or (_EN_PRONOUN.search(text) and words <= 2 * _SHORT_EN)
    )


def is_fragment(text: str) -> bool:
    """Tell whether ``text`` is too short to say whether it leans on what came before."""
    if _HAN.search(text):
        return len(_content(text)) <= _FRAGMENT_ZH
    return len(text.split()) <= _FRAGMENT_EN


def is_bare(text: str) -> bool:
    """Tell whether ``text`` names a thing without asking anything of it ("card", "手续费？")."""
    if _HAN.search(text):
        return len(_HAN.findall(text)) <= _BARE_ZH
    return len(text.split()) <= _BARE_EN


def rewrites(text: str, history: tuple[Turn, ...]) -> tuple[str, ...]:
    """Return standalone forms of a follow-up, the most literal first; at most three.

    The question it leans on is the last one that was understood (``Turn.standalone``).
    """
    before = history[-1].standalone.strip().rstrip("?？。.!！ ")
    tail = _content(text)
    if not tail:
        return (before,)
    if _HAN.search(before) or _HAN.search(text):
        topic = _topic_zh(before)
        if _ZH_ASPECT_IN.search(tail):
            topic = _ZH_ASPECT_END.sub("", topic)
        forms = [f"{before}，{tail}", f"{topic}{tail}" if topic != before else ""]
    else:
        topic = _topic_en(before)
        forms = [f"{before} {tail}", f"{tail} {topic}" if topic else ""]
    return tuple(dict.fromkeys(filter(None, forms)))


def _content(text: str) -> str:
    """Return the follow-up without lead-in and question mark."""
    if _HAN.search(text):
        return _ZH_TAIL.sub("", _ZH_LEAD.sub("", text, count=1)).strip()
    return _EN_LEAD.sub("", text, count=1).strip().rstrip("?.! ")


def _topic_zh(question: str) -> str:
    """Return what a Chinese question is about: the words before what it asks, or all of it."""
    found = _ZH_ASK.search(question)
    head = question[: found.start()] if found else question
    head = re.sub(r"^(?:请问|我想问(?:一下)?|想问(?:一下)?|你们的?|贵行的?|我的?|我们)+", "", head)
    head = head.rstrip("，,的 ")
    return head if len(head) >= 2 else question


_EN_FUNCTION = re.compile(
    r"(?:what|which|who|whom|whose|when|where|why|how|much|many|long|often|is|are|was|were|be|been|"
    r"do|does|did|can|could|will|would|shall|should|may|might|must|i|you|we|they|he|she|it|me|my|"
    r"your|our|their|its|the|a|an|of|to|for|in|on|at|by|with|from|as|and|or|but|if|then|than|that|"
    r"this|these|those|there|have|has|had|get|need|want|take|takes|please|tell|about|any|some)",
    re.IGNORECASE,
)


def _topic_en(question: str) -> str:
    """Return the content words of an English question."""
    words = re.findall(r"[\w'-]+", question)
    return " ".join(w for w in words if not _EN_FUNCTION.fullmatch(w))
