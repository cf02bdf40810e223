"""Fine-tuned models over HTTP: classify texts, find entities, see what is in use."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from assistant.errors import AssistantError
from assistant.models.live_models import Status
from assistant.models.names import SHARED_TENANT
from assistant.web import model_schemas as schemas
from assistant.web.security import scope_of

if TYPE_CHECKING:
    from assistant.runtime import Runtime


def models_router(runtime: Runtime) -> APIRouter:
    """Classify, find entities, and list models. A promotion or rollback takes effect at once."""
    router = APIRouter(tags=["models"])

    @router.post("/classify", response_model=schemas.ClassifyBody, summary="Classify texts")
    def classify(body: schemas.ClassifyRequest, request: Request) -> schemas.ClassifyBody:
        found = runtime.trained.classify(
            body.texts, task=body.task, name=body.model, tenant=scope_of(request).tenant
        )
        results = [
            schemas.PredictionBody(
                label=one.label,
                probability=one.probability,
                probabilities=dict(one.probabilities),
                labels=list(one.labels),
            )
            for one in found.predictions
        ]
        return schemas.ClassifyBody(model=found.model, results=results)

    @router.post("/entities", response_model=schemas.EntitiesBody, summary="Find entities")
    def entities(body: schemas.EntitiesRequest, request: Request) -> schemas.EntitiesBody:
        found = runtime.trained.entities(
            body.texts, name=body.model, tenant=scope_of(request).tenant
        )
        results = [
            schemas.TextEntities(entities=[schemas.EntityBody(**asdict(one)) for one in text])
            for text in found.entities
        ]
        return schemas.EntitiesBody(model=found.model, results=results)

    @router.get("/models", response_model=schemas.ModelList, summary="Models and versions")
    def models(request: Request) -> schemas.ModelList:
        from assistant.models.listing import rows

        tenant = scope_of(request).tenant
        found = rows(runtime.settings, tenants=(tenant, SHARED_TENANT))
        return schemas.ModelList(
            encoder=_encoder(runtime),
            encoder_change=runtime.encoder_change,
            models=[schemas.ModelBody(**row.as_data()) for row in found],
            serving=[_serving(status) for status in runtime.trained.statuses(tenant)],
        )

    return router


def _encoder(runtime: Runtime) -> str:
    try:
        return f"{runtime.encoder.name}@{runtime.encoder.fingerprint[:12]}"
    except AssistantError as error:
        return str(error)


def _serving(status: Status) -> schemas.ServingBody:
    version = status.version
    return schemas.ServingBody(
        model=f"{status.task}/{status.name}",
        version=version.number if version else None,
        tenant=version.tenant if version else status.tenant,
        requests=status.requests,
        problem=status.problem,
    )
