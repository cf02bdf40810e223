"""What the shipped models lose when a text is typed, cased or written in another way.

    python -m benchmarks.robustness [--data DIR] [--rows N] [--only NAME] [--json OUT]

Each model is judged through its served int8 file on the test rows that its passport names, as they
are and perturbed; the served encoder on retrieval folders, whose queries are perturbed. A loss is
clean less perturbed on the same rows, with the interval of the paired bootstrap. What changes no
row has none, which is not a loss of zero. What the product does to a text before a model reads it
(``assistant.models.plain``) has its part in every figure.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import opencc

from assistant.commands.evaluate.ranking import Ranking
from assistant.errors import AssistantError, InvalidInputError
from assistant.evaluation import bootstrap, paired_test
from assistant.evaluation.bootstrap import Floats
from assistant.models.build.recipe import BASES
from assistant.models.classifier import Classifier
from assistant.models.encoder import Encoder
from assistant.models.loading import load_encoder, open_classifier, open_reranker
from assistant.models.reranker import Reranker
from assistant.models.shipped import ShippedModel, install, shipped_models
from assistant.settings import Settings
from indexes.evaluate import read_retrieval_set
from indexes.language import detect_language
from training.data.pipeline import prepare
from training.data.rows import Kind, LabelledText, Row, TextPair
from training.data.spec import DataSpec
from training.slips import HAN, typing_errors

CLASSIFIERS = ("intent", "sentiment", "topic")
RETRIEVAL_SETS = ("retrieval_zh_faq", "retrieval_en_squad", "retrieval_en_bankfaq")
FEWEST = 50
_EMOJI = "😀🙏😭👍🔥😡🤔🎉"
_WIDE = {0x20: 0x3000, **{code: code + 0xFEE0 for code in range(0x21, 0x7F)}}
# Each term stands once on either side, so that the list reads both ways.
_TERMS = """account 账户|credit card 信用卡|debit card 借记卡|card 卡|bank 银行|fund 基金
transfer 转账|loan 贷款|interest rate 利率|interest 利息|exchange rate 汇率|payment 付款|order 订单
refund 退款|deposit 存款|withdraw 提现|cash 现金|password 密码|statement 对账单|bill 账单|fee 手续费
delivery 配送|discount 折扣|coupon 优惠券|price 价格|invoice 发票|limit 额度|mortgage 房贷|bond 债券
customer service 客服|stock 股票|share 股份|insurance 保险|profit 利润|sales 销售额|repayment 还款
dividend 分红|market 市场|company 公司|growth 增长|overdue 逾期|tax 税|phone 手机|balance 余额"""
_TO_ZH = dict(term.rsplit(" ", 1) for term in re.split(r"[|\n]", _TERMS))
_TO_EN = {zh: en for en, zh in _TO_ZH.items()}
_EN, _ZH = ("|".join(sorted(words, key=len, reverse=True)) for words in (_TO_ZH, _TO_EN))
_traditional = opencc.OpenCC("s2t").convert


def no_diacritics(text: str) -> str:
    """Return ``text`` with the marks on its letters left out."""
    bare = (c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
    return unicodedata.normalize("NFC", "".join(bare))


def no_punctuation(text: str) -> str:
    """Return ``text`` without punctuation; that inside numbers stays, as 3.5 is not 3 5."""
    text = re.sub(r"(?<=[^\W\d])['’](?=[^\W\d])", "", text)
    inside = {found.start() for found in re.finditer(r"(?<=\d)\D(?=\d)", text)}
    marks = (n not in inside and unicodedata.category(c)[0] == "P" for n, c in enumerate(text))
    return " ".join("".join(" " if m else c for m, c in zip(marks, text, strict=True)).split())


def code_switch(text: str) -> str:
    """Return ``text`` with the terms of the built-in list in its other language."""
    if detect_language(text) == "zh":
        return re.sub(_ZH, lambda term: _TO_EN[term[0]], text)
    return re.sub(rf"\b({_EN})s?\b", lambda term: _TO_ZH[term[1].lower()], text, flags=re.I)


def emoji(text: str, rng: Random) -> str:
    """Return ``text`` with an emoji at its end and one between two words or characters."""
    at = rng.choice([gap.start() for gap in re.finditer(rf"\s|(?<={HAN})(?={HAN})", text)] or [0])
    return f"{text[:at]}{rng.choice(_EMOJI)}{text[at:]}{rng.choice(_EMOJI)}"


PERTURBATIONS: Mapping[str, Callable[[str, Random], str]] = {
    "typing errors": typing_errors,
    "no diacritics": lambda text, rng: no_diacritics(text),
    "no punctuation": lambda text, rng: no_punctuation(text),
    "upper case": lambda text, rng: text.upper(),
    "lower case": lambda text, rng: text.lower(),
    "traditional": lambda text, rng: str(_traditional(text)),
    "full width": lambda text, rng: text.translate(_WIDE),
    "code-switched": lambda text, rng: code_switch(text),
    "double spaces": lambda text, rng: text.replace(" ", "  "),
    "emoji": emoji,
}


def perturbed(name: str, text: str) -> str:
    """Return ``text`` perturbed: the same in every run, whatever else is perturbed."""
    return PERTURBATIONS[name](text, Random(f"{name} {text}"))


Points: TypeAlias = list[tuple[float, float]]  # won and to be won, by row
Rows: TypeAlias = list[tuple[str, Any]]  # texts, each with what is right for it


@dataclass(frozen=True, slots=True)
class Subject:
    """A model on rows. ``judge`` takes what is right for some, and the texts to take for theirs."""

    name: str
    rows: Rows
    judge: Callable[[Sequence[Any], Sequence[str]], Points]


def subjects(settings: Settings, data: Path, only: str) -> Iterator[Subject]:
    """Yield what there is to measure, each while its model is open."""
    for model in shipped_models():
        if only in str(model) and (model.task in CLASSIFIERS or str(model) == "reranker/pairs"):
            try:
                yield from _judged(model, settings, data)
            except AssistantError as error:
                sys.stderr.write(f"left out: {error}\n")
    # A shipped encoder has learnt from most queries of these folders, the base from none.
    learnt = [] if settings.encoder in BASES else shipped_models("encoder")
    kept = [row for model in learnt for row in _rows(model, settings, data)]
    with closing(load_encoder(settings)) as encoder:
        for name in RETRIEVAL_SETS:
            if only in name:
                yield from _retrieved(encoder, data / name, kept)


def _judged(model: ShippedModel, settings: Settings, data: Path) -> Iterator[Subject]:
    groups: dict[str, Rows] = defaultdict(list)
    for row in _rows(model, settings, data):
        if isinstance(row, TextPair):
            right = row.text_a, (row.label or 0) > 0.5
            groups[row.source.partition("/")[0]].append((row.text_b, right))
        elif isinstance(row, LabelledText):
            groups[detect_language(row.text)].append((row.text, {*row.labels}))
    install(settings, [model])  # A data folder in use may hold an older one.
    of_texts = partial(open_classifier, settings, model.task)
    opened = of_texts if model.task in CLASSIFIERS else partial(open_reranker, settings)
    with closing(opened(model.name)) as served:
        for name, rows in groups.items():
            if len(rows) >= FEWEST:
                yield Subject(f"{model} {name}", rows, partial(_points, served))


def _points(served: Classifier | Reranker, right: Sequence[Any], texts: Sequence[str]) -> Points:
    if isinstance(served, Reranker):
        scores = served.score([(a, b) for (a, _), b in zip(right, texts, strict=True)])
        said = (scores >= served.head.threshold).tolist()
        return [(float(a == b), 1) for (_, a), b in zip(right, said, strict=True)]
    given = [{*prediction.labels} for prediction in served.classify(texts)]
    # With one label a row this is accuracy, with several micro F1.
    return [(2 * len(a & b), len(a) + len(b)) for a, b in zip(right, given, strict=True)]


def _retrieved(encoder: Encoder, folder: Path, kept: Sequence[Row]) -> Iterator[Subject]:
    test = read_retrieval_set(folder)
    judged = [(test.queries[query], grades) for query, grades in test.qrels.items()]
    own = {r.text_a for r in kept if isinstance(r, TextPair) and folder.name in r.source}
    rows = [row for row in judged if not kept or row[0] in own]

    def judge(right: Sequence[Any], texts: Sequence[str], *, rank: Ranking) -> Points:
        first = [names[0] for names in rank(texts, 1)]
        return [((a in b) / len(b), 1) for a, b in zip(first, right, strict=True)]

    with tempfile.TemporaryDirectory() as place:
        hybrid = Ranking(encoder, test, Path(place), "hybrid")
        yield Subject(f"{folder.name} dense", rows, partial(judge, rank=hybrid.dense()))
        yield Subject(f"{folder.name} hybrid", rows, partial(judge, rank=hybrid))


def _rows(model: ShippedModel, settings: Settings, data: Path) -> Sequence[Row]:
    """Return the model's test rows. Raises InvalidInputError if made of others."""
    passport = json.loads((model.folder / "passport.json").read_text(encoding="utf-8"))
    spec = DataSpec.model_validate({**passport["recipe"]["data"], "root": str(data)})
    kind: Kind = "classify" if model.task in CLASSIFIERS else "pairs"
    found = prepare(spec, kind, settings.data_dir / "robustness")
    if passport["data"]["sha256"] != found.card.sha256:
        raise InvalidInputError(f"{model} was made of other rows; it may have learnt some of these")
    return found.test


