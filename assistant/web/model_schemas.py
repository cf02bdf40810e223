"""Request and response bodies of the models' endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from assistant.web.schemas import Name, clean

MAX_TEXTS = 256
MAX_TEXT = 200_000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty; leave it out")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(clean), AfterValidator(_not_blank)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassifyRequest(_Request):
    """Texts to classify."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"task": "intent", "texts": ["我的卡丢了", "How high is the fee?"]}]
        },
    )

    task: Name = Field(
        description="intent, sentiment, topic, risk, classifier, or a head of a multi-task model."
    )
    texts: Texts = Field(description="A long text is judged by its beginning.")
    model: Name | None = Field(
        default=None, description="The model's name, where several are in use for the task."
    )


class PredictionBody(BaseModel):
    """What one text is taken for; `labels` are all that hold, the most probable first."""

    label: str
    probability: float = Field(ge=0, le=1)
    probabilities: dict[str, float]
    labels: list[str]


class ClassifyBody(BaseModel):
    """Predictions in the order of the texts, all by one version."""

    model: str = Field(description="The version that answered.", examples=["intent/bank@v2"])
    results: list[PredictionBody]


class EntitiesRequest(_Request):
    """Texts to find entities in."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"texts": ["Apple opened an office in Shanghai."]}]},
    )

    texts: Texts
    model: Name | None = Field(
        default=None, description="The model's name, where several taggers are in use."
    )


class EntityBody(BaseModel):
    """A name found: the text from `start` to `end` (code points)."""

    text: str
    label: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    probability: float = Field(ge=0, le=1)


class TextEntities(BaseModel):
    """The entities of one text, in its order."""

    entities: list[EntityBody]


class EntitiesBody(BaseModel):
    """Entities in the order of the texts, all found by one version."""

    model: str = Field(description="The version that answered.", examples=["tagger/names@v1"])
    results: list[TextEntities]


class FigureBody(BaseModel):
    """A measured value, its 95 % interval and the rows it was measured on."""

    value: float
    low: float
    high: float
    n: int


class ModelBody(BaseModel):
    """One version in the registry; `version` null is the base build of the encoder."""

    task: str
    name: str
    tenant: str = Field(description="Whose it is; `shared` serves all that have none of their own.")
    version: int | None
    current: bool = Field(description="It is the one promoted.")
    created: str
    metric: str
    figure: FigureBody | None
    size_bytes: int
    precisions: list[str]
    gate_passed: bool | None
    gate: str
    note: str = Field(description="Damage, or a promotion still to take force; else empty.")


class ServingBody(BaseModel):
    """What this process does with a model it has opened."""

    model: str = Field(examples=["intent/bank"])
    version: int | None = Field(description="The version answering now.")
    tenant: str = Field(description="Whose version that is.")
    requests: int = Field(description="Requests being answered with it.")
    problem: str = Field(description="Why a newer version is not in use; empty: there is none.")


class ModelList(BaseModel):
    """The versions the tenant may be served by, and those open here now."""

    encoder: str = Field(description="The encoder answering: name and fingerprint.")
    encoder_change: str = Field(
        description="How far a change to another encoder is, or why it failed; empty: none."
    )
    models: list[ModelBody]
    serving: list[ServingBody]
