"""Collections and documents in the database."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import numpy as np
import pytest

from assistant.errors import InvalidInputError, NotFoundError
from assistant.storage import Storage
from assistant.storage.codec import encode_sentences, encode_vector
from assistant.storage.values import (
    CollectionRef,
    Content,
    EncodedChunk,
    EncodedEntry,
    Fingerprint,
    NewDocument,
    Stored,
)
from assistant.types import Scope
from indexes.types import Chunk, FaqEntry, Heading, Page, Span

DIM = 8
SCOPE = Scope(collection="docs")
VECTOR = np.eye(1, DIM, dtype=np.float32)[0]


def sha_of(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_document(source: str, text: str = "One. Two.", tags: tuple[str, ...] = ()) -> NewDocument:
    return NewDocument(
        source=source,
        title=source.title(),
        text=text,
        language="en",
        media_type="text/plain",
        size=len(text),
        encoder="enc",
        fingerprint=Fingerprint(sha_of(text), "document", tags, "recipe"),
        headings=(Heading(1, "One", 0),),
        pages=(Page(1, 0, len(text)),),
        metadata={"author": "A"},
    )


def chunk_of(text: str) -> EncodedChunk:
    chunk = Chunk(0, len(text), text, "Title", ("A", "B"), 3, 2, (Span(0, len(text)),))
    return EncodedChunk(
        chunk, encode_vector(VECTOR), encode_sentences(chunk.sentences, VECTOR[None])
    )


def put(
    storage: Storage, collection: CollectionRef, document: NewDocument, chunks: int = 1
) -> Stored:
    content = Content([chunk_of(document.text) for _ in range(chunks)])
    return storage.writer.put(collection, document, content)


def test_a_document_comes_back_as_it_was_stored(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    stored = put(storage, collection, new_document("a.txt", tags=("public",)), chunks=2)
    assert (stored.status, stored.chunks, stored.faq_entries) == ("added", 2, 0)
    found = storage.catalog.document(SCOPE, stored.document_id)
    assert found.text == "One. Two."
    assert found.headings == (Heading(1, "One", 0),)
    assert found.pages == (Page(1, 0, 9),)
    assert found.metadata == {"author": "A"}
    assert found.tags == ("public",)
    assert (found.size, found.kind, found.collection) == (9, "document", "docs")
    (row,) = storage.catalog.documents(SCOPE)
    assert (row.document_id, row.chunks, row.characters) == (stored.document_id, 2, 9)


def test_storing_the_same_again_does_nothing(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    first = put(storage, collection, new_document("a.txt"))
    again = put(storage, collection, new_document("a.txt"))
    assert again == Stored("unchanged", first.document_id, 1, 0)
    assert storage.catalog.stats(SCOPE).chunks == 1


@pytest.mark.parametrize(
    "change",
    [{"sha256": "other"}, {"kind": "faq"}, {"tags": ("x",)}, {"recipe": "other"}],
)
def test_any_change_replaces_the_document(storage: Storage, change: dict[str, object]) -> None:
    collection = storage.catalog.ensure(SCOPE)
    document = new_document("a.txt")
    first = put(storage, collection, document, chunks=3)
    changed = replace(document, fingerprint=replace(document.fingerprint, **change))
    second = put(storage, collection, changed)
    assert second.status == "replaced"
    assert second.document_id != first.document_id
    assert [d.document_id for d in storage.catalog.documents(SCOPE)] == [second.document_id]
    with storage.passages.feed(collection.id) as feed:
        deleted, _ = feed.deletions("chunks", 0)
        left = [item.item_id for item in feed.items("chunks", 0, DIM)]
    assert len(deleted) == 3
    assert min(left) > max(deleted)  # ids are never used twice


def test_nothing_is_kept_when_writing_fails_half_way(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    put(storage, collection, new_document("a.txt", "Old text."))
    before = storage.catalog.find(SCOPE)

    def failing():
        for _ in range(1000):  # more than one batch of rows is written before the failure
            yield chunk_of("new")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        storage.writer.put(collection, new_document("a.txt", "New text."), Content(failing()))
    (document,) = storage.catalog.documents(SCOPE)
    assert storage.catalog.document(SCOPE, document.document_id).text == "Old text."
    assert storage.catalog.find(SCOPE) == before
    with storage.passages.feed(collection.id) as feed:
        assert feed.deletions("chunks", 0) == ([], 0)


def test_deleting_a_document_notes_every_item(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    stored = put(storage, collection, new_document("a.txt"), chunks=2)
    entry = FaqEntry("f1", "Why?", "One.", Span(0, 4), ("How come?",))
    vector = encode_vector(VECTOR)
    wordings = [("question", "Why?", vector), ("paraphrase", "How come?", vector)]
    faq = storage.writer.put(
        collection, new_document("f.csv"), Content((), [EncodedEntry(entry, wordings)])
    )
    assert storage.catalog.faq_entries(faq.document_id) == (entry,)
    storage.catalog.delete_document(SCOPE, stored.document_id)
    storage.catalog.delete_document(SCOPE, faq.document_id)
    assert storage.catalog.documents(SCOPE) == []
    with storage.passages.feed(collection.id) as feed:
        assert list(feed.items("chunks", 0, DIM)) == []
        assert list(feed.items("faq", 0, DIM)) == []
        assert len(feed.deletions("chunks", 0)[0]) == 2
        assert len(feed.deletions("faq", 0)[0]) == 2
    with pytest.raises(NotFoundError, match="replaced or deleted"):
        storage.catalog.delete_document(SCOPE, stored.document_id)


def test_every_write_to_a_collection_counts_its_version(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    other = storage.catalog.ensure(Scope(collection="other"))
    put(storage, collection, new_document("a.txt"))
    stored = put(storage, collection, new_document("b.txt"))
    storage.catalog.delete_document(SCOPE, stored.document_id)
    assert storage.catalog.require(SCOPE).version == collection.version + 3
    assert storage.catalog.require(Scope(collection="other")).version == other.version


def test_tags_and_tenants_hide_documents(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    public = put(storage, collection, new_document("p.txt", tags=("public",)))
    staff = put(storage, collection, new_document("s.txt", tags=("staff", "hr")))
    seen = replace(SCOPE, tags=frozenset({"public"}))
    assert [d.source for d in storage.catalog.documents(seen)] == ["p.txt"]
    assert storage.catalog.document(seen, public.document_id).source == "p.txt"
    for hidden in (
        lambda: storage.catalog.document(seen, staff.document_id),
        lambda: storage.catalog.delete_document(seen, staff.document_id),
        lambda: storage.catalog.document(replace(SCOPE, tenant="other"), staff.document_id),
    ):
        with pytest.raises(NotFoundError):
            hidden()
    assert storage.catalog.document(SCOPE, staff.document_id).tags == ("staff", "hr")


def test_collections_are_listed_and_deleted_by_tenant(storage: Storage) -> None:
    mine = storage.catalog.ensure(SCOPE)
    theirs = storage.catalog.ensure(replace(SCOPE, tenant="acme"))
    assert mine.id != theirs.id
    put(storage, mine, new_document("a.txt"))
    put(storage, theirs, new_document("a.txt"))
    gone = storage.catalog.delete_collection(SCOPE)
    assert gone.uid == mine.uid
    assert storage.catalog.collections("default") == []
    assert [(c.name, c.documents) for c in storage.catalog.collections("acme")] == [("docs", 1)]
    again = storage.catalog.ensure(SCOPE)
    assert again.id > theirs.id
    assert again.uid != mine.uid
    assert storage.catalog.documents(SCOPE) == []


def test_an_unknown_collection_names_the_known_ones(storage: Storage) -> None:
    storage.catalog.ensure(Scope(collection="贷款 FAQ"))
    with pytest.raises(NotFoundError, match=r"'loan'.*贷款 FAQ.*assistant ingest"):
        storage.catalog.require(Scope(collection="loan"))


def test_writing_into_a_deleted_collection_is_refused(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    storage.catalog.delete_collection(SCOPE)
    with pytest.raises(NotFoundError, match="deleted meanwhile"):
        put(storage, collection, new_document("a.txt"))


@pytest.mark.parametrize("name", ["docs", "客户服务", "a b", "v1.2-x_y", "हिन्दी", "x" * 64])
def test_names_in_any_script(storage: Storage, name: str) -> None:
    assert storage.catalog.ensure(Scope(collection=name)).name == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "../x", "a/b", "a\\b", ".hidden", " a", "a ", "a\nb", "a\x00", "💳", "a:b"],
)
def test_names_that_are_refused(storage: Storage, name: str) -> None:
    with pytest.raises(InvalidInputError, match="1 to 64 letters"):
        storage.catalog.ensure(Scope(collection=name))
    with pytest.raises(InvalidInputError, match="1 to 64 letters"):
        storage.catalog.ensure(Scope(tenant=name))


def test_composed_and_decomposed_names_are_one(storage: Storage) -> None:
    first = storage.catalog.ensure(Scope(collection="Cr\u00e9dit"))
    assert storage.catalog.ensure(Scope(collection="Cre\u0301dit")).id == first.id


def test_what_a_database_cannot_hold_is_replaced_in_place(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    text = "a\x00b\ud800c 😀"
    stored = put(storage, collection, new_document("x\ud800.txt", text))
    found = storage.catalog.document(SCOPE, stored.document_id)
    assert found.text == "a\ufffdb\ufffdc 😀"
    assert len(found.text) == len(text)
    assert put(storage, collection, new_document("x\ud800.txt", text)).status == "unchanged"


def test_many_threads_write_and_ids_follow_versions(storage: Storage) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            collection = storage.catalog.ensure(SCOPE)
            for i in range(5):
                put(storage, collection, new_document(f"{number}-{i}.txt", f"{number} {i}"), 3)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    info = storage.catalog.stats(SCOPE)
    assert (info.documents, info.chunks) == (30, 90)
    assert storage.catalog.require(SCOPE).version == 30


def test_a_feed_sees_one_state(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    put(storage, collection, new_document("a.txt"))
    with storage.passages.feed(collection.id) as feed:
        version = feed.version()
        put(storage, collection, new_document("b.txt"))
        assert feed.version() == version
        assert len(list(feed.items("chunks", 0, DIM))) == 1
    with storage.passages.feed(collection.id) as feed:
        assert feed.version() == version + 1
        assert len(list(feed.items("chunks", 0, DIM))) == 2


def test_items_carry_what_the_index_needs(storage: Storage) -> None:
    collection = storage.catalog.ensure(SCOPE)
    stored = put(storage, collection, new_document("a.txt", "Body.", tags=("t",)))
    with storage.passages.feed(collection.id) as feed:
        (item,) = feed.items("chunks", 0, DIM)
        assert item.text == "Title\nBody."
        assert item.tags == frozenset({"t"})
        np.testing.assert_array_equal(item.vector, VECTOR)
        assert feed.high_water("chunks") == (item.item_id, 0)
        assert (feed.stale("enc").stale, feed.stale("other").stale) == (0, 1)
    (row,) = storage.passages.chunks([item.item_id, item.item_id + 1])
    assert (row.document_id, row.text, row.page) == (stored.document_id, "Body.", 3)
    assert row.heading_path == ("A", "B")
    assert [s.text for s in row.sentences] == ["Body."]


def test_ids_no_text_can_be_are_refused(storage: Storage) -> None:
    storage.catalog.ensure(SCOPE)
    with pytest.raises(InvalidInputError, match="surrogate"):
        storage.catalog.document(SCOPE, "\ud800")
    with pytest.raises(InvalidInputError, match="surrogate"):
        storage.conversations.turns("default", "\ud800")
