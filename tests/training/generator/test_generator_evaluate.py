"""The evaluation on answers whose figures can be worked out by hand."""

from __future__ import annotations

import math

import pytest

from assistant.models.generation.prompts import REFUSALS
from training.generator.evaluate import Judged, evaluate, metrics
from training.generator.followups import FollowUp
from training.generator.rows import Row, answer_row, refusal_row, rewrite_row

IDS = {"group": "g", "source": "s"}
EVIDENCE = ["It costs CNY 25 in Langang."]
ANSWER = answer_row("cost?", EVIDENCE, ["CNY 25"], [1], "en", **IDS)
REFUSE = refusal_row("where?", ["It costs CNY 25."], "en", **IDS)
CHINESE = answer_row("年费？", ["年费100元"], ["100元"], [1], "zh", **IDS)
REWRITE = rewrite_row(FollowUp(("What is gold?",), "and red?", "What is red?"), "en", **IDS)


def judged(row: Row, said: str) -> Judged:
    return Judged(row, said, "stop", 3)


def test_a_right_answer_and_a_right_refusal() -> None:
    found = metrics([judged(ANSWER, "CNY 25 [1]"), judged(REFUSE, REFUSALS["en"])])
    for name in ("answer_exact", "answer_f1", "citation_right", "refusal_precision",
                 "refusal_recall", "refusal_f1", "right", "figures_supported"):  # fmt: skip
        assert found[name].value == 1, name


def test_an_invented_figure_and_name_are_counted() -> None:
    found = metrics([judged(ANSWER, "It is CNY 25 or 99 in Langang or New York [1]")])
    assert found["figures_supported"].value == pytest.approx(1 / 2)
    # Names: "CNY", "Langang" and "New York".
    assert found["names_supported"].value == pytest.approx(2 / 3)
    assert found["answer_exact"].value == 0
    assert 0 < found["answer_f1"].value < 1


def test_refusing_everything_and_answering_everything() -> None:
    rows = [ANSWER, ANSWER, REFUSE]
    silent = metrics([judged(row, REFUSALS["en"]) for row in rows])
    assert silent["refusal_recall"].value == 1
    assert silent["refusal_precision"].value == pytest.approx(1 / 3)
    assert silent["answer_f1"].value == 0
    assert silent["right"].value == pytest.approx(1 / 3)
    bold = metrics([judged(row, "CNY 25 [2]") for row in rows])
    assert bold["refusal_recall"].value == 0
    assert math.isnan(bold["refusal_precision"].value)
    assert bold["citation_right"].value == 0
    assert bold["answer_exact"].value == 1


def test_languages_are_told_apart() -> None:
    found = metrics([judged(ANSWER, "wrong [1]"), judged(CHINESE, "100元 [1]")])
    assert found["en.answer_exact"].value == 0
    assert found["zh.answer_exact"].value == 1
    assert found["answer_exact"].value == 0.5
    assert found["zh.answer_exact"].n == 1


def test_rewritings() -> None:
    found = metrics([judged(REWRITE, "what is red"), judged(REWRITE, "What is red wine?")])
    assert found["rewrite_exact"].value == 0.5
    assert found["rewrite_f1"].value == pytest.approx((1 + 2 * 3 / 7) / 2)
    low, high = found["rewrite_exact"].low, found["rewrite_exact"].high
    assert low == 0 and high == 1


def test_a_served_model_is_measured_and_long_prompts_count_as_wrong(served: object) -> None:
    long = answer_row("cost?", ["card " * 300], ["ten"], [1], "en", group="e", source="s")
    heard: list[tuple[int, int]] = []
    report = evaluate(served, [ANSWER, long], max_tokens=8, progress=lambda *x: heard.append(x))  # type: ignore[arg-type]
    assert [j.finish for j in report.judged][1] == "too_long"
    assert heard == [(1, 2), (2, 2)]
    assert report.metrics["answer_exact"].n == 2
    assert "answer_f1" in report.to_json()
