"""Taggers: the best labelling against brute force, windows, and offsets of every kind of text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import tuned_models as made
from hypothesis import HealthCheck, given
from hypothesis import settings as options
from hypothesis import strategies as st

from assistant.errors import ModelError, TooLargeError
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.heads import HeadSpec
from assistant.models.spans import is_blank, is_letter, joined_to_previous, token_spans
from assistant.models.tagger import MAX_CHARACTERS, Entity, Tagger, TagRules, merged
from assistant.models.tokens import ModelTokenizer, probabilities

LABELS = made.TAGS.labels
RULES = TagRules(made.TAGS)


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tagger]:
    opened = Tagger(made.model(tmp_path_factory.mktemp("t") / "m", made.TAGS, task="tagger"))
    yield opened
    opened.close()


def allowed(path: tuple[int, ...], joined: np.ndarray) -> bool:
    """The rules in words: I continues its own kind; a word is one thing throughout."""
    for place, label in enumerate(path):
        before = LABELS[path[place - 1]] if place else "O"
        name = LABELS[label]
        if name[0] == "I" and before[2:] != name[2:]:
            return False
        inside_word = place > 0 and joined[place]
        if inside_word and name[0] == "B":
            return False
        if inside_word and (name == "O") != (before == "O"):
            return False
    return True


@pytest.mark.parametrize("seed", range(60))
def test_viterbi_finds_what_trying_everything_finds(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 6))
    head = made.TAGS
    shares = probabilities(head, random.normal(scale=3, size=(count, 5)).astype(np.float32))
    joined = random.random(count) < 0.4
    scored = [
        (sum(np.log(float(shares[i, label])) for i, label in enumerate(path)), path)
        for path in itertools.product(range(5), repeat=count)
        if allowed(path, joined)
    ]
    best = max(scored)[0]
    found = tuple(RULES.path(shares, joined).tolist())
    assert allowed(found, joined)
    assert sum(np.log(float(shares[i, x])) for i, x in enumerate(found)) == pytest.approx(best)


def test_labels_without_a_beginning_begin_with_inside() -> None:
    rules = TagRules(HeadSpec("t", "token", ("O", "I-X")))
    shares = np.array([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], dtype=np.float32)
    assert rules.path(shares, np.zeros(3, dtype=np.bool_)).tolist() == [1, 1, 0]


def shares_for(*names: str, sure: float = 0.9) -> np.ndarray:
    rows = np.full((len(names), 5), (1 - sure) / 4, dtype=np.float32)
    for place, name in enumerate(names):
        rows[place, LABELS.index(name)] = sure
    return rows


def entities(text: str, *names: str, spans: list[tuple[int, int]]) -> tuple[Entity, ...]:
    return RULES.entities(text, np.array(spans), shares_for(*names))


def test_a_boundary_inside_a_word_is_moved_to_its_end() -> None:
    """Two of three tokens of "Siemens" are labelled: all of it is the entity, or none."""
    spans = [(0, 3), (3, 8), (8, 11), (11, 15)]
    found = entities("by Siemens Ltd.", "O", "B-ORG", "O", "O", spans=spans)
    assert found == () or found[0].text == "Siemens"
    shares = shares_for("O", "B-ORG", "I-ORG", "O")
    shares[2] = [0.6, 0.0, 0.4, 0.0, 0.0]
    found = RULES.entities("by Siemens Ltd.", np.array(spans), shares)
    assert [(e.text, e.start, e.end) for e in found] == [("Siemens", 3, 10)]
    assert found[0].probability == pytest.approx(0.4)


def test_neighbours_and_blanks() -> None:
    found = entities(
        "张三李四 王五", "B-PER", "B-PER", "O", "B-PER", spans=[(0, 2), (2, 4), (4, 5), (5, 7)]
    )
    assert [e.text for e in found] == ["张三", "李四", "王五"]
    # The token of a blank alone is part of the word after it, and never of the entity's text.
    found = entities("a 王五", "O", "B-PER", "I-PER", spans=[(0, 1), (1, 2), (2, 4)])
    assert [(e.text, e.start) for e in found] == [("王五", 2)]
    assert entities("a  ", "O", "B-PER", spans=[(0, 1), (1, 3)]) == ()
    found = entities("王五 \u3000", "B-PER", "I-PER", spans=[(0, 2), (2, 4)])
    assert [(e.text, e.end) for e in found] == [("王五", 2)]


def test_wrong_labels_are_refused(tmp_path: Path) -> None:
    for labels in (("B-ORG", "I-ORG"), ("start", "end"), ("O", "ORG")):
        model = made.model(
            tmp_path / "-".join(labels), HeadSpec("tagger", "token", labels), task="tagger"
        )
        with pytest.raises(ModelError, match="O"):
            Tagger(model)
        model.close()


def test_a_long_text_reads_as_its_windows(tagger: Tagger) -> None:
    text = "lost card 银行卡丢了 bank fee " * 12
    item = tagger.model.tokenizer.windows([text])[0]
    assert len(item.windows) > 4
    logits = [made.reference((made.TAGS,), window.tokens.ids)["tagger"] for window in item.windows]
    whole = merged(item, logits)
    for row, values in enumerate(whole):
        # The window in which this token is furthest from an edge.
        inside = [
            (min(row - w.start, w.start + w.count - 1 - row), -i)
            for i, w in enumerate(item.windows)
            if w.start <= row < w.start + w.count
        ]
        if len(inside) > 1 and inside[0][0] == inside[1][0]:
            continue
        chosen = -max(inside)[1]
        window = item.windows[chosen]
        want = logits[chosen][window.lead + row - window.start]
        np.testing.assert_allclose(values, want, rtol=1e-6)
    found = tagger.tag([text])[0]
    want = RULES.entities(text, item.offsets, probabilities(made.TAGS, whole))
    assert [(e.label, e.start, e.end) for e in found] == [(e.label, e.start, e.end) for e in want]


def test_texts_together_equal_texts_alone(tagger: Tagger) -> None:
    texts = ["lost card", "", "银行卡丢了？ bank", "Москва " * 30, " \n "]
    together = tagger.tag(texts)
    assert together == [tagger.tag([text])[0] for text in texts]
    assert together[1] == together[4] == ()
    assert tagger.tag([]) == []
    with pytest.raises(TooLargeError, match="1,000,001"):
        tagger.tag(["a" * (MAX_CHARACTERS + 1)])


ODD = "ab 银行卡?ﬁ㈱½e\u0301\u200d\ufe0f🙂👨‍👩👍🏽ＡＢ１　\n\t～\u2581ﷺ각\ud800Мк\0.,-$5"
TEXTS = st.one_of(st.text(st.sampled_from(ODD), max_size=60), st.text(max_size=40))
SLOWLY = options(suppress_health_check=[HealthCheck.function_scoped_fixture])


@SLOWLY
@given(TEXTS)
def test_every_entity_is_its_place_in_the_text(tagger: Tagger, text: str) -> None:
    check_entities(text, tagger.tag([text])[0])


TOKENIZER = ModelTokenizer(build_tokenizer(tiny.vocabulary()), 40, "query: ", "", "mean")


@SLOWLY
@given(TEXTS, st.integers(0, 10_000))
def test_whatever_the_labels_entities_are_sound(text: str, seed: int) -> None:
    offsets = TOKENIZER.windows([text])[0].offsets
    random = np.random.default_rng(seed)
    logits = random.normal(scale=4, size=(len(offsets), 5)).astype(np.float32)
    check_entities(text, RULES.entities(text, offsets, probabilities(made.TAGS, logits)))


def check_entities(text: str, found: tuple[Entity, ...]) -> None:
    last = 0
    for entity in found:
        assert text[entity.start : entity.end] == entity.text != ""
        assert entity.start >= last
        assert not is_blank(entity.text[0]) and not is_blank(entity.text[-1])
        assert 0 <= entity.probability <= 1 and entity.label in ("ORG", "PER")
        for edge in (entity.start, entity.end):
            if 0 < edge < len(text):
                assert not (is_letter(text[edge - 1]) and is_letter(text[edge]))
        last = entity.end


def test_characters_that_become_several_tokens_stay_whole() -> None:
    text = "在㈱东京ﬁnance"
    spans = token_spans(text, np.array([(0, 1), (1, 2), (1, 2), (1, 2), (2, 4), (4, 5), (4, 10)]))
    joined = joined_to_previous(text, spans)
    assert joined.tolist() == [False, False, True, True, False, False, True]
    assert token_spans("e\u0301t", np.array([(0, 1)])) == [(0, 2)]
    assert token_spans(" a\u200b", np.array([(0, 3)])) == [(1, 2)]
