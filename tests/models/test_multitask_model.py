"""One pass says what separate passes say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
import tuned_models as tuned

from assistant.errors import ModelError, TooLargeError
from assistant.models.classifier import Classifier
from assistant.models.multitask import MultiTask
from assistant.models.session import Outputs, Tokens
from assistant.models.tagger import MAX_CHARACTERS, Tagger

TEXTS = ["lost card", "银行卡丢了？", "", "fee " * 60, "a"]


def test_as_classifier_and_tagger_say(tmp_path: Path) -> None:
    with closing(tuned.model(tmp_path / "m", tuned.SENTIMENT, tuned.TOPICS, tuned.TAGS)) as opened:
        found = MultiTask(opened).analyse(TEXTS)
        for name in ("sentiment", "topics"):
            alone = Classifier(opened, name).classify(TEXTS)
            assert [row.predictions[name] for row in found] == alone
        tagged = Tagger(opened, "tagger").tag(TEXTS)
        assert [row.entities["tagger"] for row in found] == tagged
        assert MultiTask(opened).analyse([]) == []


def test_a_short_text_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(tuned.model(tmp_path / "m", tuned.SENTIMENT, tuned.TAGS)) as opened:
        runs: list[int] = []
        run = opened.run

        def counted(texts: Sequence[Tokens]) -> list[Outputs]:
            runs.append(len(texts))
            return run(texts)

        monkeypatch.setattr(opened, "run", counted)
        MultiTask(opened).analyse(["lost card", "fee"])
        assert runs == [2]


def test_without_a_tagger_only_the_beginning_is_read(tmp_path: Path) -> None:
    with closing(tuned.model(tmp_path / "m", tuned.SENTIMENT, tuned.TOPICS)) as opened:
        (found,) = MultiTask(opened).analyse(["fee " * 500])
        assert (
            found.predictions["sentiment"]
            == Classifier(opened, "sentiment").classify(["fee " * 500])[0]
        )
        assert found.entities == {}


def test_what_cannot_be_served_is_said(tmp_path: Path) -> None:
    reader = tuned.model(tmp_path / "m", tuned.SENTIMENT, tuned.SPAN)
    with closing(reader), pytest.raises(ModelError, match="labels are O"):
        MultiTask(reader)
    tagger = tuned.model(tmp_path / "n", tuned.SENTIMENT, tuned.TAGS)
    with closing(tagger), pytest.raises(TooLargeError):
        MultiTask(tagger).analyse(["a" * (MAX_CHARACTERS + 1)])
