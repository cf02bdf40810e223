"""Exact match and F1 of reading against the published scripts' rules, written out again here."""

from __future__ import annotations

import collections
import json
import re
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistant.evaluation import exact_match, f1_score, reading_report
from assistant.evaluation.reading import best_no_answer, chinese_units

ENGLISH = st.text(alphabet="aAnthe .,'-1b", max_size=14)
CHINESE = st.text(alphabet="银行卡的，。《》A1b ", max_size=12)


def squad_tokens(text: str) -> list[str]:
    """The answer normalisation of the SQuAD script, step by step."""
    text = text.lower()
    text = "".join(ch for ch in text if ch not in set(string.punctuation))
    text = re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)
    return text.split()


def squad_f1(prediction: str, gold: str) -> float:
    """The overlap of the SQuAD 2.0 script."""
    gold_tokens, said = squad_tokens(gold), squad_tokens(prediction)
    common = collections.Counter(gold_tokens) & collections.Counter(said)
    same = sum(common.values())
    if len(gold_tokens) == 0 or len(said) == 0:
        return float(gold_tokens == said)
    if same == 0:
        return 0
    precision, recall = same / len(said), same / len(gold_tokens)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=300)
@given(ENGLISH, st.lists(ENGLISH, max_size=3))
def test_english_is_scored_as_by_squad(prediction: str, answers: list[str]) -> None:
    golds = [answer for answer in answers if squad_tokens(answer)] or [""]
    assert f1_score(prediction, answers) == pytest.approx(
        max(squad_f1(prediction, gold) for gold in golds)
    )
    same = max(squad_tokens(prediction) == squad_tokens(gold) for gold in golds)
    assert exact_match(prediction, answers) == same


def cmrc_f1(prediction: str, gold: str) -> float:
    """CMRC 2018: a character or a Latin word is a unit; the longest common run counts."""

    def units(text: str) -> list[str]:
        found: list[str] = []
        word = ""
        for char in text.lower().strip():
            if char in "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』":
                continue
            if re.match("[\u4e00-\u9fa5]", char):
                found += [*word.split(), char]
                word = ""
            else:
                word += char
        return found + word.split()

    said, wanted = units(prediction), units(gold)
    longest = 0
    for start in range(len(said)):
        for end in range(start + 1, len(said) + 1):
            run = said[start:end]
            if any(wanted[i : i + len(run)] == run for i in range(len(wanted))):
                longest = max(longest, len(run))
    if longest == 0:
        return 0
    precision, recall = longest / len(said), longest / len(wanted)
    return 2 * precision * recall / (precision + recall)


@settings(max_examples=300)
@given(CHINESE, CHINESE)
def test_chinese_is_scored_as_by_cmrc(prediction: str, gold: str) -> None:
    if not chinese_units(prediction) or not chinese_units(gold):
        return
    expected = cmrc_f1(prediction, gold)
    assert f1_score(prediction, [gold], "zh") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("约翰（John H. McArthur）教授", "约 翰 john h. mcarthur 教 授"),
        ("高50％以上", "高 50％ 以 上"),
        ("约1,000元,2.5%", "约 1,000 元 ,2.5 %"),
        ("与.NET Framework 2.0.", "与 .net framework 2.0 ."),
        ("{T|Gtk#}是个", "{ t|gtk # } 是 个"),
        ("28至32℃", "28 至 32℃"),
    ],
)
def test_what_is_not_chinese_is_cut_as_by_the_tokeniser_of_the_script(
    text: str, units: str
) -> None:
    """The units written down here are those NLTK 3.10 gave."""
    assert chinese_units(text) == units.split()


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("《战国无双3》", ["战国无双3"], 1, 1),
        ("光荣", ["光荣和ω-force"], 0, 2 * 2 / (2 + 4)),
        # The longest run is what counts, not the bag of characters.
        ("行银", ["银行"], 0, 2 * 1 / 4),
        ("2019年", ["2019年3月"], 0, 2 * 2 / (2 + 4)),
        ("3.5%", ["3.5 %"], 0, 1),
        ("", ["银行"], 0, 0),
        ("", [], 1, 1),
        ("银行", [], 0, 0),
    ],
)
def test_chinese_answers_by_hand(
    prediction: str, answers: list[str], exact: float, f1: float
) -> None:
    assert exact_match(prediction, answers, "zh") == exact
    assert f1_score(prediction, answers, "zh") == pytest.approx(f1)


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("the Normans", ["Normans"], 1, 1),
        ("in France.", ["France", "the north of France"], 0, 2 / 3),
        ("10th century", ["10th and 11th centuries"], 0, 2 * 1 / (2 + 4)),
        ("", ["France"], 0, 0),
        ("", [], 1, 1),
        ("France", [""], 0, 0),
    ],
)
def test_english_answers_by_hand(
    prediction: str, answers: list[str], exact: float, f1: float
) -> None:
    assert exact_match(prediction, answers) == exact
    assert f1_score(prediction, answers) == pytest.approx(f1)


