"""Readers: windows with the answer's tokens, thresholds, cloze questions, whole runs."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import tiny_rows
import torch

from assistant.errors import InvalidInputError
from assistant.evaluation import f1_score
from assistant.models.loading import open_reader
from training import reading
from training import run as running
from training.base import load_base
from training.data.rows import PlainText, ReadingAnswer, ReadingExample
from training.reporting import Silent
from training.tasks import reader
from training.token_losses import SpanEnds

LONG = {"epochs": 20, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def tokenizer(base: Path, tmp_path: Path, limit: int = 48) -> Any:
    return load_base(tiny.recipe(base).base, tiny.settings(tmp_path)).model_tokenizer(limit)


def asked(context: str, answer: str = "", question: str = "where is Acme", **values: Any) -> Any:
    answers = (ReadingAnswer(answer, context.index(answer)),) if answer else ()
    return ReadingExample("q", question, context, answers, **values)


def recipe(base: Path, folder: Path, **changes: Any) -> Any:
    tiny_rows.questions(folder)
    data = tiny_rows.data(folder, "rows_questions.jsonl")
    # Six questions are measured: int8 may lose one of them.
    values = {"data": data, "train": LONG, "export": {"max_loss": 0.2}, **changes}
    return tiny.recipe(base, "reader", **values)


def test_marked_tokens_cover_exactly_the_answer(base: Path, tmp_path: Path) -> None:
    words = tokenizer(base, tmp_path)
    rows = [
        asked("Acme is in Paris please", "Paris"),
        asked("银行公司在上海开户", "上海", "公司在哪里"),
        asked("Acme Ltd Paris", "Acme Ltd"),
    ]
    made = reading.windows(words, rows, 8, 40)
    assert (made.missing, made.long, len(made.examples)) == (0, 0, 3)
    pairs = words.pair_windows([(r.question, r.context) for r in rows])
    for row, example, item in zip(rows, made.examples, pairs, strict=True):
        first, last = example["starts"] - example["lead"], example["ends"] - example["lead"]
        text = row.context[item.offsets[first][0] : item.offsets[last][1]]
        assert text.strip() == row.answers[0].text


def test_long_contexts_mark_the_answer_only_where_it_is_whole(base: Path, tmp_path: Path) -> None:
    words = tokenizer(base, tmp_path, limit=32)
    row = asked("please help me " * 40 + "in Paris " + "good bank " * 30, "Paris")
    made = reading.windows(words, [row], 8, 40)
    marked = [e for e in made.examples if e["starts"]]
    assert len(made.examples) > 5
    assert 1 <= len(marked) <= 2
    assert all(e["ends"] == 0 for e in made.examples if not e["starts"])
    assert all(len(e["input_ids"]) <= 32 for e in made.examples)


def test_contexts_without_the_answer_and_long_answers_are_left_out(
    base: Path, tmp_path: Path
) -> None:
    words = tokenizer(base, tmp_path)
    lost = ReadingExample("q", "where", "Acme is here", (ReadingAnswer("Paris", 3),))
    moved = ReadingExample("q", "where", "Acme is in Paris", (ReadingAnswer("Paris", 2),))
    long = asked("how do I open a loan account please", "how do I open a loan account please")
    made = reading.windows(words, [lost, moved, long], 8, 4)
    assert (made.missing, made.long, len(made.examples)) == (1, 1, 1)
    assert reading.first_answer(moved) == ReadingAnswer("Paris", 11)


def test_blank_questions_and_contexts_are_left_out() -> None:
    rows = [asked("Acme", ""), asked("  ", ""), asked("Acme", "", question=" ")]
    assert reading.questions(rows) == rows[:1]


def test_only_the_context_and_token_0_compete() -> None:
    logits = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(1))
    batch = {
        "starts": torch.tensor([3, 0]),
        "ends": torch.tensor([4, 0]),
        "lead": torch.tensor([3, 2]),
        "count": torch.tensor([2, 3]),
    }
    wanted = 0.0
    for row, (first, last, allowed) in enumerate([(3, 4, [0, 3, 4]), (0, 0, [0, 2, 3, 4])]):
        for side, place in enumerate((first, last)):
            chances = logits[row, allowed, side].softmax(0)
            wanted -= chances[allowed.index(place)].log().item() / 4
    assert SpanEnds()(logits, batch).item() == pytest.approx(wanted, abs=1e-5)


def test_questions_put_elsewhere_have_no_answer_there() -> None:
    rows = [
        asked(f"Acme {n} is in {p}", p, f"where is Acme {n}", group="d")
        for n, p in enumerate(tiny_rows.PLACES * 3)
    ]
    found = reading.elsewhere(rows, 0.5, seed=1)
    places = {row.question: row for row in rows}
    assert 0 < len(found) <= 6
    for row in found:
        assert row.answers == ()
        assert places[row.question].answers[0].text not in row.context
    assert reading.elsewhere(rows, 0.5, seed=1) == found
    assert reading.elsewhere(rows[:1], 1.0, seed=1) == []


def test_cloze_questions_ask_for_what_the_paragraph_says() -> None:
    text = (
        "The bank was founded in 1984 by Maria Lopez. It now lends 20 million to small firms.\n\n"
        "公司成立于1998年，总部设在上海。去年营业收入增长12.5%，净利润达到3亿元，员工人数超过两千人，"
        "在全国设有三十家分支机构，并计划继续扩大规模，为客户提供更好的服务和产品，同时加强风险管理能力。"
    )
    made = reading.cloze([PlainText(text)], 10, seed=0)
    assert len(made) == 2
    for row in made:
        (answer,) = row.answers
        assert row.context[answer.start : answer.start + len(answer.text)] == answer.text
        assert ("什么" if reading.language_of(row) == "zh" else "what") in row.question
        assert row.question.replace("what", answer.text).replace("什么", answer.text) in text
    assert reading.cloze([PlainText(text)], 1, seed=0)[0].id == "cloze-0"
    assert reading.cloze([PlainText("short.")], 5, seed=0) == []


def test_from_rows_to_a_served_reader(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    made = recipe(base, tmp_path)
    outcome = running.run(made, settings, Silent(), promote=True)
    metrics = outcome.passport.metrics["test"]
    assert metrics["f1"].value > 0.8
    assert metrics["no_answer_accuracy"].value > 0.8
    served = open_reader(settings)
    told, untold = served.read(
        "where is Acme 77", ["Acme 77 is in London please", "Acme 77 is a good bank please"]
    )
    served.close()
    assert (told.text, told.no_answer) == ("London", False)
    assert untold.no_answer
    assert 0 < served.head.threshold < 1


def test_documents_give_more_questions(base: Path, tmp_path: Path) -> None:
    made = recipe(
        base,
        tmp_path,
        train={"epochs": 1},
        reading={
            "cloze": ["books"],
            "cloze_questions": 3,
            "elsewhere": 0.5,
            "table_questions": 4,
        },
        export={"max_loss": 1.0},
    )
    (tmp_path / "books").mkdir()
    told = "The bank of Paris is a good bank. In 1998 it had 25 million in money and no loss."
    text = "\n\n".join(f"{told} What a rate, {n} years on." for n in range(6))
    (tmp_path / "books" / "one.md").write_text(text, encoding="utf-8")
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    notes = " ".join(outcome.passport.notes)
    assert "cloze_questions: 3" in notes and "table_questions: 4" in notes
    assert re.search(r"elsewhere_questions: [1-9]", notes)


def test_the_threshold_is_the_best_on_validation_rows(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    made = recipe(base, tmp_path, train={"epochs": 3, "learning_rate": 1e-3})
    outcome = running.run(made, settings, Silent())
    job = running.make_job(made, settings, Silent(), outcome.folder)
    rows = reading.questions(job.data.valid)
    served = open_reader(settings, str(outcome.version.part("int8")))
    found = served.read_pairs([(r.question, r.context) for r in rows])

    def f1(threshold: float) -> float:
        texts = [x.text if x.probability >= threshold else "" for x in found]
        answers = [[a.text for a in r.answers] for r in rows]
        return float(np.mean([f1_score(t, a) for t, a in zip(texts, answers, strict=True)]))

    best = max(f1(t) for t in np.linspace(0, 1, 401))
    served.close()
    assert f1(served.head.threshold) >= best - 0.1


def test_without_unanswerable_questions_it_always_answers(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path)
    paragraphs = [{"pid": f"p{n}", "context": f"Acme {n} is in Paris"} for n in range(30)]
    answers = [{"text": "Paris", "start": -1}]
    asked_rows = [
        {"id": f"q{n}", "pid": f"p{n}", "question": f"where is {n}", "answers": answers}
        for n in range(30)
    ]
    for name, values in (("paragraphs", paragraphs), ("questions", asked_rows)):
        tiny_rows.write(tmp_path / f"rows_{name}.jsonl", values)
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    assert any("always answers" in note for note in outcome.passport.notes)
    folder = str(outcome.version.part("int8"))
    with closing(open_reader(tiny.settings(tmp_path), folder)) as served:
        assert served.head.threshold == 0
        assert not served.read("where is 3", ["Acme 3 is a bank"])[0].no_answer


def test_no_answers_at_all_is_said(base: Path, tmp_path: Path) -> None:
    rows = [
        {"id": f"q{n}", "context": f"Acme {n} is here", "question": f"where {n}", "answers": []}
        for n in range(30)
    ]
    tiny_rows.write(tmp_path / "rows.jsonl", rows)
    made = tiny.recipe(base, "reader", data=tiny_rows.data(tmp_path, "rows.jsonl"))
    with pytest.raises(InvalidInputError, match="has an answer"):
        running.run(made, tiny.settings(tmp_path), Silent())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_learns(base: Path, tmp_path: Path, method: str) -> None:
    made = recipe(
        base,
        tmp_path,
        tuning={"method": method, "rank": 8, "layers": 1, "tokens": 4},
        train={**LONG, "head_learning_rate": 2e-2},
        reading={"elsewhere": 0.3},
    )
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    assert outcome.passport.metrics["test"]["has_answer_f1"].value > 0.2


def test_rows_without_questions_are_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no questions"):
        reader.measured(None, [])  # type: ignore[arg-type]
