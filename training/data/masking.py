"""Mask personal data: telephone numbers, e-mail addresses, payment cards, identity numbers.

Chinese and English forms. Cards count only with a right check digit (ISO/IEC 7812, Luhn), Chinese
identity numbers only with theirs (GB 11643-1999), so order numbers and amounts stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from training.data.spec import PersonalData

_EMAIL = re.compile(
    r"(?<![A-Za-z0-9_.+%-])[A-Za-z0-9_.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9_-])"
)
_CHINESE_ID = re.compile(r"(?<!\d)[1-9]\d{5}(?:18|19|20)\d{2}[01]\d[0-3]\d{4}[\dXx](?![\dXx])")
_SOCIAL_SECURITY = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_CARD = re.compile(r"(?<![\d+])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)")
_PHONE = re.compile(
    r"(?<![\d.])(?:"
    r"(?:\+?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}"  # Chinese mobile
    r"|0\d{2,3}[ -]\d{7,8}"  # Chinese landline
    r"|(?:\+?1[ .-])?\(\d{3}\) ?\d{3}[ .-]\d{4}|(?:\+?1[ .-])?\d{3}[.-]\d{3}[.-]\d{4}"  # NANP
    r"|\+\d{1,3}(?:[ .-]?\d{2,4}){2,5}"  # international
    r")(?![\d])"
)
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d if i % 2 else sum(divmod(2 * d, 10)) for i, d in enumerate(reversed(digits), 1)]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _chinese_id(text: str) -> bool:
    total = sum(int(c) * w for c, w in zip(text[:17], _ID_WEIGHTS, strict=True))
    return "10X98765432"[total % 11] == text[-1].upper()


def _always(_: str) -> bool:
    return True


_RULES: Mapping[PersonalData, Sequence[tuple[re.Pattern[str], Callable[[str], bool]]]] = {
    "email": ((_EMAIL, _always),),
    "id": ((_CHINESE_ID, _chinese_id), (_SOCIAL_SECURITY, _always)),
    "card": ((_CARD, _luhn),),
    "phone": ((_PHONE, _always),),
}


def mask_personal_data(text: str, kinds: Sequence[PersonalData]) -> tuple[str, dict[str, int]]:
    """Return the text with ``[EMAIL]``, ``[ID]``, ``[CARD]``, ``[PHONE]``, and counts by kind.

    Long numbers go first, so that no part of a card is taken for a telephone number.
    """
    counts: dict[str, int] = {}
    for kind, rules in _RULES.items():
        if kind not in kinds:
            continue
        for pattern, holds in rules:
            found = 0

            def replace(
                match: re.Match[str], kind: str = kind, holds: Callable[[str], bool] = holds
            ) -> str:
                nonlocal found
                if not holds(match.group()):
                    return match.group()
                found += 1
                return f"[{kind.upper()}]"

            text = pattern.sub(replace, text)
            if found:
                counts[kind] = counts.get(kind, 0) + found
    return text, counts
