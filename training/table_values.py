"""Values of made-up tables: money, shares, times, places, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from indexes.types import Language

_UNITS: dict[Language, tuple[str, ...]] = {
    "zh": ("分钟", "小时", "天", "个工作日", "周", "个月", "年"),
    "en": ("minutes", "hours", "days", "working days", "weeks", "months", "years"),
}
_CHANNELS: dict[Language, tuple[str, ...]] = {
    "zh": ("手机应用", "柜台", "电话客服", "自助机", "网站", "邮寄", "不需要", "碎纸", "自动删除"),
    "en": ("app", "branch", "by phone", "self-service kiosk", "website", "by post", "shredding"),
}
_PAPERS: dict[Language, tuple[str, ...]] = {
    "zh": ("身份证", "户口本", "身份证和申请表", "营业执照", "护照", "收入证明", "无"),
    "en": ("passport", "ID card", "ID card and form B2", "proof of address", "payslip", "none"),
}
_TEAMS: dict[Language, tuple[str, ...]] = {
    "zh": ("合规部", "客服中心", "信息安全部", "人力资源部", "财务部"),
    "en": ("Compliance", "Customer care", "Information security", "Human resources", "Finance"),
}
_STREETS: dict[Language, tuple[str, ...]] = {
    "zh": ("青年路", "建设大街", "滨河西路", "学府路", "中山北路"),
    "en": ("Mill Lane", "Queen Street", "Park Avenue", "Harbour Road", "Elm Street"),
}
_MONTHS = ("January", "March", "April", "June", "September", "October", "December")


def value(kind: str, language: Language, random: Random) -> str:
    """Return a value of this kind. Raises KeyError for a kind that there is not."""
    return _KINDS[kind](language, random)


def _money(language: Language, random: Random) -> str:
    if random.random() < 0.08:
        return "免费" if language == "zh" else random.choice(("free", "free of charge"))
    amount = random.choice((0.5, 1, 5, 10, 50, 100, 500, 1000, 10000)) * random.randint(1, 30)
    written = f"{amount:,.2f}" if amount < 5 or random.random() < 0.15 else f"{amount:,.0f}"
    if language == "zh":
        each = random.choice(("", "", "", "/月", "/笔", "/次", "/年"))
        return f"{written}{random.choice(('元', '元', '美元', '港币'))}{each}"
    each = random.choice(("", "", "", " a month", " each", " a year"))
    return f"{random.choice(('$', '£', 'EUR ', 'USD ', 'CNY '))}{written}{each}"


def _percent(language: Language, random: Random) -> str:
    number = random.choice((f"{random.uniform(0, 9):.2f}", str(random.randint(1, 19) * 5)))
    least = random.random() < 0.1 and language == "zh"
    return f"{number}%起" if least else f"{number}%"


def _span(language: Language, random: Random) -> str:
    count, unit = random.randint(1, 36), random.choice(_UNITS[language])
    if random.random() < 0.15:
        to = "至" if language == "zh" else " to "
        return f"{count}{to}{count + 3}{'' if language == 'zh' else ' '}{unit}"
    if language == "zh":
        return f"{count}{unit}"
    return f"{count} {unit if count > 1 else unit.removesuffix('s')}"


def _count(language: Language, random: Random) -> str:
    count = random.randint(1, 60)
    if language == "en" or random.random() < 0.4:
        return str(count)
    return f"{count}{random.choice(('个', '次', '条', '人', '倍', '份'))}"


def _hours(language: Language, random: Random) -> str:
    if random.random() < 0.1:
        return "不营业" if language == "zh" else "closed"
    opens, to = random.randint(7, 10), " to " if language == "en" else "至"
    minutes = random.choice(("00", "30"))
    return f"{opens}:{minutes}{random.choice(('-', '–', to))}{random.randint(16, 22)}:00"


def _time(language: Language, random: Random) -> str:
    return f"{random.randint(7, 22)}:{random.choice(('00', '15', '30', '45'))}"


def _date(language: Language, random: Random) -> str:
    month, day = random.randrange(len(_MONTHS)), random.randint(1, 28)
    if language == "zh":
        return f"{month + 1}月{day}日"
    return f"{day} {_MONTHS[month]}"


def _address(language: Language, random: Random) -> str:
    street, number = random.choice(_STREETS[language]), random.randint(1, 300)
    return f"{street}{number}号" if language == "zh" else f"{number} {street}"


def _exit(language: Language, random: Random) -> str:
    letter = random.choice("ABCDEFG")
    return f"{random.randint(1, 9)}号线{letter}口" if language == "zh" else f"exit {letter}"


def _phone(language: Language, random: Random) -> str:
    return f"0{random.randint(10, 99)}0-555{random.randint(0, 9)}-{random.randint(1000, 9999)}"


def _floor(language: Language, random: Random) -> str:
    return f"{random.randint(1, 9)}楼" if language == "zh" else f"floor {random.randint(1, 9)}"


def _measure(unit: str) -> Callable[[Language, Random], str]:
    return lambda language, random: f"{random.randint(1, 90)}{unit}"


def _one_of(words: dict[Language, tuple[str, ...]]) -> Callable[[Language, Random], str]:
    return lambda language, random: random.choice(words[language])


_KINDS: dict[str, Callable[[Language, Random], str]] = {
    "money": _money,
    "percent": _percent,
    "span": _span,
    "count": _count,
    "hours": _hours,
    "time": _time,
    "date": _date,
    "address": _address,
    "exit": _exit,
    "phone": _phone,
    "floor": _floor,
    "size": _measure("GB"),
    "weight": _measure("kg"),
    "area": _measure("㎡"),
    "channel": _one_of(_CHANNELS),
    "paper": _one_of(_PAPERS),
    "team": _one_of(_TEAMS),
}
