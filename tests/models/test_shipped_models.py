"""The models in the source: whole, documented, and right about sentences anyone would write."""

from __future__ import annotations

from contextlib import closing

import pytest

from assistant.models import loading
from assistant.models.build.tuned import TUNED_FILE, read_tuned
from assistant.models.card import CARD_FILE, card
from assistant.models.names import DEFAULT_NAMES
from assistant.models.passport import PASSPORT_FILE, Passport, passport_from_json
from assistant.models.shipped import ShippedModel, shipped_models
from assistant.settings import Settings

SAID = {
    "intent/banking77": {
        "where is the card you sent me": "card_arrival",
        "i have lost my phone what now": "lost_or_stolen_phone",
        "how do i change my pin": "change_pin",
        "will it rain in london tomorrow": "out_of_scope",
    },
    "intent/clinc150": {
        "how do you say thank you in spanish": "translate",
        "what is the balance of my checking account": "balance",
        "play the next song": "next_song",
    },
    "sentiment/finance": {
        "Profit rose by a third and the dividend was raised.": "positive",
        "The company issued a profit warning and its shares fell.": "negative",
        "$TSLA looks weak, expecting a breakdown below 200": "negative",
        "The annual meeting will be held on 5 May in Helsinki.": "neutral",
        "公司业绩大增，股价创历史新高": "positive",
        "公司被证监会立案调查，股价跌停": "negative",
    },
    "topic/finnl_topics": {"比特币跌破3万美元": "虚拟货币", "美联储宣布加息25个基点": "经济"},
    "topic/finnsp_negative": {
        "该平台涉嫌非法集资，已被警方立案侦查，投资者无法提现。": "1",
        "公司发布新产品，市场反应良好。": "0",
    },
    "topic/reuters_r8": {
        "Net profit 1.2 mln dlrs vs 0.9 mln, shr 32 cts vs 25 cts": "earn",
        "OPEC ministers agreed to cut crude oil output to lift prices": "crude",
        "The Bank of Japan intervened to support the dollar against the yen": "money-fx",
    },
    "topic/thucnews_titles": {
        "北京二手房成交量上涨": "realty",
        "沪指收盘涨1%": "stocks",
        "高考志愿填报指南": "education",
    },
    "topic/tnews": {"国足2比1战胜对手": "news_sports"},
}


TAGGED = {
    "news": {
        "Angela Merkel visited the Siemens plant in Munich.": {
            ("Angela Merkel", "PER"),
            ("Siemens", "ORG"),
            ("Munich", "LOC"),
        },
        "新华社记者李明从上海报道。": {("新华社", "ORG"), ("李明", "PER"), ("上海", "LOC")},
        "Nothing happened yesterday.": set(),
    },
    "resume": {
        "王芳女士，汉族，本科学历，曾任万科企业股份有限公司财务总监。": {
            ("王芳", "NAME"),
            ("汉族", "RACE"),
            ("本科学历", "EDU"),
            ("万科企业股份有限公司", "ORG"),
            ("财务总监", "TITLE"),
        },
    },
}
OTHERS = {"encoder/help", "reader/wiki", "risk/credit", "reranker/help", "reranker/pairs"}
READ = [
    ("Who wrote the letter?", "The letter was written by Anna Brown in 1921.", "Anna Brown"),
    ("公司在哪一年成立？", "该公司于1998年在上海成立，现有员工三千人。", "1998年"),
]
RANKED = [
    (
        "How do I block my card?",
        "You can block a lost card in the app under Cards.",
        "Our branches are open from nine to five.",
    ),
    ("怎么修改手机号", "如何更换预留手机号码？", "如何开通网上银行？"),
]


