"""Make files ready to encode: find what is unchanged, load and chunk the rest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from assistant.encoding import PassageEncoder, Prepared
from assistant.errors import AssistantError, InvalidInputError, NotFoundError
from assistant.settings import Settings
from assistant.storage import Storage, clean_text
from assistant.storage.values import DocumentKind, Fingerprint
from assistant.types import FileResult, Scope
from indexes.chunking import chunk_document
from indexes.errors import LoadError
from indexes.loaders import LoadLimits, SkippedFile, load, load_bytes
from indexes.types import Document

RECIPE_VERSION = 2
"""Counted up when loading or chunking changes so that stored documents should be made anew."""

MAX_SOURCE = 200
_MIB = 1024 * 1024
Known = dict[str, tuple[str, Fingerprint]]
"""By source: the stored document's id and what it was made from."""

_log = logging.getLogger(__name__)


class Preparer:
    """Reads sources into ``Prepared`` documents, or says what became of them. Thread-safe."""

    def __init__(self, storage: Storage, encoder: PassageEncoder, settings: Settings) -> None:
        self._catalog = storage.catalog
        self._count_tokens = encoder.count_tokens
        self._chunk_tokens = settings.chunk_tokens
        self.recipe = f"{RECIPE_VERSION};tokens={settings.chunk_tokens};{encoder.fingerprint}"
        self._limits = LoadLimits(
            max_bytes=settings.max_file_mb * _MIB,
            max_expanded_bytes=settings.max_expanded_mb * _MIB,
        )

    def file(
        self,
        found: tuple[Path, str] | SkippedFile,
        scope: Scope,
        known: Known,
        *,
        faq: bool,
    ) -> Prepared | FileResult:
        """Prepare what ``discover`` found, unless it is known as it is."""
        if isinstance(found, SkippedFile):
            return FileResult(clean_text(found.source), "failed", found.reason)
        path, source = found
        source = clean_text(source)

        def read() -> Prepared | FileResult:
            size = path.stat().st_size
            # A file too large to load is not worth hashing: loading refuses it.
            digest = _sha256(path) if size <= self._limits.max_bytes else ""
            fingerprint = self._fingerprint(digest, scope, faq=faq)
            if (same := _unchanged(source, fingerprint, known)) is not None:
                return same
            document = load(path, source=source, faq=faq, limits=self._limits)
            return self._chunked(document, fingerprint, size)

        return _guarded(source, read)

    def data(
        self,
        data: bytes,
        source: str,
        scope: Scope,
        known: Known,
        *,
        faq: bool,
    ) -> Prepared | FileResult:
        """Prepare an uploaded file of this name, unless it is known as it is."""

        def read() -> Prepared | FileResult:
            digest = hashlib.sha256(data).hexdigest()
            fingerprint = self._fingerprint(digest, scope, faq=faq)
            if (same := _unchanged(source, fingerprint, known)) is not None:
                return same
            document = load_bytes(
                data, filename=source, source=source, faq=faq, limits=self._limits
            )
            return self._chunked(document, fingerprint, len(data))

        return _guarded(source, read)

    def stored(
        self, scope: Scope, collection_id: int, ids: Sequence[str]
    ) -> Iterator[Prepared | FileResult]:
        """Prepare stored documents to be made anew; those gone meanwhile are left out."""
        known = {made[0]: made[1] for made in self._catalog.fingerprints(collection_id).values()}
        for document_id in ids:
            try:
                stored, before = self._catalog.document(scope, document_id), known[document_id]
            except (NotFoundError, KeyError):  # replaced or deleted meanwhile
                continue
            document = Document(
                source=stored.source,
                title=stored.title,
                text=stored.text,
                language=stored.language,
                media_type=stored.media_type,
                headings=stored.headings,
                pages=stored.pages,
                faq=self._catalog.faq_entries(document_id),
                metadata=stored.metadata,
            )
            fingerprint = replace(before, recipe=self.recipe)
            chunk = partial(self._chunked, document, fingerprint, stored.size)
            yield _guarded(stored.source, chunk)

    def _fingerprint(self, digest: str, scope: Scope, *, faq: bool) -> Fingerprint:
        kind: DocumentKind = "faq" if faq else "document"
        return Fingerprint(digest, kind, tuple(sorted(scope.tags)), self.recipe)

    def _chunked(self, document: Document, fingerprint: Fingerprint, size: int) -> Prepared:
        if fingerprint.kind == "faq":
            if not document.faq:
                raise LoadError("no questions with answers found in it")
            return Prepared(document, (), fingerprint, size)
        chunks = chunk_document(document, self._count_tokens, self._chunk_tokens)
        if not chunks:
            raise LoadError("no text in it")
        return Prepared(document, chunks, fingerprint, size)


def clean_source(filename: str) -> str:
    """Return an uploaded file's name without folders; raise InvalidInputError if none is left."""
    name = PurePosixPath(clean_text(filename).replace("\\", "/")).name
    name = "".join(character for character in name if character.isprintable()).strip()
    if not name or name.startswith(".") or len(name) > MAX_SOURCE:
        raise InvalidInputError(
            f"The file name {filename[:80]!r} cannot be used: give 1 to {MAX_SOURCE} characters, "
            "no dot at the start."
        )
    return name


def _unchanged(source: str, fingerprint: Fingerprint, known: Known) -> FileResult | None:
    document_id, before = known.get(source, ("", None))
    if before != fingerprint:
        return None
    return FileResult(source, "unchanged", document_id=document_id)


def _guarded(source: str, read: Callable[[], Prepared | FileResult]) -> Prepared | FileResult:
    """Turn whatever a file does to its reader into its reason."""
    try:
        return read()
    except AssistantError:
        raise
    except LoadError as error:
        reason = error.reason
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except Exception as error:
        _log.exception("%s could not be loaded", source)
        reason = f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
    return FileResult(source, "failed", reason)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
