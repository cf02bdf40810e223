"""Search over all collections: indexes that follow the database, hits resolved to evidence."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from assistant.errors import AssistantError, InvalidInputError
from assistant.evidence import Evidence
from assistant.live import INDEXES, LiveCollection
from assistant.settings import Settings
from assistant.storage import Storage, valid_scope
from assistant.storage.values import CollectionRef, IndexName
from assistant.types import DEFAULT_COLLECTION, ChunkHit, FaqHit, Retrieved, Scope
from indexes.search import CANDIDATES, HybridIndex
from indexes.types import FloatArray, VectorSpace

_FAQ_OVERFETCH = 4
"""Wordings fetched for each FAQ entry wanted; more are fetched for queries this is too few for."""

_RETRY_SECONDS = 60.0
_Task = tuple[LiveCollection, IndexName]
_log = logging.getLogger(__name__)


class Knowledge:
    """The searchable state of every collection. Thread-safe.

    Before each search one short statement asks the collection's version; when it has grown, by
    whatever process, new items and deletions are taken in first. Index generations are written
    by a background thread.
    """

    def __init__(self, storage: Storage, settings: Settings, space: VectorSpace) -> None:
        """``space`` is that of the encoder in use."""
        self._catalog = storage.catalog
        self._passages = storage.passages
        self._root = settings.indexes_dir
        self._space = space
        self._evidence = Evidence(storage.passages, space.cosine_floor)
        self._live: dict[tuple[str, str], LiveCollection] = {}
        self._lock = threading.Lock()
        self._compactor = _Compactor()
        self._remove_orphans()

    def search(
        self, scope: Scope, texts: Sequence[str], vectors: FloatArray, k: int
    ) -> list[Retrieved]:
        """Return the ``k`` best chunks and FAQ entries for each text.

        ``vectors``: float32 (len(texts), dim), unit rows, from ``encode_queries``. Only what the
        scope may see is searched. Raises NotFoundError for an unknown collection (the default one
        is empty until something is ingested), ModelError when the collection was encoded by
        another encoder.
        """
        if k < 1:
            raise InvalidInputError(f"k is {k}: ask for at least 1 result.")
        live = self._current(scope)
        if live is None or not texts:
            return [Retrieved((), ()) for _ in texts]
        in_chunks, in_faq = live.index("chunks"), live.index("faq")
        chunks = self._search_chunks(in_chunks, scope, texts, vectors, k)
        faqs = self._search_faq(in_faq, scope, texts, vectors, k)
        # The larger index knows better which words are rare.
        terms = max(in_chunks, in_faq, key=lambda index: index.size).term_weights(texts)
        floor = self._space.cosine_floor
        return [Retrieved(*found, floor) for found in zip(chunks, faqs, terms, strict=True)]

    def frequencies(self, scope: Scope, words: Sequence[str]) -> list[int]:
        """Return how many chunks and FAQ wordings have each Latin word, in lower case, in any form.

        Raises NotFoundError as ``search`` does.
        """
        live = self._current(scope)
        if live is None:
            return [0] * len(words)
        counts = (live.index(name).frequencies(words) for name in INDEXES)
        return [sum(own) for own in zip(*counts, strict=True)]

    def refresh(self, scope: Scope) -> None:
        """Take in all changes now, rather than with the next search: call it after an ingest.

        Many additions are then also written to the disk, in the background.
        """
        live = self._current(scope)
        if live is not None:
            for name in live.worth_saving():
                self._compactor.ask(live, name)

    def compact(self, scope: Scope) -> None:
        """Write new generations of both indexes now, whether they need it or not."""
        live = self._current(scope)
        if live is not None:
            for name in INDEXES:
                live.save(name)

    def forget(self, collection: CollectionRef) -> None:
        """Drop the indexes of a collection that was deleted from the database."""
        with self._lock:
            self._live.pop((collection.tenant, collection.name), None)
        shutil.rmtree(self._root / collection.uid, ignore_errors=True)

    def renamed(self, before: CollectionRef, now: CollectionRef) -> None:
        """Keep the open indexes of a collection that was given another name and tenant."""
        with self._lock:
            live = self._live.pop((before.tenant, before.name), None)
            if live is not None:
                live.collection = replace(live.collection, tenant=now.tenant, name=now.name)
                self._live[now.tenant, now.name] = live

    def close(self) -> None:
        """Finish the generations being written and stop."""
        self._compactor.close()

    def _current(self, scope: Scope) -> LiveCollection | None:
        scope = valid_scope(scope)
        collection = self._catalog.find(scope)
        if collection is None:
            if scope.collection == DEFAULT_COLLECTION:
                return None
            collection = self._catalog.require(scope)
        live = self._live_of(collection)
        if live.follow(collection.version):
            for name in live.needing_compaction():
                self._compactor.ask(live, name)
        return live

    def _live_of(self, collection: CollectionRef) -> LiveCollection:
        key = (collection.tenant, collection.name)
        with self._lock:
            live = self._live.get(key)
            if live is None or live.collection.uid != collection.uid:
                live = LiveCollection(
                    collection,
                    self._root / collection.uid,
                    self._passages,
                    self._evidence,
                    self._space,
                )
                self._live[key] = live
            return live

    def _search_chunks(
        self,
        index: HybridIndex,
        scope: Scope,
        texts: Sequence[str],
        vectors: FloatArray,
        k: int,
    ) -> list[tuple[ChunkHit, ...]]:
        if not index.size:
            return [()] * len(texts)
        hits = index.search(texts, vectors, max(k, CANDIDATES), tags=scope.tags)
        return self._evidence.chunks(hits, vectors, k)

    def _search_faq(
        self,
        index: HybridIndex,
        scope: Scope,
        texts: Sequence[str],
        vectors: FloatArray,
        k: int,
    ) -> list[tuple[FaqHit, ...]]:
        results: list[tuple[FaqHit, ...]] = [()] * len(texts)
        pending = list(range(len(texts))) if index.size else []
        fetch = k * _FAQ_OVERFETCH
        while pending:
            some = texts if len(pending) == len(texts) else [texts[i] for i in pending]
            hits = index.search(some, np.asarray(vectors)[pending], fetch, tags=scope.tags)
            short = []
            for i, found, entries in zip(pending, hits, self._evidence.faqs(hits, k), strict=True):
                results[i] = entries
                if len(entries) < k and len(found) == fetch:
                    short.append(i)
            pending = short
            fetch *= _FAQ_OVERFETCH
        return results

    def _remove_orphans(self) -> None:
        """Remove folders of collections that are gone: a process died while deleting one.

        A collection's row is older than its folder, so this never meets one just being made.
        """
        if not self._root.is_dir():
            return
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        known = {collection.uid for collection in self._catalog.all_collections(copies=True)}
        for path in folders:
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)


class _Compactor:
    """One background thread that writes index generations, one at a time."""

    def __init__(self) -> None:
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._waiting: set[tuple[str, IndexName]] = set()
        self._not_before: dict[tuple[str, IndexName], float] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def ask(self, live: LiveCollection, name: IndexName) -> None:
        """Have an index compacted soon; asking twice does no harm."""
        key = (live.collection.uid, name)
        with self._lock:
            if self._closed or key in self._waiting:
                return
            if time.monotonic() < self._not_before.get(key, 0.0):
                return
            self._waiting.add(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="compactor", daemon=True)
                self._thread.start()
        self._tasks.put((live, name))

    def close(self) -> None:
        """Finish what was asked for."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._tasks.put(None)
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            live, name = task
            key = (live.collection.uid, name)
            try:
                live.compact(name)
            except Exception as error:
                # The old generation and the changes in memory go on serving.
                expected = isinstance(error, AssistantError | OSError)
                _log.warning(
                    "The %s index was not compacted: %s", name, error, exc_info=not expected
                )
                with self._lock:
                    self._not_before[key] = time.monotonic() + _RETRY_SECONDS
            finally:
                with self._lock:
                    self._waiting.discard(key)
