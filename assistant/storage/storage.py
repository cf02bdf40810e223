"""The database of the service with its repositories."""

from __future__ import annotations

from types import TracebackType

from assistant.settings import Settings
from assistant.storage.catalog import Catalog
from assistant.storage.conversations import Conversations
from assistant.storage.engine import Database, parse_url
from assistant.storage.gaps import KnowledgeGaps
from assistant.storage.intents import Intents
from assistant.storage.migrate import migrate
from assistant.storage.passages import Passages
from assistant.storage.writing import Writer


class Storage:
    """One open database. Thread-safe; any number of processes may have the same one open."""

    def __init__(self, url: str) -> None:
        """Open the database and bring its schema up to date.

        Raises InvalidInputError for a URL that is not SQLite or PostgreSQL, StorageError when it
        cannot be opened or was written by a newer version.
        """
        self._database = Database(parse_url(url))
        try:
            migrate(self._database)
        except BaseException:
            self._database.close()
            raise
        self.catalog = Catalog(self._database)
        self.writer = Writer(self._database)
        self.passages = Passages(self._database)
        self.conversations = Conversations(self._database)
        self.gaps = KnowledgeGaps(self._database)
        self.intents = Intents(self._database)

    @classmethod
    def open(cls, settings: Settings) -> Storage:
        """Open the database the settings name."""
        return cls(settings.resolved_database_url)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
