"""The tokeniser recovered from the real vocabulary, whole and trimmed."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
import tiny_models as tiny
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st
from tokenizers import Tokenizer

from assistant.models.build.e5s1 import read_e5s1
from assistant.models.build.recipe import E5_SMALL
from assistant.models.build.sources import locate
from assistant.models.build.tokenizer import build_tokenizer, kept_pieces, trim
from assistant.models.build.weights import Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return read_e5s1(locate(E5_SMALL.source).location).vocabulary


@pytest.fixture(scope="module")
def kept(vocabulary: Vocabulary) -> list[int]:
    return kept_pieces(vocabulary)


@pytest.fixture(scope="module")
def whole(vocabulary: Vocabulary) -> Tokenizer:
    return build_tokenizer(vocabulary)


@pytest.fixture(scope="module")
def small(vocabulary: Vocabulary, kept: list[int]) -> Tokenizer:
    return build_tokenizer(trim(vocabulary, kept))


def test_known_ids_of_the_published_tokeniser(whole: Tokenizer) -> None:
    """Ids that transformers gives for intfloat/multilingual-e5-small."""
    assert whole.encode("query: how much protein should a female eat").ids == [
        0, 41, 1294, 12, 3642, 5045, 21308, 5608, 10, 117776, 73203, 2,
    ]  # fmt: skip


def test_trimming_saves_and_keeps_its_promises(vocabulary: Vocabulary, kept: list[int]) -> None:
    assert 100_000 < len(kept) < 150_000
    places = set(kept)
    single = [i for i, p in enumerate(vocabulary.pieces) if len(p.replace("▁", "")) == 1]
    assert places.issuperset(single)
    assert vocabulary.pieces.index("▁Россия") not in places
    assert {vocabulary.pieces.index(p) for p in ("▁account", "银行", "▁café")} <= places


ZH_EN = st.text(
    st.one_of(
        st.characters(min_codepoint=32, max_codepoint=126),
        st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF),
        st.sampled_from("，。！？：；“”（）【】《》、—…～·％￥€£°×éüñçÀ１２Ａ 　\n\t①②㎡℃"),
    )
)


@options(max_examples=300)
@given(text=ZH_EN)
def test_chinese_and_english_are_cut_as_before(
    whole: Tokenizer, small: Tokenizer, kept: list[int], text: str
) -> None:
    assert [kept[i] for i in small.encode(text).ids] == whole.encode(text).ids


def test_public_sets_are_cut_as_before(
    whole: Tokenizer, small: Tokenizer, kept: list[int], dev_data: Path
) -> None:
    """Real texts; those with letters of a third script are the only ones allowed to differ."""
    texts: list[str] = []
    for name in ("retrieval_zh_cmrc", "retrieval_en_squad", "retrieval_en_bankfaq"):
        with (dev_data / name / "corpus.jsonl").open(encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    assert len(texts) > 1000
    differing = [
        text
        for text in texts
        if [kept[i] for i in small.encode(text).ids] != whole.encode(text).ids
    ]
    assert [text for text in differing if not _has_third_script(text)] == []


def _has_third_script(text: str) -> bool:
    return any(
        unicodedata.category(c)[0] == "L"
        and not unicodedata.name(c, "").startswith(("LATIN", "CJK", "FULLWIDTH"))
        for c in text
    )


def test_foreign_scripts_are_spelled_out_not_lost(small: Tokenizer) -> None:
    unknown = small.encode("\U00013080").ids[-2]
    assert unknown not in small.encode("Клиент Иванов", add_special_tokens=False).ids


@pytest.mark.parametrize("text", ["</s>", "<s>", "<mask>", "<pad>", "a</s>b"])
def test_typed_control_tokens_are_plain_text(small: Tokenizer, text: str) -> None:
    ids = small.encode(text).ids
    assert ids[0] == 0
    assert ids[-1] == 2
    assert not set(ids[1:-1]) & {0, 1, 2, 3}


def test_the_fullwidth_tilde_survives_normalisation() -> None:
    tokenizer = build_tokenizer(tiny.vocabulary())
    assert tokenizer.normalizer.normalize_str("１～２％  a") == "1～2% a"


def test_offsets_count_code_points_of_the_original(small: Tokenizer) -> None:
    text = "ﬁnance 😀 银行卡  ①号"
    encoding = small.encode(text, add_special_tokens=False)
    covered = {i for start, end in encoding.offsets for i in range(start, end)}
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
    assert max(end for _, end in encoding.offsets) == len(text)


def test_chinese_may_be_cut_into_characters(vocabulary: Vocabulary) -> None:
    whole, cut = build_tokenizer(vocabulary), build_tokenizer(vocabulary, characters=True)
    text = "在北京的John Smith 参观了1998年的展览。"
    plain, single = (t.encode(text, add_special_tokens=False) for t in (whole, cut))
    assert any(end - start > 1 for start, end in plain.offsets[1:3]), "else there is nothing to cut"
    places = [i for i, c in enumerate(text) if "\u4e00" <= c <= "\u9fff"]
    for place in places:
        assert (place, place + 1) in single.offsets
    # Everything else is as it was.
    other = [text[a:b] for a, b in plain.offsets if not any(a <= i < b for i in places)]
    assert other == [
        text[a:b] for a, b in single.offsets if b > a and not any(a <= i < b for i in places)
    ]
    assert vocabulary.unk not in single.ids


def test_trim_renumbers_the_special_tokens() -> None:
    words = tiny.vocabulary()
    small = trim(words, [1, 0, 3, 2, 4])
    assert (small.bos, small.pad, small.eos, small.unk) == (1, 0, 3, 2)
    assert small.pieces[4] == words.pieces[4]
