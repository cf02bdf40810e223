"""Readers: the best span against brute force, long passages, and offsets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tuned_models as made
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st

from assistant.errors import ModelError, TooLargeError
from assistant.models.headed import HeadedModel
from assistant.models.reader import MAX_CHARACTERS, Reader, best_span
from assistant.models.spans import is_blank
from assistant.models.tokens import ModelTokenizer


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    model = made.model(tmp_path_factory.mktemp("r") / "m", made.SPAN, task="reader")
    opened = Reader(model, max_answer_tokens=4)
    yield opened
    opened.close()


@pytest.mark.parametrize("seed", range(40))
def test_best_span_is_what_trying_all_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    count, limit = int(random.integers(1, 12)), int(random.integers(1, 6))
    starts, ends = random.normal(size=(2, count)).astype(np.float32)
    starts[random.random(count) < 0.3] = -np.inf
    ends[random.random(count) < 0.3] = -np.inf
    scores = {
        (a, b): float(starts[a] + ends[b])
        for a in range(count)
        for b in range(a, min(count, a + limit))
    }
    best = max(scores.values())
    found = best_span(starts, ends, limit)
    if best == -math.inf:
        assert found is None
        return
    assert found is not None
    assert found[2] == pytest.approx(best)
    assert scores[found[:2]] == pytest.approx(best)


def test_no_token_no_span() -> None:
    nothing = np.empty(0, dtype=np.float32)
    assert best_span(nothing, nothing, 5) is None


def by_hand(reader: Reader, question: str, passage: str) -> tuple[float, str]:
    """All windows, all spans, the null score of each window, in plain numpy."""
    tokenizer = reader.model.tokenizer
    item = tokenizer.pair_windows([(question, passage)])[0]
    best = (-math.inf, "")
    for window in item.windows:
        rows = made.reference((made.SPAN,), window.tokens.ids)["reader"]
        for a in range(window.count):
            for b in range(a, min(window.count, a + reader.max_answer_tokens)):
                first, last = item.offsets[window.start + a], item.offsets[window.start + b]
                covered = [passage[x:y].strip() for x, y in (first, last)]
                if not all(covered):
                    continue
                score = rows[window.lead + a, 0] + rows[window.lead + b, 1] - rows[0].sum()
                if score > best[0]:
                    best = (float(score), passage[first[0] : last[1]].strip())
    return best


@pytest.mark.parametrize("passage", ["lost card", "银行卡 丢了？ fee", "lost a card 银行 fee " * 9])
def test_reading_is_what_the_weights_say(reader: Reader, passage: str) -> None:
    score, text = by_hand(reader, "card?", passage)
    found = reader.read("card?", [passage])[0]
    assert found.probability == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-4)
    assert text in found.text
    assert passage[found.start : found.end] == found.text


def test_temperature_and_threshold_are_the_heads(reader: Reader) -> None:
    def with_head(**values: float) -> Reader:
        head = replace(made.SPAN, **values)
        manifest = replace(reader.manifest, heads=(head,))
        model = HeadedModel(manifest, reader.model.tokenizer._tokenizer, reader.model._backend)
        return Reader(model, max_answer_tokens=4)

    passages = ["lost card", "银行卡丢了？", "fee"]
    plain = reader.read("card?", passages)
    cooler = with_head(temperature=3.0).read("card?", passages)
    for one, other in zip(plain, cooler, strict=True):
        odds = math.log(one.probability / (1 - one.probability))
        assert other.probability == pytest.approx(1 / (1 + math.exp(-odds / 3)), abs=1e-5)
        assert (other.text, other.start) == (one.text, one.start)
    middle = sorted(reading.probability for reading in plain)[1]
    strict = with_head(threshold=middle).read("card?", passages)
    assert sorted(reading.no_answer for reading in strict) == [False, False, True]


def test_passages_together_equal_passages_alone(reader: Reader) -> None:
    passages = ["lost card", "", "银行卡丢了", "bank fee " * 40, "\n"]
    together = reader.read("fee?", passages)
    assert together == [reader.read("fee?", [passage])[0] for passage in passages]
    for empty in (together[1], together[4]):
        assert (empty.text, empty.start, empty.end) == ("", 0, 0)
        assert empty.no_answer and empty.probability == 0
    assert reader.read("fee?", []) == []
    with pytest.raises(TooLargeError, match="split it"):
        reader.read("q", ["a" * (MAX_CHARACTERS + 1)])


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    tagger = made.model(tmp_path / "t", made.TAGS, task="tagger")
    with pytest.raises(ModelError, match="otherwise than start and end"):
        Reader(tagger)
    tagger.close()


ODD = "ab 银行卡?ﬁ㈱½e\u0301\u200d\ufe0f🙂👨‍👩👍🏽ＡＢ１　\n\t～\u2581ﷺ각\ud800Мк\0.,-$5"


@options(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.sampled_from(ODD), max_size=8), st.text(st.sampled_from(ODD), max_size=60))
def test_offsets_are_those_of_the_passage(reader: Reader, question: str, passage: str) -> None:
    found = reader.read(question, [passage])[0]
    assert passage[found.start : found.end] == found.text
    assert 0 <= found.probability <= 1
    if found.text:
        assert not is_blank(found.text[0]) and not is_blank(found.text[-1])
    else:
        assert found.no_answer


def test_the_tokenizer_is_the_one_training_uses(reader: Reader) -> None:
    assert isinstance(reader.model.tokenizer, ModelTokenizer)
