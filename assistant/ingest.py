"""From files to stored, searchable documents: load, chunk, encode, store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from assistant.encoding import (
    AT_ONCE,
    EncodedDocument,
    PassageEncoder,
    Prepared,
    encode_documents,
)
from assistant.errors import AssistantError, InvalidInputError, NotFoundError, StorageError
from assistant.knowledge import Knowledge
from assistant.preparing import Known, Preparer, clean_source
from assistant.settings import Settings
from assistant.storage import Storage, clean_text, valid_scope
from assistant.storage.values import CollectionRef, NewDocument
from assistant.types import FileResult, IngestProgress, IngestReport, Scope
from indexes.loaders import SkippedFile, discover

GROUP_FILES = 64
"""Small files are encoded together: up to this many, or until there are enough chunks."""

MAX_TAGS = 64
MAX_TAG = 64
Progress = Callable[[IngestProgress], None]
T = TypeVar("T")
_log = logging.getLogger(__name__)


class Ingestor:
    """Puts files into collections. Thread-safe; any number of processes may ingest at once.

    Each document is one transaction, so that an interrupted ingest goes on where it stopped:
    files whose bytes, tags and encoder are the same as stored are left as they are.
    """

    def __init__(
        self,
        storage: Storage,
        encoder: PassageEncoder,
        knowledge: Knowledge,
        settings: Settings,
    ) -> None:
        self._catalog = storage.catalog
        self._writer = storage.writer
        self._encoder = encoder
        self._knowledge = knowledge
        self._prepare = Preparer(storage, encoder, settings)

    def ingest(
        self,
        paths: Sequence[Path],
        scope: Scope,
        *,
        faq: bool = False,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Load files and folders into the scope's collection; its tags go onto the documents.

        ``faq``: read the files as questions and answers. What fails is in the report with its
        reason; after a failure of the database the rest is not tried. Raises InvalidInputError
        for an impossible collection name or tags.
        """
        started = time.perf_counter()
        scope = _checked(scope)
        files = [found for found in discover(paths) if not _is_hidden(found)]
        known = self._known(scope)
        steps = (self._prepare.file(found, scope, known, faq=faq) for found in files)
        run = _Run(len(files), progress)
        try:
            self._work_off(steps, scope, run)
        except (StorageError, NotFoundError) as error:
            run.give_up([_source_of(found) for found in files], str(error))
        return IngestReport(scope.collection, tuple(run.results), time.perf_counter() - started)

    def ingest_bytes(
        self, data: bytes, filename: str, scope: Scope, *, faq: bool = False
    ) -> FileResult:
        """Load one uploaded file under its name.

        Raises InvalidInputError as ``ingest`` does and for a file name that is none, StorageError
        when the database refuses.
        """
        scope = _checked(scope)
        source = clean_source(filename)
        step = self._prepare.data(data, source, scope, self._known(scope), faq=faq)
        run = _Run(1, None)
        self._work_off(iter([step]), scope, run)
        return run.results[0]

    def reindex(self, scope: Scope, progress: Progress | None = None) -> IngestReport:
        """Chunk and encode stored documents anew where another encoder or chunk size made them.

        Documents get new ids. Interrupted, it goes on where it stopped.
        """
        started = time.perf_counter()
        collection = self._catalog.require(scope)
        ids = self._catalog.stale_documents(collection, self._prepare.recipe)
        everything = Scope(collection.tenant, collection.name)
        run = _Run(len(ids), progress)
        self._work_off(self._prepare.stored(everything, collection.id, ids), everything, run)
        return IngestReport(collection.name, tuple(run.results), time.perf_counter() - started)

    def reindex_all(self, progress: Progress | None = None) -> list[IngestReport]:
        """As ``reindex``, for every collection of every tenant that needs it."""
        reports = []
        for collection in self._catalog.all_collections():
            report = self.reindex(Scope(collection.tenant, collection.name), progress)
            if report.files:
                reports.append(report)
        return reports

    def copy(
        self, source: CollectionRef, target: CollectionRef, progress: Progress | None = None
    ) -> IngestReport:
        """Bring ``target`` to hold the documents of ``source``, encoded by this encoder.

        Only what differs is encoded or deleted, so that it can be repeated to catch up, and goes
        on where it was interrupted. The report is about what was encoded, under the source's name.
        """
        started = time.perf_counter()
        wanted = self._catalog.fingerprints(source.id)
        there = self._catalog.fingerprints(target.id)
        into = Scope(target.tenant, target.name)
        for name in there.keys() - wanted.keys():
            self._catalog.delete_document(into, there[name][0])
        ids = [
            document_id
            for name, (document_id, made) in sorted(wanted.items())
            if replace(made, recipe=self._prepare.recipe) != there.get(name, (None, None))[1]
        ]
        run = _Run(len(ids), progress)
        everything = Scope(source.tenant, source.name)
        self._work_off(self._prepare.stored(everything, source.id, ids), into, run)
        return IngestReport(source.name, tuple(run.results), time.perf_counter() - started)

    def _known(self, scope: Scope) -> Known:
        collection = self._catalog.find(scope)
        return self._catalog.fingerprints(collection.id) if collection else {}

    def _work_off(self, steps: Iterator[Prepared | FileResult], scope: Scope, run: _Run) -> None:
        everything = Scope(scope.tenant, scope.collection)
        for group in _ahead(_groups(steps)):
            for step in self._encoded(group, run):
                if isinstance(step, FileResult):
                    run.note(step)
                    continue
                try:
                    run.note(self._store(step, everything))
                finally:
                    step.close()
        if run.stored:
            self._knowledge.refresh(everything)

    def _encoded(
        self, group: Sequence[Prepared | FileResult], run: _Run
    ) -> Iterator[EncodedDocument | FileResult]:
        ready = [step for step in group if isinstance(step, Prepared)]
        encoded: Iterator[EncodedDocument | FileResult]
        try:
            encoded = iter(encode_documents(self._encoder, ready, run.inside))
        except AssistantError:
            raise
        except Exception as error:
            _log.exception("A group of %d documents could not be encoded", len(ready))
            encoded = self._one_by_one(ready, run, error)
        for step in group:
            yield step if isinstance(step, FileResult) else next(encoded)

    def _one_by_one(
        self, ready: Sequence[Prepared], run: _Run, error: Exception
    ) -> Iterator[EncodedDocument | FileResult]:
        """Find the document the encoder cannot take, so that only that one fails."""
        for prepared in ready:
            try:
                if len(ready) == 1:
                    raise error
                yield encode_documents(self._encoder, [prepared], run.inside)[0]
            except AssistantError:
                raise
            except Exception as problem:
                reason = f"could not be encoded ({type(problem).__name__}: {problem})"
                yield FileResult(prepared.document.source, "failed", reason)

    def _store(self, encoded: EncodedDocument, scope: Scope) -> FileResult:
        collection = self._catalog.ensure(scope)
        stored = self._writer.put(collection, self._new(encoded.prepared), encoded.content())
        warnings = encoded.prepared.document.metadata.get("warnings", "")
        return FileResult(
            source=clean_text(encoded.prepared.document.source),
            status=stored.status,
            document_id=stored.document_id,
            chunks=stored.chunks,
            faq_entries=stored.faq_entries,
            warnings=tuple(warnings.splitlines()),
        )

    def _new(self, step: Prepared) -> NewDocument:
        document = step.document
        return NewDocument(
            source=document.source,
            title=document.title,
            text=document.text,
            language=document.language,
            media_type=document.media_type,
            size=step.size,
            encoder=self._encoder.fingerprint,
            fingerprint=step.fingerprint,
            headings=document.headings,
            pages=document.pages,
            metadata=document.metadata,
        )


