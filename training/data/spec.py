"""What the ``[data]`` table of a recipe may say. Unknown keys are errors; nothing is guessed.

``docs/training-data.md`` shows each key with an example.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Format = Literal["auto", "table", "conll", "entities", "squad", "dialogue", "beir", "lines", "chat"]
PersonalData = Literal["phone", "email", "card", "id"]

MAX_CELL_CHARS = 100_000


def _as_tuple(value: Any) -> Any:
    """Let one value stand for a list of one, as people write recipes."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) else tuple(value)


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Paths: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""Files, folders or patterns (``tickets/*.csv``), relative to ``root``."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Strict):
    """Which column plays which part. Case, width and surrounding blanks of a name do not count.

    ``text`` may name several columns, joined by a line break. ``record`` renders the named columns
    (or the one column that holds an object; ``"*"`` = all that play no other part) as a text.
    ``text_b`` and ``label`` may hold lists, or be cut at ``separator``. ``label`` is "label" where
    nothing else is said; pairs without such a column are positive pairs, and ``label = ""`` makes
    them so. ``keep`` names columns that go along with the row in ``extra``, as they are.
    """

    text: Names = ("text",)
    record: Names = ()
    label: str | None = None
    text_a: str = "text_a"
    text_b: str = "text_b"
    id: str | None = None
    group: str | None = None
    tokens: str = "tokens"
    tags: str = "tags"
    entities: str = "entities"
    question: str = "question"
    context: str = "context"
    answers: str = "answers"
    turns: str = "turns"
    turn: str = "turn"
    role: str | None = None
    utterance: str | None = None
    messages: str = "messages"
    prompt: str | None = None
    response: str | None = None
    keep: Names = ()
    token_column: int = 0
    tag_column: int = -1


class Normalise(_Strict):
    """Cleaning of text. The defaults lose nothing a reader would miss."""

    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    control: bool = True
    html: bool = True
    mojibake: bool = True
    simplify: bool = False
    whitespace: Literal["auto", "collapse", "lines", "keep"] = "auto"
    mask: Annotated[tuple[PersonalData, ...], BeforeValidator(_as_tuple)] = ()
    min_chars: int = Field(default=1, ge=1)
    max_chars: int = Field(default=MAX_CELL_CHARS, ge=1)
    too_long: Literal["reject", "cut", "fail"] = "reject"


class Dedupe(_Strict):
    """Duplicates: equal after folding case, width, punctuation; or near by shingles.

    ``near = None`` means on, but off for records rendered as text, which resemble each other by
    their form. ``threshold`` is the Jaccard similarity of shingle sets, in (0, 1].
    ``conflicts``: of duplicates that disagree on the label, keep the ``first`` or ``drop`` all.
    """

    exact: bool = True
    near: bool | None = None
    threshold: float = Field(default=0.85, gt=0, le=1)
    permutations: int = Field(default=128, ge=16, le=512)
    conflicts: Literal["first", "drop"] = "first"


class Split(_Strict):
    """Fractions for the splits that have no file of their own; 0 = none. Seeded, by group."""

    valid: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.1, ge=0, lt=1)
    stratify: bool = True
    seed: int = 13
    group_near_duplicates: bool = True

    @model_validator(mode="after")
    def _leaves_train(self) -> Split:
        if self.valid + self.test >= 1:
            raise ValueError(
                f"split.valid + split.test is {self.valid + self.test:g}; it must be below 1 so "
                "that training rows remain"
            )
        return self


class Leaks(_Strict):
    """The leak check between train, valid, test and the sets in ``against``.

    ``unit``: compare every ``text`` of a row on its own, or the whole ``row`` (both texts of a pair
    together); ``auto`` is ``text``. More than ``limit`` leaking rows fail the run, unless
    ``action`` is ``drop`` (leaking rows leave the training side and are counted) or
    ``override`` gives a reason, which is recorded in the card.
    """

    unit: Literal["auto", "text", "row"] = "auto"
    near: bool | None = None
    threshold: float = Field(default=0.85, gt=0, le=1)
    limit: int = Field(default=0, ge=0)
    action: Literal["fail", "drop"] = "fail"
    override: str = ""


class Pairing(_Strict):
    """How rows become pairs where the file is not a table of pairs.

    ``columns``: ``text_a`` and ``text_b``. ``same_label``: two texts of one label, at most
    ``per_label`` pairs each (paraphrases of an intent). ``turns``: customer turn and the agent's
    answer; an answer that stands more than ``max_repeats`` times is a set phrase and left out.
    ``passages``: question and the passage that answers it.
    """

    how: Literal["auto", "columns", "same_label", "turns", "passages"] = "auto"
    per_label: int = Field(default=200, ge=1)
    max_repeats: int = Field(default=5, ge=1)
    min_chars: int = Field(default=4, ge=1)


class Also(_Strict):
    """Further files, read by columns and labels of their own, whose rows join those of the spec.

    The keys are those of ``DataSpec``. ``max_rows`` and ``max_eval_rows`` bound what these files
    give, before anything is cut.
    """

    train: Paths = ()
    valid: Paths = ()
    test: Paths = ()
    format: Format = "auto"
    encoding: str | None = None
    columns: Columns = Columns()
    paragraphs: Paths = ()
    separator: str | None = None
    label_map: Mapping[str, str] = Field(default_factory=dict)
    max_rows: int | None = Field(default=None, ge=1)
    max_eval_rows: int | None = Field(default=None, ge=1)
    licence: str | Mapping[str, str] = ""


class DataSpec(_Strict):
    """Where rows come from and what is done to them. See ``prepare``.

    Splits without files are cut from ``train`` by the fractions of ``split``. ``max_rows`` bounds
    the training rows and ``max_eval_rows`` each of the others (a seeded choice, after cleaning);
    ``per_label`` keeps that many training rows of each label (few-shot). ``label_map`` renames
    labels: ``"*"`` stands for all it does not name, and a row whose label becomes empty is left
    out; ``labels`` is the closed set allowed. ``licence`` is one licence, or one per file name.
    """

    root: Path | None = None
    train: Paths = ()
    valid: Paths = ()
    test: Paths = ()
    against: Mapping[str, Paths] = Field(default_factory=dict)
    format: Format = "auto"
    encoding: str | None = None
    columns: Columns = Columns()
    paragraphs: Paths = ()
    separator: str | None = None
    multi_label: bool = False
    label_map: Mapping[str, str] = Field(default_factory=dict)
    labels: Names = ()
    unseen_labels: Literal["reject", "keep", "fail"] = "reject"
    label_errors: bool = False
    max_rows: int | None = Field(default=None, ge=1)
    max_eval_rows: int | None = Field(default=None, ge=1)
    per_label: int | None = Field(default=None, ge=1)
    pairing: Pairing = Pairing()
    system_prompt: str = ""
    normalise: Normalise = Normalise()
    dedupe: Dedupe = Dedupe()
    split: Split = Split()
    leaks: Leaks = Leaks()
    licence: str | Mapping[str, str] = ""
    also: tuple[Also, ...] = ()

    def of(self, also: Also) -> DataSpec:
        """Return the spec by which the files of ``also`` are read."""
        own = {name: getattr(also, name) for name in Also.model_fields}
        return self.model_copy(update={**own, "also": ()})

    @model_validator(mode="after")
    def _has_train(self) -> DataSpec:
        if not self.train:
            raise ValueError("data.train is empty: name at least one file, folder or pattern")
        return self
