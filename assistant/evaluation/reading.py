"""Metrics of reading comprehension: exact match and F1, in English and Chinese.

English as SQuAD scores it (Rajpurkar et al., 2016, and 2018 for questions without an answer);
Chinese as CMRC 2018 does (Cui et al., 2019): characters are units, runs of other scripts are
words, and F1 is that of the longest common run of units.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from assistant.evaluation.bootstrap import SAMPLES, Floats, Metric, Statistic, bootstrap_all
from assistant.evaluation.scores import mean_statistic, ratio_statistic
from indexes.types import Language

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The published list; its dots of omission stand as a pair there, which no single mark equals.
_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = "\u4e00-\u9fa5"
_SPLIT = r";@#$%&?!()\[\]{}<>\""
# A Chinese character; a mark; a run of anything else. The published script hands what is not
# Chinese to NLTK's tokeniser, whose rules for marks these are: a comma stays before a digit, a full
# stop anywhere but at the end. Left out are its rules for English contractions and quotes.
_UNITS = re.compile(
    rf"[{_HAN}{_SPLIT}]|\.\.\."
    rf"|(?:[^\s{_HAN}{_SPLIT},.']|,(?=\d)|'(?=\w)"
    rf"|\.(?!\.\.|[\])}}>\"']*\s*(?:[{_HAN}]|$)))+"
    r"|[,.']"
)


@dataclass(frozen=True, slots=True)
class ReadingReport:
    """What an evaluation of a reader found.

    ``best_threshold``: the no-answer probability above which to answer nothing, best for F1 on
    these very rows: an upper bound to compare with, not a setting to take over. None where no
    row lacks an answer.
    """

    metrics: Mapping[str, Metric]
    best_threshold: float | None = None
    best_f1: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and numbers."""
        return {
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
            "best_threshold": self.best_threshold,
            "best_f1": self.best_f1,
        }


# --- one answer --------------------------------------------------------------------------------


def normalise_english(text: str) -> str:
    """Lower case, no punctuation (ASCII), no articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def normalise_chinese(text: str) -> str:
    """Lower case, without the punctuation that CMRC 2018 leaves out."""
    return text.lower().strip().translate(_MARKS)


def chinese_units(text: str) -> list[str]:
    """Split into Chinese characters and words of other scripts, without punctuation."""
    return _UNITS.findall(normalise_chinese(text))


def exact_match(prediction: str, answers: Sequence[str], language: Language = "en") -> float:
    """Return 1 when the prediction equals an answer after normalising, else 0.

    No answers means that the right prediction is the empty text.
    """
    normalise = normalise_chinese if language == "zh" else normalise_english
    said = normalise(prediction)
    return float(any(said == normalise(answer) for answer in _golds(answers, language)))


def f1_score(prediction: str, answers: Sequence[str], language: Language = "en") -> float:
    """Return the best overlap with an answer in [0, 1]: of words, or of Chinese units."""
    score = _chinese_f1 if language == "zh" else _english_f1
    return max(score(prediction, answer) for answer in _golds(answers, language))


def _golds(answers: Sequence[str], language: Language) -> Sequence[str]:
    """The answers that hold anything after normalising; none at all: the empty answer."""
    normalise = normalise_chinese if language == "zh" else normalise_english
    return [answer for answer in answers if normalise(answer)] or [""]


def _english_f1(prediction: str, answer: str) -> float:
    said, gold = normalise_english(prediction).split(), normalise_english(answer).split()
    common = sum((Counter(said) & Counter(gold)).values())
    return _overlap(common, said, gold)


def _chinese_f1(prediction: str, answer: str) -> float:
    said, gold = chinese_units(prediction), chinese_units(answer)
    return _overlap(_longest_run(said, gold), said, gold)


def _overlap(common: int, said: Sequence[str], gold: Sequence[str]) -> float:
    if not said or not gold:
        return float(said == gold)
    return 2 * common / (len(said) + len(gold))


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common run of units."""
    best, before = 0, [0] * (len(second) + 1)
    for unit in first:
        here = [0] * (len(second) + 1)
        for place, other in enumerate(second, start=1):
            if unit == other:
                here[place] = before[place - 1] + 1
        best, before = max(best, *here), here
    return best


# --- a set of answers --------------------------------------------------------------------------


def reading_report(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    languages: Sequence[Language] | Language = "en",
    no_answer: ArrayLike | None = None,
    spans: Sequence[str] | None = None,
    seed: int = 0,
    samples: int = SAMPLES,
) -> ReadingReport:
    """Measure predicted answers; an empty prediction says that there is no answer.

    ``answers``: the right ones of each question, none where it has no answer. Questions with and
    without an answer are measured apart when there are both. ``no_answer``: probability (n,) that
    there is none, and ``spans``: the best answer of each question whatever that probability; with
    both, the best threshold between them is found. Raises ValueError when lengths differ or there
    are no rows.
    """
    if len(predictions) != len(answers):
        raise ValueError(f"{len(predictions)} predictions for {len(answers)} questions")
    if not answers:
        raise ValueError("nothing to measure: there are no questions")
    tongues = [languages] * len(answers) if isinstance(languages, str) else list(languages)
    exact = _each(exact_match, predictions, answers, tongues)
    f1 = _each(f1_score, predictions, answers, tongues)
    has = np.array([bool([a for a in row if a.strip()]) for row in answers])
    metrics = bootstrap_all(
        _statistics(exact, f1, has, predictions), len(answers), seed=seed, samples=samples
    )
    if no_answer is None or spans is None or has.all():
        return ReadingReport(metrics)
    threshold, best = best_no_answer(
        _each(f1_score, spans, answers, tongues), has, np.asarray(no_answer, dtype=np.float64)
    )
    return ReadingReport(metrics, threshold, best)


def best_no_answer(f1: Floats, has_answer: ArrayLike, no_answer: Floats) -> tuple[float, float]:
    """Return the best threshold on the no-answer probability (n,), and the F1 it gives.

    ``f1`` (n,): that of the best answer when one is given. Rows whose probability is above the
    threshold are left without an answer. As the SQuAD 2.0 script, except that equal probabilities
    fall on one side together.
    """
    has = np.asarray(has_answer, dtype=bool)
    order = np.argsort(no_answer, kind="stable")
    ranked = no_answer[order]
    # Answering a row gains its F1, and loses what silence on an unanswerable row had earned.
    gains = np.cumsum((f1 - ~has)[order])
    ends = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    totals = (~has).sum() + np.r_[0.0, gains[ends]]
    best = int(np.argmax(totals))
    threshold = float(ranked[ends[best - 1]]) if best else 0.0
    return threshold, float(totals[best] / len(has))


def _each(
    score: Callable[[str, Sequence[str], Language], float],
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    languages: Sequence[Language],
) -> Floats:
    return np.array(
        [score(*row) for row in zip(predictions, answers, languages, strict=True)], dtype=np.float64
    )


def _statistics(
    exact: Floats, f1: Floats, has: Any, predictions: Sequence[str]
) -> dict[str, Statistic]:
    statistics = {"exact_match": mean_statistic(exact), "f1": mean_statistic(f1)}
    if has.all():
        return statistics
    said = np.array([bool(text) for text in predictions])
    statistics |= {
        "no_answer_accuracy": mean_statistic(said == has),
        "no_answer_exact_match": ratio_statistic(exact * ~has, ~has),
    }
    if has.any():
        statistics |= {
            "has_answer_exact_match": ratio_statistic(exact * has, has),
            "has_answer_f1": ratio_statistic(f1 * has, has),
        }
    return statistics