class _Run:
    """The results so far, in the order of the files, and whom to tell."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.results: list[FileResult] = []
        self._total = total
        self._progress = progress

    @property
    def stored(self) -> bool:
        return any(result.status in ("added", "replaced") for result in self.results)

    def note(self, result: FileResult) -> None:
        self.results.append(result)
        if self._progress is not None:
            self._progress(IngestProgress(len(self.results), self._total, result))

    def inside(self, source: str, done: int, total: int) -> None:
        if self._progress is not None and total > AT_ONCE:
            self._progress(
                IngestProgress(len(self.results), self._total, None, source, done, total)
            )

    def give_up(self, sources: Sequence[str], reason: str) -> None:
        """Fail the file at hand for this reason, and all after it as not tried."""
        for source in sources[len(self.results) :]:
            self.note(FileResult(source, "failed", reason))
            reason = "not tried, since storing an earlier file failed"


def _checked(scope: Scope) -> Scope:
    scope = valid_scope(scope)
    long = [tag for tag in scope.tags if not 0 < len(tag) <= MAX_TAG or tag != clean_text(tag)]
    if long or len(scope.tags) > MAX_TAGS:
        raise InvalidInputError(
            f"{len(scope.tags)} tags, the first unusable {(long or [''])[0][:80]!r}: give at most "
            f"{MAX_TAGS} tags of 1 to {MAX_TAG} characters."
        )
    return scope


def _is_hidden(found: tuple[Path, str] | SkippedFile) -> bool:
    # A .git or .DS_Store in a folder is not one of its documents.
    return isinstance(found, SkippedFile) and found.reason == "hidden or temporary"


def _source_of(found: tuple[Path, str] | SkippedFile) -> str:
    return clean_text(found.source if isinstance(found, SkippedFile) else found[1])


def _groups(steps: Iterable[Prepared | FileResult]) -> Iterator[list[Prepared | FileResult]]:
    """Gather files until there is enough to encode together."""
    group: list[Prepared | FileResult] = []
    items = 0
    for step in steps:
        group.append(step)
        items += step.items if isinstance(step, Prepared) else 0
        if items >= AT_ONCE or len(group) >= GROUP_FILES:
            yield group
            group, items = [], 0
    if group:
        yield group


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, each made in a thread while the one before it is being used."""
    with ThreadPoolExecutor(1, thread_name_prefix="loader") as pool:
        coming = pool.submit(_next, items)
        while (found := coming.result()) is not None:
            coming = pool.submit(_next, items)
            yield found


def _next(items: Iterator[T]) -> T | None:
    return next(items, None)
