"""The models that read evidence, at work in a service: real graphs of tiny models."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import tuned_models as made
from support import Run, write_beir
from test_loading import add

from assistant.errors import BusyError
from assistant.evidence_models import ServedEvidenceModels
from assistant.models import shipped
from assistant.models.trained import TrainedModels
from assistant.runtime import Runtime
from assistant.settings import Settings
from assistant.types import Question, Scope

FAQ = "question,answer\nHow do I close an account?,Visit a branch.\nWhat is the fee?,Five.\n"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data folder that no shipped model comes into."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "none")
    return Settings(data_dir=tmp_path / "data", rerank=10, reader=True)


@pytest.fixture
def runtime(own: Settings, tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime.open(own)
    (tmp_path / "faq.csv").write_text(FAQ, encoding="utf-8")
    (tmp_path / "fees.md").write_text("# Fees\n\nA card costs five pounds.\n", encoding="utf-8")
    runtime.ingest([tmp_path / "faq.csv"], Scope(), faq=True)
    runtime.ingest([tmp_path / "fees.md"], Scope())
    yield runtime
    runtime.close()


def test_answers_name_the_models_that_took_part(runtime: Runtime) -> None:
    before = runtime.answer(Question("Do dogs like the sea?"))
    assert "reranker" not in before.model_versions
    add(runtime.settings, "reranker", "own", made.PAIR)
    add(runtime.settings, "reader", "own", made.SPAN)
    after = runtime.answer(Question("Do dogs like the sea?"))
    assert after.model_versions["reranker"] == "reranker/own@v1"
    assert after.model_versions["reader"] == "reader/own@v1"
    assert {"rerank", "read"} <= after.timings_ms.keys()
    assert after.timings_ms["total"] >= after.timings_ms["rerank"] >= 0


def test_the_models_are_open_before_the_first_question(runtime: Runtime) -> None:
    add(runtime.settings, "reranker", "own", made.PAIR)
    runtime.warm_up()
    assert [str(s.version) for s in runtime.trained.statuses()] != []


def test_a_batch_answers_as_one_question_does(runtime: Runtime) -> None:
    add(runtime.settings, "reranker", "own", made.PAIR)
    questions = [Question(text) for text in ("close my account", "card price?", "what fee")]
    together = runtime.answer_many(questions)
    alone = [runtime.answer_many([question])[0] for question in questions]
    for a, b in zip(together, alone, strict=True):
        assert (a.answer, a.kind, a.candidates) == (b.answer, b.kind, b.candidates)
        assert a.confidence == pytest.approx(b.confidence, abs=1e-3)


def test_switched_off_they_are_not_asked(own: Settings) -> None:
    runtime = Runtime.open(own.model_copy(update={"rerank": 0}))
    assert runtime.answering.weighing is None
    runtime.close()
    with closing(TrainedModels(own)) as trained:
        add(own, "reader", "own", made.SPAN)
        off = ServedEvidenceModels(trained, own.model_copy(update={"reader": False}))
        assert off.read("shared", [("q", "text")]) is None
        assert ServedEvidenceModels(trained, own).read("shared", [("q", "text")]) is not None


def test_what_is_wrong_with_a_model_is_logged_once_and_costs_no_answer(
    own: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = add(own, "reranker", "own", made.PAIR)
    (version.part("int8") / "model.onnx").write_bytes(b"damaged")
    with closing(TrainedModels(own)) as trained, caplog.at_level(logging.WARNING):
        models = ServedEvidenceModels(trained, own)
        assert models.score("shared", [("q", "text")]) is None
        assert models.score("shared", [("q", "text")]) is None
        told = [r for r in caplog.records if "do without the reranker" in r.getMessage()]
        assert len(told) == 1

        def busy(*_: object, **__: object) -> None:
            raise BusyError("no room")

        monkeypatch.setattr(trained, "score", busy)
        assert models.score("shared", [("q", "text")]) is None


def test_eval_retrieval_reads_what_it_found(tmp_path: Path, run_assistant: Run) -> None:
    write_beir(tmp_path / "beir")
    data = tmp_path / "data"
    add(Settings(data_dir=data), "reranker", "own", made.PAIR)
    arguments = ("eval", "retrieval", "--data", tmp_path / "beir", "--data-dir", data, "--json")
    done = run_assistant(*arguments, "--rerank", "3")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["rerank"], result["reranker"]) == (3, "reranker/own@v1")
    # A model of random weights does not move what it has not read.
    plain = json.loads(run_assistant(*arguments, "--rerank", "0").stdout)
    assert plain["reranker"] is None and plain["recall@5"] == result["recall@5"] == 1.0
    wrong = run_assistant(*arguments, "--rerank", "3", "--method", "lexical")
    assert wrong.returncode == 2 and "takes vectors" in wrong.stderr
