"""The search indexes of one collection, kept in step with the database."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from assistant.errors import ModelError, NotFoundError
from assistant.evidence import Evidence
from assistant.storage.passages import Feed, Passages
from assistant.storage.values import CollectionRef, IndexName
from assistant.storage.writing import batched
from indexes.errors import IndexCorruptError
from indexes.search import HybridIndex
from indexes.types import VectorSpace

INDEXES: tuple[IndexName, ...] = ("chunks", "faq")
SAVE_ITEMS = 256
SAVE_SHARE = 20
"""A new generation after an ingest is worth it from this many additions on, or this part of the
index: writing one costs a pass over all its texts."""

_ADD_AT_ONCE = 5_000
_log = logging.getLogger(__name__)


class LiveCollection:
    """Two indexes, chunks and FAQ, that follow the database by item and deletion ids.

    The indexes hold what the last generation on disk held, plus what ``follow`` adds in memory.
    Thread-safe: searches take an index as it stands while another thread follows or compacts.
    """

    def __init__(
        self,
        collection: CollectionRef,
        root: Path,
        passages: Passages,
        evidence: Evidence,
        space: VectorSpace,
    ) -> None:
        self.collection = collection
        self._root = root
        self._passages = passages
        self._evidence = evidence
        self._space = space
        self._lock = threading.Lock()
        self._version: int | None = None
        self._indexes: dict[IndexName, HybridIndex] = {}
        self._unsaved: dict[IndexName, int] = dict.fromkeys(INDEXES, 0)

    def index(self, name: IndexName) -> HybridIndex:
        """The index as it stands; ``follow`` first."""
        return self._indexes[name]

    def follow(self, version: int) -> bool:
        """Take in all changes up to this version of the collection or later.

        Returns whether there were any. Raises ModelError when documents were encoded by another
        encoder than the one in use.
        """
        if self._version == version:
            return False
        with self._lock:
            if self._version == version:
                return False
            with self._passages.feed(self.collection.id) as feed:
                state = feed.version()
                if state is None:
                    raise NotFoundError(
                        f"The collection {self.collection.name!r} was deleted meanwhile."
                    )
                self._check_encoder(feed)
                for name in INDEXES:
                    if name not in self._indexes:
                        self._indexes[name] = self._open(name, feed)
                    self._catch_up(name, self._indexes[name], feed)
                self._version = state
        return True

    def needing_compaction(self) -> list[IndexName]:
        """The indexes that have gathered enough changes to be worth a new generation."""
        return [name for name, index in self._indexes.items() if index.needs_compaction()]

    def worth_saving(self) -> list[IndexName]:
        """The indexes whose additions in memory would noticeably delay the next start."""
        return [name for name, index in self._indexes.items() if self._is_worth(name, index)]

    def compact(self, name: IndexName) -> None:
        """Bring an index to a new generation while it goes on serving.

        When another process has written one meanwhile, that one is taken instead.
        """
        if not self._take_anothers(name):
            self.save(name)

    def save(self, name: IndexName) -> None:
        """Write a new generation of an index while it goes on serving."""
        # First have the database on the disk, so that a power cut does not leave a generation that
        # is ahead of it.
        self._passages.flush()
        self._indexes[name].compact()
        self._unsaved[name] = 0

    def _check_encoder(self, feed: Feed) -> None:
        found = feed.stale(self._space.encoder)
        if found.stale:
            raise ModelError(
                f"{found.stale} of {found.total} documents in collection "
                f"{self.collection.name!r} were encoded by another encoder than the one in use. "
                "Run `assistant build`, which encodes stored documents anew."
            )

    def _open(self, name: IndexName, feed: Feed) -> HybridIndex:
        try:
            index = self._on_disk(name)
            item, deletion = feed.high_water(name)
            if index.last_item_id <= item and index.last_deletion_id <= deletion:
                return index
            reason = "it is ahead of the database, which was restored from a backup"
        except (IndexCorruptError, OSError) as error:
            reason = str(error)
        _log.warning("Building the %s index of %r anew: %s", name, self.collection.name, reason)
        index = HybridIndex(self._root / name, self._space)
        try:
            self._rebuild(name, index, feed)
        except (OSError, TimeoutError) as error:
            # All items then come from the database into memory; a later compaction tries again.
            _log.warning("The %s index cannot be written: %s", name, error)
        return index

    def _on_disk(self, name: IndexName) -> HybridIndex:
        return HybridIndex.open(self._root / name, self._space)

    def _rebuild(self, name: IndexName, index: HybridIndex, feed: Feed) -> None:
        # The order matters: first a state of the database, then have it on the disk, so that a
        # power cut never leaves a generation that is ahead of the database.
        _, last_deletion = feed.high_water(name)
        self._passages.flush()
        index.rebuild(feed.items(name, 0, self._space.dim), last_deletion)
        self._unsaved[name] = 0

    def _is_worth(self, name: IndexName, index: HybridIndex) -> bool:
        return self._unsaved[name] > max(SAVE_ITEMS, index.size // SAVE_SHARE)

    def _catch_up(self, name: IndexName, index: HybridIndex, feed: Feed) -> None:
        for batch in batched(feed.items(name, index.last_item_id, self._space.dim), _ADD_AT_ONCE):
            index.add(batch)
            self._unsaved[name] += len(batch)
        deleted, last_deletion = feed.deletions(name, index.last_deletion_id)
        if deleted:
            index.delete(deleted, last_deletion)
            self._evidence.drop(name, deleted)

    def _take_anothers(self, name: IndexName) -> bool:
        """Take the generation on disk if another process wrote one that is recent enough."""
        try:
            fresh = self._on_disk(name)
        except (IndexCorruptError, OSError):
            return False
        with self._lock, self._passages.feed(self.collection.id) as feed:
            item, deletion = feed.high_water(name)
            if fresh.last_item_id > item or fresh.last_deletion_id > deletion:
                return False
            self._unsaved[name] = 0
            self._catch_up(name, fresh, feed)
            if fresh.needs_compaction() or self._is_worth(name, fresh):
                return False
            # Caught up under the lock: a search that has followed never sees an older state.
            self._indexes[name] = fresh
        return True
