"""Search follows the database: at once, across processes, after damage and after death."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from storage_helpers import DIM, Library

from assistant.errors import InvalidInputError, NotFoundError
from assistant.settings import Settings
from assistant.types import Retrieved, Scope

SCOPE = Scope(collection="docs")
CARD = "# Cards\n\nA lost card is blocked within one minute. A new card costs 12 euro."
LOAN = "# Loans\n\nThe interest on a car loan is fixed. Early repayment is free of charge."
FAQ = (
    "question,answer\n"
    "How do I block my card?,Call 110 at once.\n"
    "Where is the branch?,In Main Street."
)


@pytest.fixture
def library(settings: Settings) -> Iterator[Library]:
    with Library(settings) as opened:
        yield opened


def test_a_hit_points_into_its_document(library: Library) -> None:
    document_id = library.put("card.md", CARD, SCOPE)
    library.put("loan.md", LOAN, SCOPE)
    hit = library.search("lost card blocked", SCOPE).chunks[0]
    assert (hit.source, hit.document_id, hit.title) == ("card.md", document_id, "Cards")
    stored = library.storage.catalog.document(SCOPE, document_id)
    assert stored.text[hit.start : hit.end] == hit.text
    texts = [s.text for s in hit.sentences]
    assert "A new card costs 12 euro." in texts
    for sentence in hit.sentences:
        assert stored.text[sentence.span.start : sentence.span.end] == sentence.text
        assert sentence.vector.shape == (DIM,)
        # The stored vector is that of the sentence, not of a neighbour.
        own = library.encoder.encode_queries([sentence.text])[0]
        assert float(own @ sentence.vector) > 0.999
    assert -1 <= hit.cosine <= 1
    assert 0 <= hit.coverage <= 1


def test_changes_show_in_the_next_search(library: Library) -> None:
    library.put("card.md", CARD, SCOPE)
    assert library.sources("card", SCOPE) == {"card.md"}
    loan = library.put("loan.md", LOAN, SCOPE)
    assert library.sources("card", SCOPE) == {"card.md", "loan.md"}
    library.put("card.md", "# Cards\n\nA lost card is now replaced for free.", SCOPE)
    texts = [hit.text for hit in library.search("lost card", SCOPE).chunks]
    assert any("replaced for free" in text for text in texts)
    assert not any("12 euro" in text for text in texts)
    library.storage.catalog.delete_document(SCOPE, loan)
    assert library.sources("car loan", SCOPE) == {"card.md"}
    library.assert_consistent(SCOPE)


def test_another_process_changes_show_at_once(library: Library, settings: Settings) -> None:
    library.put("card.md", CARD, SCOPE)
    assert library.sources("card", SCOPE) == {"card.md"}
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from storage_helpers import Library\n"
        "from assistant.settings import Settings\n"
        "from assistant.types import Scope\n"
        "scope = Scope(collection='docs')\n"
        "with Library(Settings(data_dir=Path(sys.argv[1]))) as library:\n"
        "    (card,) = library.storage.catalog.documents(scope)\n"
        "    library.storage.catalog.delete_document(scope, card.document_id)\n"
        "    library.put('loan.md', 'Early repayment of a loan is free.', scope)\n"
    )
    command = [sys.executable, "-c", script, str(settings.data_dir), str(Path(__file__).parent)]
    subprocess.run(command, check=True, timeout=60)
    assert library.sources("card", SCOPE) == {"loan.md"}
    library.assert_consistent(SCOPE)


def test_tags_and_tenants_stay_apart(library: Library) -> None:
    library.put("open.md", CARD, Scope(collection="docs", tags=frozenset({"public"})))
    library.put("staff.md", CARD, Scope(collection="docs", tags=frozenset({"staff", "hr"})))
    library.put("other.md", CARD, Scope(tenant="acme", collection="docs"))
    everything = {"open.md", "staff.md"}
    for tags, expected in (
        ((), everything),
        (("public",), {"open.md"}),
        (("hr",), {"staff.md"}),
        (("public", "hr"), everything),
        (("nobody",), set()),
    ):
        scope = Scope(collection="docs", tags=frozenset(tags))
        assert library.sources("lost card", scope) == expected
    assert library.sources("lost card", Scope(tenant="acme", collection="docs")) == {"other.md"}


def test_many_questions_are_answered_like_one_by_one(library: Library) -> None:
    for number in range(30):
        library.put(f"{number}.md", f"{CARD} {LOAN} Note {number}.", SCOPE)
    library.ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True)
    texts = ["lost card", "car loan", "Note 7", "branch", ""] * 5
    vectors = library.encoder.encode_queries(texts)
    together = library.knowledge.search(SCOPE, texts, vectors, 4)
    for text, found in zip(texts, together, strict=True):
        alone = library.search(text, SCOPE, 4)
        assert [h.chunk_id for h in found.chunks] == [h.chunk_id for h in alone.chunks]
        assert [h.faq_id for h in found.faqs] == [h.faq_id for h in alone.faqs]
        assert len(found.chunks) == 4


def test_no_questions_and_unknown_collections(library: Library) -> None:
    empty = np.empty((0, DIM), dtype=np.float32)
    assert library.knowledge.search(Scope(), [], empty, 3) == []
    assert library.search("anything", Scope()) == Retrieved((), ())  # nothing ingested yet
    with pytest.raises(NotFoundError, match="no collection 'docs'"):
        library.search("anything", SCOPE)
    with pytest.raises(InvalidInputError, match="not a valid name"):
        library.search("anything", Scope(collection="../x"))
    with pytest.raises(InvalidInputError, match="at least 1"):
        library.search("anything", Scope(), k=0)


def test_faq_entries_come_once_each_by_their_best_wording(library: Library) -> None:
    wordings = "|".join(f"How can I block the card number {n}" for n in range(30))
    table = (
        "question,answer,similar_questions\n"
        f"How do I block my card?,Call 110 at once.,{wordings}\n"
        "How do I unblock my card?,Call 120.,\n"
        "Where is the branch?,In Main Street.,\n"
    )
    result = library.ingestor.ingest_bytes(table.encode(), "faq.csv", SCOPE, faq=True)
    assert (result.faq_entries, result.chunks) == (3, 0), result
    found = library.search("How can I block the card number 17", SCOPE, k=3)
    assert found.chunks == ()
    assert len(found.faqs) == 3  # though the first entry alone has 32 wordings closer than any
    first = found.faqs[0]
    assert first.question == "How do I block my card?"
    assert first.matched == "How can I block the card number 17"
    assert first.answer == "Call 110 at once."
    stored = library.storage.catalog.document(SCOPE, first.document_id)
    assert stored.text[first.start : first.end] == first.answer


def test_an_faq_is_found_by_its_answer(library: Library) -> None:
    library.ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True)
    first = library.search("In Main Street", SCOPE).faqs[0]
    assert (first.question, first.matched) == ("Where is the branch?", "Where is the branch?")


def test_deleted_collections_leave_nothing(library: Library) -> None:
    library.put("card.md", CARD, SCOPE)
    library.knowledge.compact(SCOPE)
    folder = library.settings.indexes_dir / library.storage.catalog.require(SCOPE).uid
    assert folder.is_dir()
    gone = library.storage.catalog.delete_collection(SCOPE)
    with pytest.raises(NotFoundError):
        library.search("card", SCOPE)
    library.knowledge.forget(gone)
    assert not folder.exists()
    library.put("loan.md", LOAN, SCOPE)  # the same name again
    assert library.sources("card", SCOPE) == {"loan.md"}


def test_leftover_folders_are_removed_at_start(settings: Settings) -> None:
    with Library(settings) as library:
        library.put("card.md", CARD, SCOPE)
        library.knowledge.compact(SCOPE)
        kept = library.storage.catalog.require(SCOPE).uid
        library.put("loan.md", LOAN, Scope(collection="other"))
        library.knowledge.compact(Scope(collection="other"))
        library.storage.catalog.delete_collection(Scope(collection="other"))  # and dies here
    with Library(settings):
        assert [path.name for path in settings.indexes_dir.iterdir()] == [kept]


def test_words_are_counted_in_chunks_and_faq_and_follow_deletions(library: Library) -> None:
    assert library.knowledge.frequencies(Scope(), ["card"]) == [0]
    with pytest.raises(NotFoundError):
        library.knowledge.frequencies(SCOPE, ["card"])
    document_id = library.put("card.md", CARD, SCOPE)
    library.ingestor.ingest_bytes(FAQ.encode(), "faq.csv", SCOPE, faq=True)
    before = library.knowledge.frequencies(SCOPE, ["cards", "branch", "loan"])
    assert before[0] > before[1] > before[2] == 0
    library.storage.catalog.delete_document(SCOPE, document_id)
    assert library.knowledge.frequencies(SCOPE, ["cards"]) == [before[0] - 1]
