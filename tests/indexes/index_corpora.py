"""Small random corpora and the slow, obvious way to score them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from indexes.analysis import Analyzer
from indexes.types import FloatArray, IndexItem

DIM = 16
WORDS = re.findall(
    r"\w+",
    "fee account transfer branch loan card limit charge deposit rate annual monthly customer "
    "online password balance statement currency interest mortgage",
)
HAN = re.findall(
    r"\w+", "手续费 年费 信用卡 账户 转账 贷款 利率 余额 密码 网点 存款 客户 额度 还款 挂失 短信"
)


def unit(vectors: FloatArray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def random_text(rng: np.random.Generator) -> str:
    words = rng.choice(WORDS, rng.integers(1, 12))
    han = rng.choice(HAN, rng.integers(0, 5))
    return " ".join(words) + "，" + "".join(han)


def random_items(
    rng: np.random.Generator, count: int, *, first: int = 1, dim: int = DIM
) -> list[IndexItem]:
    """Items with ids from ``first`` on; one in three has no tag."""
    # Around 0.8 of cosine apart, as real encoders put them.
    vectors = unit(rng.normal(size=(count, dim)) * 0.5 + 1.0)
    tags = [frozenset(), frozenset({"public"}), frozenset({"staff", "branch"})]
    return [
        IndexItem(first + i, random_text(rng), vectors[i], tags[int(rng.integers(3))])
        for i in range(count)
    ]


def brute_force(
    items: Sequence[IndexItem], text: str, vector: FloatArray
) -> Mapping[int, tuple[float, float]]:
    """Return item id to (cosine, coverage), from the definitions, one item at a time."""
    analyzer = Analyzer()
    terms = {item.item_id: Counter(analyzer.tokens(item.text)) for item in items}
    frequency = Counter(term for counts in terms.values() for term in counts)
    average = sum(c.total() for c in terms.values()) / len(items)
    query = Counter(analyzer.tokens(text))
    idf = {t: math.log(1 + (len(items) - frequency[t] + 0.5) / (frequency[t] + 0.5)) for t in query}
    best = sum(times * idf[t] for t, times in query.items())
    result = {}
    for item in items:
        counts = terms[item.item_id]
        score = 0.0
        for term, times in query.items():
            tf = min(counts[term], 255)
            norm = 1.2 * (0.25 + 0.75 * counts.total() / average)
            score += times * idf[term] * tf / (tf + norm)
        half = item.vector.astype(np.float16).astype(np.float32)
        result[item.item_id] = (float(half @ vector), score / best if best else 0.0)
    return result
