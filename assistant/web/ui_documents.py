"""What the documents view does: add files, list them, delete them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from assistant.errors import AssistantError
from assistant.types import DEFAULT_COLLECTION, DocumentInfo, FileResult, Scope
from assistant.web.problems import describe
from assistant.web.ui_render import escape, icon
from assistant.web.ui_session import Session, visitor_scope
from assistant.web.ui_strings import Strings

if TYPE_CHECKING:
    from assistant.runtime import Runtime
    from assistant.web.ui_layout import Parts

_TABLE_ROWS = 500
_MEDIA_NAMES = {
    "application/pdf": "PDF",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "DOCX",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "PPTX",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "XLSX",
    "text/markdown": "MD",
    "text/plain": "TXT",
    "text/html": "HTML",
    "text/csv": "CSV",
    "message/rfc822": "EML",
}

Updates = dict[Any, Any]


class DocumentsView:
    """Callbacks of the documents view."""

    def __init__(self, runtime: Runtime, parts: Parts) -> None:
        self._runtime = runtime
        self._parts = parts

    def upload(
        self,
        paths: Sequence[str] | None,
        target: str | None,
        faq: bool,
        stored: dict[str, Any],
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Take the files in one by one, showing what became of each as it is known."""
        session, view = Session.load(stored), self._parts.documents
        strings = session.strings
        if not paths:
            yield {view.results: _notice(strings.upload_none, "warn")}
            return
        name = (target or "").strip() or DEFAULT_COLLECTION
        scope = replace(visitor_scope(request), collection=name)
        done: list[FileResult] = []
        yield {view.results: _progress(done, len(paths), strings), view.upload: _enabled(False)}
        for path in paths:
            done.append(self._take_in(Path(path), scope, faq=faq))
            yield {view.results: _progress(done, len(paths), strings)}
        failed = sum(result.status == "failed" for result in done)
        if failed < len(done):
            session.collection = name
        yield {
            view.results: _outcome(done, failed, name, strings),
            view.files: gr.update(value=None),
            view.upload: _enabled(True),
            view.faq: gr.update(value=False),
            **self.redrawn(session, request),
        }

    def _take_in(self, path: Path, scope: Scope, *, faq: bool) -> FileResult:
        try:
            report = self._runtime.ingest([path], scope, faq=faq)
        except Exception as error:
            # One file's failure is that file's result; the rest still go in.
            return FileResult(path.name, "failed", describe(error)[2])
        finally:
            path.unlink(missing_ok=True)
        if report.files:
            return report.files[0]
        return FileResult(path.name, "failed", "nothing was read from it")

    def delete(self, stored: dict[str, Any], event: gr.EventData, request: gr.Request) -> Updates:
        """Delete a document (the page script has asked for confirmation)."""
        session = Session.load(stored)
        scope = replace(visitor_scope(request), collection=session.collection)
        try:
            self._runtime.delete_document(scope, str(event.id))
        except Exception as error:
            gr.Warning(describe(error)[2], duration=6)
        else:
            text = session.strings.deleted.format(title=str(event.title)[:120])
            gr.Info(escape(text), duration=4)
        return self.redrawn(session, request)

    def refresh(self, stored: dict[str, Any], request: gr.Request) -> Updates:
        """Show what is there now, also what came in by other ways."""
        return self.redrawn(Session.load(stored), request)

    def redrawn(self, session: Session, request: gr.Request) -> Updates:
        """The collections and the table of documents."""
        scope = replace(visitor_scope(request), collection=session.collection)
        names = self.collection_names(scope.tenant)
        if session.collection not in names:
            session.collection = self.first_collection(scope.tenant)
            scope = replace(scope, collection=session.collection)
            names = sorted({*names, session.collection})
        try:
            documents: Sequence[DocumentInfo] = self._runtime.documents(scope)
        except AssistantError:
            documents = ()
        view = self._parts.documents
        return {
            self._parts.collection: gr.update(choices=names, value=session.collection),
            view.target: gr.update(choices=names, value=session.collection),
            view.table: documents_table(documents, session.collection, session.strings),
            self._parts.session: session.dump(),
        }

    def first_collection(self, tenant: str) -> str:
        """The collection a new visitor asks: the default one unless only others hold anything."""
        filled = [info.name for info in self._runtime.collections(tenant) if info.documents]
        return DEFAULT_COLLECTION if DEFAULT_COLLECTION in filled or not filled else filled[0]

    def collection_names(self, tenant: str) -> list[str]:
        """Every collection's name; the default one where there is none yet."""
        names = [info.name for info in self._runtime.collections(tenant)]
        return names or [DEFAULT_COLLECTION]