def test_questions_with_and_without_an_answer_are_measured_apart() -> None:
    report = reading_report(
        ["France", "", "Rome", "", "x y"],
        [["France"], [], [], ["Oslo"], ["x"]],
        samples=50,
    )
    found = {name: metric.value for name, metric in report.metrics.items()}
    assert found["exact_match"] == pytest.approx(2 / 5)
    assert found["f1"] == pytest.approx((1 + 1 + 2 / 3) / 5)
    assert found["has_answer_exact_match"] == pytest.approx(1 / 3)
    assert found["has_answer_f1"] == pytest.approx((1 + 2 / 3) / 3)
    assert found["no_answer_exact_match"] == pytest.approx(1 / 2)
    assert found["no_answer_accuracy"] == pytest.approx(3 / 5)
    assert json.dumps(report.to_json(), allow_nan=False)


def test_languages_may_differ_between_questions() -> None:
    report = reading_report(
        ["the bank", "银行，"], [["bank"], ["银行"]], languages=["en", "zh"], samples=0
    )
    assert report.metrics["exact_match"].value == 1
    assert set(report.metrics) == {"exact_match", "f1"}


def official_best(f1: list[float], has: list[bool], na: list[float]) -> tuple[float, float]:
    """The search of the SQuAD 2.0 script, for predictions that are never empty."""
    score = best = sum(not one for one in has)
    threshold = 0.0
    for place in sorted(range(len(f1)), key=lambda place: na[place]):
        score += f1[place] if has[place] else -1
        if score > best:
            best, threshold = score, na[place]
    return threshold, best / len(f1)


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30
    ),
    st.randoms(use_true_random=False),
)
def test_the_best_threshold_is_that_of_the_squad_script(
    rows: list[tuple[float, bool]], random: object
) -> None:
    has = [one for _, one in rows]
    f1 = [score if answerable else 0.0 for score, answerable in rows]
    na = [(place + 1) / 40 for place in range(len(rows))]
    random.shuffle(na)  # type: ignore[attr-defined]
    assert best_no_answer(np.array(f1), has, np.array(na)) == pytest.approx(
        official_best(f1, has, na)
    )


def test_equal_probabilities_fall_on_one_side() -> None:
    """Between rows of the same probability no threshold can pass, whatever their order."""
    f1, na = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    assert best_no_answer(f1, [True, False], na) == (0.0, 0.5)


def test_the_report_finds_the_threshold_from_the_best_spans() -> None:
    report = reading_report(
        ["", "", "wrong"],
        [["Oslo"], [], []],
        spans=["Oslo", "Rome", "wrong"],
        no_answer=[0.2, 0.9, 0.4],
        samples=0,
    )
    assert report.metrics["f1"].value == pytest.approx(1 / 3)
    assert (report.best_threshold, report.best_f1) == (0.2, 1.0)


@pytest.mark.parametrize(
    ("predictions", "answers", "message"),
    [([], [], "no questions"), (["a"], [], "1 predictions for 0 questions")],
)
def test_what_does_not_fit_is_refused(
    predictions: list[str], answers: list[list[str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reading_report(predictions, answers)
