"""The whole way from files to evidence with the real encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assistant.errors import ModelError
from assistant.ingest import Ingestor
from assistant.knowledge import Knowledge
from assistant.models.encoder import Encoder
from assistant.models.loading import load_encoder
from assistant.settings import Settings
from assistant.storage import Storage
from assistant.types import Scope

pytestmark = pytest.mark.slow
SCOPE = Scope(collection="bank")
DOCUMENTS = {
    "card.md": (
        "# Lost cards\n\nReport a lost card by phone. The card is blocked within one minute. "
        "A replacement costs 12 euro and arrives after five working days.\n\n"
        "# Limits\n\nYou may withdraw 1,000 euro a day at cash machines."
    ),
    "贷款.md": (
        "# 住房贷款\n\n贷款期限最长为三十年。提前还款不收取违约金。"
        "申请时需要身份证、收入证明和购房合同。\n\n# 利率\n\n首套住房贷款年利率为百分之三点五。"
    ),
}
FAQ = (
    "question,answer,similar_questions\n"
    "如何重置网上银行密码？,请在登录页点击“忘记密码”。,网银密码忘了怎么办\n"
    "What are the opening hours?,We are open from 9 to 17 on weekdays.,When do you open?\n"
)


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    try:
        loaded = load_encoder(Settings())
    except ModelError as error:
        pytest.skip(str(error))
    yield loaded
    loaded.close()


@pytest.fixture
def knowledge(settings: Settings, encoder: Encoder, tmp_path: Path) -> Iterator[Knowledge]:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    with Storage.open(settings) as storage:
        made = Knowledge(
            storage,
            settings,
            encoder.space,
        )
        ingestor = Ingestor(storage, encoder, made, settings)
        assert ingestor.ingest([folder], SCOPE).failed == ()
        assert ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True).faq_entries == 2
        yield made
        made.close()


@pytest.mark.parametrize(
    ("question", "source", "sentence"),
    [
        ("What does a replacement card cost?", "card.md", "A replacement costs 12 euro"),
        ("How much cash can I take out each day?", "card.md", "You may withdraw 1,000 euro"),
        ("房贷最长可以贷多少年？", "贷款.md", "贷款期限最长为三十年"),
        ("提前还贷要罚款吗？", "贷款.md", "提前还款不收取违约金"),
        ("What is the interest rate of a mortgage?", "贷款.md", "首套住房贷款年利率"),
    ],
)
def test_the_right_sentence_is_closest(
    knowledge: Knowledge, encoder: Encoder, question: str, source: str, sentence: str
) -> None:
    vectors = encoder.encode_queries([question])
    hit = knowledge.search(SCOPE, [question], vectors, 3)[0].chunks[0]
    assert hit.source == source
    scores = np.array([float(s.vector @ vectors[0]) for s in hit.sentences])
    assert hit.sentences[int(scores.argmax())].text.startswith(sentence)


@pytest.mark.parametrize(
    ("question", "answer", "matched"),
    [
        ("网银密码忘记了", "请在登录页点击“忘记密码”。", "网银密码忘了怎么办"),
        ("When do you open?", "We are open from 9 to 17 on weekdays.", "When do you open?"),
    ],
)
def test_the_right_faq_is_closest(
    knowledge: Knowledge, encoder: Encoder, question: str, answer: str, matched: str
) -> None:
    hit = knowledge.search(SCOPE, [question], encoder.encode_queries([question]), 2)[0].faqs[0]
    assert (hit.answer, hit.matched) == (answer, matched)


def test_stored_vectors_are_the_encoders(knowledge: Knowledge, encoder: Encoder) -> None:
    """What the database holds after rounding is what encoding the same text gives."""
    hits = knowledge.search(SCOPE, ["card"], encoder.encode_queries(["card"]), 10)[0].chunks
    ids = {hit.chunk_id for hit in hits}
    collection = knowledge._catalog.require(SCOPE)
    with knowledge._passages.feed(collection.id) as feed:
        stored = {item.item_id: item for item in feed.items("chunks", 0, encoder.dim)}
    assert set(stored) == ids
    passages = encoder.encode_passages([item.text for item in stored.values()])
    kept = np.stack([item.vector for item in stored.values()])
    assert (passages * kept).sum(axis=1).min() > 0.999
