"""The served encoder: real weights, real text, and text nobody should send."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st

from assistant.errors import ModelError
from assistant.models.build import build_encoder
from assistant.models.encoder import Encoder, clean
from assistant.models.loading import load_encoder, thread_count
from assistant.models.session import choose_device, cuda_problem
from assistant.settings import Settings
from indexes.types import Span


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    settings = Settings(threads=2, device="cpu")
    build_encoder(settings)
    opened = load_encoder(settings)
    yield opened
    opened.close()


def test_both_languages_find_their_answers(encoder: Encoder) -> None:
    passages = encoder.encode_passages(
        [
            "If your card is lost or stolen, block it at once in the app or by phone.",
            "境外汇款按金额的千分之一收取手续费，最低十五美元。",
            "The branch in the main street opens at nine on weekdays.",
            "定期存款提前支取的部分按活期利率计息。",
        ]
    )
    queries = encoder.encode_queries(
        ["How do I block a stolen card?", "汇款手续费", "branch opening hours", "提前支取定期存款"]
    )
    assert (queries @ passages.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_translations_are_closer_than_other_topics(encoder: Encoder) -> None:
    english = encoder.encode_passages(["The weather is nice today.", "I lost my bank card."])
    chinese = encoder.encode_passages(["今天天气很好。", "我的银行卡丢了。"])
    assert (chinese @ english.T).argmax(axis=1).tolist() == [0, 1]


def test_rows_are_unit_float32(encoder: Encoder) -> None:
    found = encoder.encode_passages(["one", "二", "three words here"] * 5)
    assert found.shape == (15, encoder.dim)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_text_has_one_vector_whatever_its_company(encoder: Encoder) -> None:
    text = "Fees are charged monthly."
    alone = encoder.encode_passages([text])[0]
    among = encoder.encode_passages(["short", text, "a much longer passage " * 40, text])
    np.testing.assert_array_equal(among[1], alone)
    np.testing.assert_array_equal(among[3], alone)


def test_queries_and_passages_differ_by_their_prefix(encoder: Encoder) -> None:
    assert encoder.encode_queries(["card"])[0] @ encoder.encode_passages(["card"])[0] < 0.999


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_queries([]).shape == (0, encoder.dim)
    assert encoder.encode_passages([]).shape == (0, encoder.dim)
    assert encoder.count_tokens([]) == []
    vectors, spans = encoder.encode_passages_with_spans([], [], [])
    assert vectors.shape == (0, encoder.dim)
    assert spans == []


def test_long_lists_of_queries_equal_single_ones(encoder: Encoder) -> None:
    texts = [f"question number {n} about fees" for n in range(9)]
    together = encoder.encode_queries(texts)
    np.testing.assert_array_equal(
        together, np.concatenate([encoder.encode_queries([text]) for text in texts])
    )


def test_concurrent_callers_get_their_own(encoder: Encoder) -> None:
    texts = [f"费用问题 {n}" for n in range(40)]
    expected = encoder.encode_queries(texts)
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda text: encoder.encode_queries([text])[0], texts))
    np.testing.assert_array_equal(np.stack(found), expected)


def test_passages_are_encoded_after_their_context_and_spans_by_themselves(
    encoder: Encoder,
) -> None:
    text = "挂失请拨打热线。The fee is ten dollars. 😀 Bye."
    first, second = Span(0, 8), Span(8, 31)
    vectors, spans = encoder.encode_passages_with_spans(
        [text, text, "Bye."],
        ["", "Cards > Loss", ""],
        [[Span(0, len(text)), first, second], [first], [Span(0, 4)]],
    )
    assert [rows.shape for rows in spans] == [(3, encoder.dim), (1, encoder.dim), (1, encoder.dim)]
    alone = encoder.encode_passages(
        [text, f"Cards > Loss\n{text}", "Bye.", "挂失请拨打热线。", "The fee is ten dollars."]
    )
    np.testing.assert_allclose(vectors, alone[:3], atol=1e-5)
    np.testing.assert_allclose(spans[0], alone[[0, 3, 4]], atol=1e-5)
    np.testing.assert_allclose(spans[1], alone[[3]], atol=1e-5)
    np.testing.assert_array_equal(spans[2], vectors[2:])


def test_traditional_and_simplified_chinese_are_one(encoder: Encoder) -> None:
    simple, traditional = "信用卡丢了怎么挂失？", "信用卡丟了怎麼掛失？"
    for encode in (encoder.encode_queries, encoder.encode_passages):
        np.testing.assert_array_equal(encode([simple]), encode([traditional]))


def test_a_passage_without_spans_has_none(encoder: Encoder) -> None:
    vectors, spans = encoder.encode_passages_with_spans(["a", "b c"], ["", ""], [[], [Span(0, 1)]])
    assert vectors.shape == (2, encoder.dim)
    assert [rows.shape for rows in spans] == [(0, encoder.dim), (1, encoder.dim)]


def test_lists_of_different_lengths_are_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="2 texts, 1 contexts and 1 lists"):
        encoder.encode_passages_with_spans(["a", "b"], [""], [[]])


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0" * 50,
        "\ud800",
        "a\udfffb",
        "😀" * 30,
        "שלום עולם",
        "مرحبا",
        "\u202eabc",
        "</s>",
    ],
)
def test_odd_text_gets_a_finite_unit_vector(encoder: Encoder, text: str) -> None:
    for rows in (encoder.encode_queries([text]), encoder.encode_passages([text])):
        assert np.isfinite(rows).all()
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert encoder.count_tokens([text])[0] >= 0


def test_a_megabyte_is_cut_not_refused(encoder: Encoder) -> None:
    text = "Fees are due. " * 75_000
    assert encoder.count_tokens([text])[0] > 250_000
    start = "Fees are due. " * 400
    np.testing.assert_array_equal(encoder.encode_passages([text]), encoder.encode_passages([start]))


@options(max_examples=60, suppress_health_check=list(HealthCheck))
@given(text=st.text(st.characters(codec=None), max_size=60), cut=st.integers(0, 60))
def test_any_text_and_span_work(encoder: Encoder, text: str, cut: int) -> None:
    middle = min(cut, len(text))
    vectors, spans = encoder.encode_passages_with_spans(
        [text], ["title"], [[Span(0, middle), Span(middle, len(text))]]
    )
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(spans[0], axis=1), 1, atol=1e-4)


@given(text=st.text(st.characters(codec=None)))
def test_cleaning_keeps_length_and_makes_utf8(text: str) -> None:
    found = clean(text)
    assert len(found) == len(text)
    found.encode("utf-8")


def test_the_device_is_chosen_with_a_reason() -> None:
    assert choose_device("cpu", fp16_built=True).reason == "device is set to cpu"
    problem = cuda_problem()
    if problem is None:
        pytest.skip("this machine has CUDA; test_model_gpu checks the rest")
    assert choose_device("auto", fp16_built=True).device == "cpu"
    assert choose_device("auto", fp16_built=True).reason == problem
    with pytest.raises(ModelError, match="ASSISTANT_DEVICE=cpu"):
        choose_device("cuda", fp16_built=True)


def test_threads_default_to_the_cores_allowed() -> None:
    assert thread_count(Settings(threads=3)) == 3
    assert thread_count(Settings()) >= 1


def test_common_words_are_told_from_mistyped_ones(encoder: Encoder) -> None:
    words = ["transfer", "london", "visa", "crad", "trasnfer", "acount"]
    assert encoder.are_words(words) == [True, True, True, False, False, False]
    assert encoder.are_words([]) == []