@pytest.mark.parametrize("model", shipped_models(), ids=str)
def test_each_has_its_papers(model: ShippedModel) -> None:
    passport = _passport(model)
    assert (passport.task, passport.name) == (model.task, model.name)
    assert passport.shipped and passport.gate.passed
    assert passport.data.licences and "not named" not in passport.data.licences
    assert passport.metrics["test"]
    assert (model.folder / CARD_FILE).read_text(encoding="utf-8") == card(passport)
    assert {path.name for path in model.folder.iterdir()} == {TUNED_FILE, PASSPORT_FILE, CARD_FILE}
    # Nothing of the machine that made it.
    assert not [line for line in passport.to_json().splitlines() if '"/' in line]
    assert read_tuned(model.folder / TUNED_FILE).scales


@pytest.mark.parametrize(("model", "said"), SAID.items())
def test_a_classifier_is_right_about_plain_sentences(
    model: str, said: dict[str, str], settings: Settings
) -> None:
    task, _, name = model.partition("/")
    with closing(loading.open_classifier(settings, task, name)) as served:
        given = {text: p.label for text, p in zip(said, served.classify(list(said)), strict=True)}
    assert given == said


@pytest.mark.parametrize(("name", "said"), TAGGED.items())
def test_a_tagger_finds_plain_names(
    name: str, said: dict[str, set[tuple[str, str]]], settings: Settings
) -> None:
    with closing(loading.open_tagger(settings, name)) as served:
        found = served.tag(list(said))
    given = [{(entity.text, entity.label) for entity in entities} for entities in found]
    assert given == list(said.values())


@pytest.mark.parametrize(("question", "passage", "answer"), READ)
def test_the_reader_answers_plain_questions(
    question: str, passage: str, answer: str, settings: Settings
) -> None:
    with closing(loading.open_reader(settings)) as served:
        (reading,) = served.read(question, [passage])
    assert answer in reading.text and len(reading.text) < len(passage) / 2


@pytest.mark.parametrize(("question", "right", "wrong"), RANKED)
def test_the_reranker_prefers_what_answers(
    question: str, right: str, wrong: str, settings: Settings
) -> None:
    with closing(loading.open_reranker(settings, "help")) as served:
        order = served.rank(question, [wrong, right])
    assert order[0][0] == 1


def test_pairs_of_questions_are_told_apart(settings: Settings) -> None:
    asked = "怎么修改手机号"
    pairs = [(asked, "如何更换预留手机号码？"), (asked, "如何开通网上银行？")]
    with closing(loading.open_reranker(settings)) as served:
        assert served.ref == "reranker/pairs@v1"
        scores = served.score(pairs)
    assert scores[0] >= served.head.threshold > scores[1]


def test_traditional_chinese_is_read_as_simplified(settings: Settings) -> None:
    with closing(loading.open_reranker(settings, "pairs")) as pairs:
        ours, theirs = pairs.score([("花呗怎么还款", "怎么还花呗"), ("花唄怎麼還款", "怎麼還花唄")])
        assert ours == pytest.approx(theirs, abs=1e-6)
    with closing(loading.open_classifier(settings, "sentiment")) as sentiment:
        ours, theirs = sentiment.classify(
            ["公司业绩大增，股价创历史新高", "公司業績大增，股價創歷史新高"]
        )
        assert ours.probability == pytest.approx(theirs.probability, abs=1e-6)


def test_every_shipped_model_is_tried_here() -> None:
    tried = {*SAID, *(f"tagger/{name}" for name in TAGGED), *OTHERS}
    assert {str(model) for model in shipped_models()} == tried


def test_the_defaults_are_there() -> None:
    names = {(model.task, model.name) for model in shipped_models()}
    tasks = {task for task, _ in names}
    assert {(task, name) for task, name in DEFAULT_NAMES.items() if task in tasks} <= names
    several = {task for task in tasks if len([n for t, n in names if t == task]) > 1}
    # A topic model is asked for by its taxonomy: none stands for the others.
    assert several - {"topic"} <= set(DEFAULT_NAMES)


def _passport(model: ShippedModel) -> Passport:
    path = model.folder / PASSPORT_FILE
    return passport_from_json(path.read_text(encoding="utf-8"), str(path))
