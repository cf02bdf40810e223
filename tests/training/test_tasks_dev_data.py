"""Public sets with the real vocabulary: what training marks is what serving reads back."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from assistant.models.spans import snapped, token_spans
from assistant.models.tokens import ModelTokenizer
from assistant.settings import Settings
from training import reading, tagging
from training.base import load_base
from training.data.ledger import Ledger
from training.data.readers import find_sources, read_source
from training.data.rows import Kind, Row
from training.data.spec import DataSpec
from training.recipe import Base

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> ModelTokenizer:
    base = load_base(Base(), Settings(data_dir=tmp_path_factory.mktemp("data")))
    return base.model_tokenizer(192)


def rows_of(folder: Path, name: str, kind: Kind, count: int) -> list[Row]:
    spec = DataSpec(root=folder, train=(name,))
    (source,) = find_sources(spec.train, kind, spec)
    return list(islice(read_source(source, kind, Ledger()), count))


@pytest.mark.parametrize(
    ("name", "least"),
    # Pieces of several Chinese characters reach over the borders of some entities.
    [("conll2003_ner/valid.jsonl", 0.995), ("msra_ner/train.jsonl", 0.94)],
)
def test_entities_can_be_read_back(
    dev_data: Path, words: ModelTokenizer, name: str, least: float
) -> None:
    rows = tagging.tagged(rows_of(dev_data, name, "tag", 1500))
    assert sum(len(tagging.character_spans(row)) for row in rows) > 300
    best = tagging.ceiling(words, rows, tagging.make_head("tagger", rows))
    assert least < best.f1 <= 1


@pytest.mark.parametrize(
    "name", ["squad2/squad2_questions.jsonl", "cmrc2018/dev_half_questions.jsonl"]
)
def test_answers_can_be_read_back(dev_data: Path, words: ModelTokenizer, name: str) -> None:
    rows = reading.questions(rows_of(dev_data, name, "read", 400))
    made = reading.windows(words, rows, 64, 10_000)
    assert made.missing == made.long == 0
    assert len(made.examples) > len(rows)
    answered = [row for row in rows if row.answers]
    pairs = [(row.question, row.context) for row in answered]
    same = 0
    for row, item in zip(answered, words.pair_windows(pairs, 64), strict=True):
        answer = reading.first_answer(row)
        assert answer is not None
        span = reading.token_span(item, answer)
        assert span is not None
        places = token_spans(row.context, item.offsets)
        start, end = snapped(row.context, places[span[0]][0], places[span[1]][1])
        same += row.context[start:end] == answer.text
    assert same / len(answered) > 0.9