def measure(subject: Subject, limit: int) -> dict[str, Any]:
    """Return what a model reaches on at most ``limit`` rows and what each perturbation costs."""
    texts, right = zip(*Random(0).sample(subject.rows, min(limit, len(subject.rows))), strict=True)
    clean = np.array(subject.judge(right, texts), dtype=np.float64)

    def cost(given: Sequence[str]) -> dict[str, Any]:
        places = [n for n, text in enumerate(texts) if text != given[n]]
        if not places:
            return {"changed": 0}
        points = clean.copy()
        points[places] = subject.judge([right[n] for n in places], [given[n] for n in places])
        loss = paired_test(points, clean, ratio).difference
        return {"changed": len(places), "loss": loss.to_json()}

    changed = {name: [perturbed(name, text) for text in texts] for name in PERTURBATIONS}
    return {
        "clean": bootstrap(clean, ratio).to_json(),
        "perturbed": {name: cost(given) for name, given in changed.items()},
    }


def ratio(columns: Floats, weights: Floats) -> Floats:
    """Return the points won over those to be won, (resamples,)."""
    sums = weights @ columns
    return np.asarray(sums[:, 0] / sums[:, 1], dtype=np.float64)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    own = os.environ.get("ASSISTANT_DEV_DATA", Path(__file__).parents[1] / "data")
    parser.add_argument("--data", type=Path, default=own, help="folder of the public sets")
    parser.add_argument("--rows", type=int, default=400, help="rows of a set at most")
    parser.add_argument("--only", default="", help="sets with this in their name")
    parser.add_argument("--json", type=Path, help="file for every figure")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for subject in subjects(Settings(), options.data.resolve(), options.only):
        results[subject.name] = measure(subject, options.rows)
        sys.stderr.write(f"{subject.name}\n")
        if options.json:
            options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("" if options.json else json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
