from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes.language import detect_language


@pytest.mark.parametrize(
    "text",
    [
        "什么是CDN",
        "怎么使用 API Gateway 的 CNAME？",
        "CDN HTTPS OCSP Stapling 配置",
        "您好",
        "那手续费呢？",
        "ATM",
        "請問如何開戶",
    ],
)
def test_chinese_with_product_names(text: str) -> None:
    assert detect_language(text) == ("en" if text == "ATM" else "zh")


@pytest.mark.parametrize(
    "text",
    [
        "How do I open an account?",
        "What does 转账 mean?",
        "How do I use 支付宝 to pay?",
        "",
        "12345",
        "Is 工商银行 the same as ICBC, and where is its nearest branch?",
    ],
)
def test_english_with_chinese_names(text: str) -> None:
    assert detect_language(text) == "en"


def test_punctuation_alone_tells() -> None:
    assert detect_language("？？！") == "zh"
    assert detect_language("??!") == "en"


def test_long_text_is_judged_by_its_parts() -> None:
    english_cover = "Confidential. For the use of our customers only. " * 60
    assert detect_language(english_cover + "本协议自双方签字之日起生效。" * 3000) == "zh"


@given(st.text())
def test_any_text_has_a_language(text: str) -> None:
    assert detect_language(text) in ("zh", "en")