def documents_table(documents: Sequence[DocumentInfo], collection: str, strings: Strings) -> str:
    """The collection's documents as a table with a delete button each."""
    title = escape(strings.documents_title.format(collection=collection))
    summary = escape(
        strings.documents_summary.format(
            documents=len(documents),
            chunks=sum(d.chunks for d in documents),
            faq=sum(d.faq_entries for d in documents),
        )
    )
    if not documents:
        body = f'<p class="hint">{escape(strings.documents_empty)}</p>'
    else:
        rows = "".join(_row(document, strings) for document in documents[:_TABLE_ROWS])
        heads = "".join(
            f'<th scope="col">{escape(head)}</th>'
            for head in (
                strings.documents_document,
                strings.documents_kind,
                strings.documents_size,
                strings.documents_added,
            )
        )
        last = f'<th scope="col"><span class="sr">{escape(strings.delete)}</span></th>'
        more = "" if len(documents) <= _TABLE_ROWS else '<p class="hint">…</p>'
        body = (
            f'<table class="documents"><thead><tr>{heads}{last}</tr></thead>'
            f"<tbody>{rows}</tbody></table>{more}"
        )
    return f'<header class="list-head"><h2>{title}</h2><p>{summary}</p></header>{body}'


def _row(document: DocumentInfo, strings: Strings) -> str:
    content = (
        strings.upload_faq_entries.format(count=document.faq_entries)
        if document.faq_entries
        else strings.upload_chunks.format(count=document.chunks)
    )
    title, label = escape(document.title), escape(f"{strings.delete}: {document.title}")
    kind = _MEDIA_NAMES.get(document.media_type, Path(document.source).suffix.lstrip(".").upper())
    return (
        f'<tr><td><b dir="auto">{title}</b><span class="source" dir="auto">'
        f"{escape(document.source)}</span></td><td>{escape(kind)}</td><td>{escape(content)}</td>"
        f"<td>{escape(document.created_at[:10])}</td><td>"
        f'<button type="button" class="square delete" data-delete="{escape(document.document_id)}" '
        f'data-title="{title}" aria-label="{label}">{icon("trash")}</button></td></tr>'
    )


def _progress(done: Sequence[FileResult], total: int, strings: Strings) -> str:
    text = escape(strings.upload_working.format(done=len(done), total=total))
    return (
        f'<div class="progress" role="status"><span>{text}</span>'
        f'<progress max="{total}" value="{len(done)}"></progress></div>{_results(done, strings)}'
    )


def _outcome(done: Sequence[FileResult], failed: int, name: str, strings: Strings) -> str:
    parts = []
    if failed < len(done):
        text = strings.upload_done.format(count=len(done) - failed, collection=name)
        parts.append(_notice(text, "good"))
    if failed:
        text = strings.upload_failed_some.format(failed=failed, total=len(done))
        parts.append(_notice(text, "bad"))
    return "".join(parts) + _results(done, strings)


def _results(done: Sequence[FileResult], strings: Strings) -> str:
    items = "".join(_result(result, strings) for result in reversed(done))
    return f'<ul class="file-results">{items}</ul>'


def _result(result: FileResult, strings: Strings) -> str:
    notes = [result.reason or ""]
    if result.chunks:
        notes.append(strings.upload_chunks.format(count=result.chunks))
    if result.faq_entries:
        notes.append(strings.upload_faq_entries.format(count=result.faq_entries))
    notes += list(result.warnings[:5])
    detail = "".join(f"<span>{escape(note)}</span>" for note in notes if note)
    return (
        f'<li class="{result.status}"><b dir="auto">{escape(result.source)}</b>'
        f"<i>{escape(strings.statuses[result.status])}</i>{detail}</li>"
    )


def _notice(text: str, tone: str) -> str:
    return f'<p class="notice {tone}" role="status">{escape(text)}</p>'


def _enabled(state: bool) -> Any:
    return gr.update(interactive=state)
