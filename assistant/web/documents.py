"""Collections and documents over HTTP."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, File, Path, Query, Request, Response, UploadFile

from assistant.errors import InvalidInputError
from assistant.types import CollectionInfo, Scope
from assistant.web import schemas
from assistant.web.passages import MAX_CONTEXT, passage_of
from assistant.web.security import scope_of
from assistant.web.uploads import MAX_FILES, Upload, take_in

if TYPE_CHECKING:
    from assistant.runtime import Runtime

CollectionName = Annotated[
    str, Path(min_length=1, max_length=64, description="The collection's name.")
]
DocumentId = Annotated[str, Path(min_length=1, max_length=128, description="The document's id.")]


def collections_router(runtime: Runtime) -> APIRouter:
    """List, create and delete collections."""
    router = APIRouter(prefix="/collections", tags=["collections"])

    @router.get("", response_model=schemas.CollectionList, summary="List collections")
    def list_collections(request: Request) -> schemas.CollectionList:
        found = runtime.collections(scope_of(request).tenant)
        return schemas.CollectionList(collections=[_collection(info) for info in found])

    @router.post(
        "",
        status_code=201,
        response_model=schemas.CollectionBody,
        summary="Create a collection",
    )
    def create_collection(
        body: schemas.CollectionCreate, request: Request
    ) -> schemas.CollectionBody:
        info = runtime.create_collection(_scope(request, body.name))
        return _collection(info)

    @router.get(
        "/{collection}", response_model=schemas.CollectionBody, summary="What a collection holds"
    )
    def get_collection(collection: CollectionName, request: Request) -> schemas.CollectionBody:
        info = runtime.collection_stats(_scope(request, collection))
        return _collection(info)

    @router.delete("/{collection}", status_code=204, summary="Delete a collection and all in it")
    def delete_collection(collection: CollectionName, request: Request) -> Response:
        runtime.delete_collection(_scope(request, collection))
        return Response(status_code=204)

    return router


def documents_router(runtime: Runtime, max_file_mb: int) -> APIRouter:
    """Upload, list, read and delete documents."""
    router = APIRouter(prefix="/collections/{collection}/documents", tags=["documents"])

    @router.get("", response_model=schemas.DocumentList, summary="List documents")
    def list_documents(collection: CollectionName, request: Request) -> schemas.DocumentList:
        found = runtime.documents(_scope(request, collection))
        return schemas.DocumentList(
            documents=[schemas.DocumentBody.model_validate(asdict(info)) for info in found]
        )

    @router.post(
        "",
        response_model=schemas.UploadBody,
        summary="Upload documents",
        responses={
            207: {"model": schemas.UploadBody, "description": "Some files failed; each says why."}
        },
    )
    def upload_documents(
        collection: CollectionName,
        request: Request,
        response: Response,
        files: Annotated[list[UploadFile], File(description="One or many files.")],
        faq: Annotated[
            bool, Query(description="The files are tables of questions and approved answers.")
        ] = False,
    ) -> schemas.UploadBody:
        if len(files) > MAX_FILES:
            raise InvalidInputError(
                f"{len(files)} files in one request, the limit is {MAX_FILES}; send fewer at once."
            )
        uploads = [Upload(file.filename or "", file.size or 0, file.file) for file in files]
        scope = _scope(request, collection)
        report = take_in(runtime, uploads, scope, faq=faq, max_file_mb=max_file_mb)
        response.status_code = 207 if report.failed else 200
        return schemas.UploadBody(
            collection=report.collection,
            files=[schemas.FileBody.model_validate(asdict(result)) for result in report.files],
            failed=len(report.failed),
            seconds=report.seconds,
        )

    @router.get("/{document_id}", response_model=schemas.DocumentText, summary="A document's text")
    def get_document(
        collection: CollectionName, document_id: DocumentId, request: Request
    ) -> schemas.DocumentText:
        found = runtime.document(_scope(request, collection), document_id)
        return schemas.DocumentText(
            document_id=found.document_id,
            title=found.title,
            source=found.source,
            language=found.language,
            text=found.text,
            headings=[schemas.HeadingBody(**asdict(heading)) for heading in found.headings],
            pages=[schemas.PageBody(**asdict(page)) for page in found.pages],
        )

    @router.get(
        "/{document_id}/passage",
        response_model=schemas.PassageBody,
        summary="A quote in its surroundings",
    )
    def get_passage(
        collection: CollectionName,
        document_id: DocumentId,
        request: Request,
        *,
        start: Annotated[int, Query(ge=0, description="First code point of the quote.")],
        end: Annotated[int, Query(ge=0, description="One past its last code point.")],
        context: Annotated[
            int | None,
            Query(ge=0, le=MAX_CONTEXT, description="Characters shown on each side."),
        ] = None,
    ) -> schemas.PassageBody:
        found = runtime.document(_scope(request, collection), document_id)
        passage = asdict(passage_of(found, start, end, context))
        return schemas.PassageBody.model_validate(passage)

    @router.delete("/{document_id}", status_code=204, summary="Delete a document")
    def delete_document(
        collection: CollectionName, document_id: DocumentId, request: Request
    ) -> Response:
        runtime.delete_document(_scope(request, collection), document_id)
        return Response(status_code=204)

    return router


def _scope(request: Request, collection: str) -> Scope:
    return replace(scope_of(request), collection=collection)


def _collection(info: CollectionInfo) -> schemas.CollectionBody:
    return schemas.CollectionBody.model_validate(asdict(info))
