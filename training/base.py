"""What training starts from: a base encoder, or a trained version on top of one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tokenizers import Tokenizer

from assistant.errors import InvalidInputError
from assistant.models.build.bases import BaseEncoder, open_base
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.tuned import TUNED_FILE, TunedWeights, apply, read_tuned
from assistant.models.build.weights import EncoderWeights
from assistant.models.names import REGISTRY_PREFIX, parse_ref
from assistant.models.store import ModelStore
from assistant.models.tokens import ModelTokenizer
from assistant.models.versions import Version
from assistant.settings import Settings
from training.bert import hugging_face_folder
from training.sections import Base as BaseSection


@dataclass(frozen=True)
class Base:
    """Weights to start from. ``parent`` is what a trained version added to ``original``.

    ``weights`` are both together; the parent's heads and prompt are among them. ``reference`` names
    the parent version, or is empty. ``characters``: Chinese is read character by character.
    """

    original: BaseEncoder
    weights: EncoderWeights
    parent: TunedWeights | None = None
    reference: str = ""
    characters: bool = False

    @property
    def name(self) -> str:
        return self.reference or self.original.name

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return build_tokenizer(self.weights.vocabulary, characters=self.characters)

    def model_tokenizer(self, max_tokens: int, pooling: str = "mean") -> ModelTokenizer:
        """Return the tokeniser that serving will use, so that both see the same ids."""
        return ModelTokenizer(
            self.tokenizer,
            min(max_tokens, self.weights.shape.max_positions),
            self.original.query_prefix,
            self.original.passage_prefix,
            pooling,
        )

    def folder(self, settings: Settings) -> Path:
        """Return a Hugging Face folder of the weights, written once into the cache.

        Only for weights without a parent: those are identified by their files' hash.
        """
        if self.parent is not None:
            raise ValueError("write the merged weights of a trained version into its run folder")
        place = settings.cache_dir / "training" / f"{self.original.sha256[:16]}"
        return hugging_face_folder(self.weights, place)


def load_base(section: BaseSection, settings: Settings) -> Base:
    """Return what ``[base]`` names. Raises ModelError, NotFoundError or InvalidInputError."""
    if not section.model.startswith(REGISTRY_PREFIX):
        original = open_base(section.model)
        licence = section.licence or original.licence
        if not licence:
            raise InvalidInputError(
                f"The licence of base {section.model} is unknown: state it as base.licence, so "
                "that the models made from it can name it."
            )
        original = replace(original, licence=licence)
        return Base(original, original.weights, characters=section.characters)
    tuned, reference = load_version(section.model, settings)
    if not section.heads:
        tuned = without_heads(tuned)
    original = open_base(tuned.base)
    return Base(
        original=replace(original, licence=tuned.licence),
        weights=apply(tuned, original.weights, original.sha256),
        parent=tuned,
        reference=reference,
        characters=section.characters or tuned.characters,
    )


def without_heads(tuned: TunedWeights) -> TunedWeights:
    """Return what a version changed of the encoder itself."""
    kept = {name: value for name, value in tuned.tensors.items() if not name.startswith("head.")}
    return replace(tuned, heads=(), tensors=kept)


def load_version(reference: str, settings: Settings) -> tuple[TunedWeights, str]:
    """Return the tuned weights of ``TASK/NAME[@vN]`` and the full reference; the one in use where
    no version is stated. Raises NotFoundError or ModelError."""
    version = find_version(reference, settings)
    return read_tuned(version.folder / TUNED_FILE), version.ref


def find_version(reference: str, settings: Settings) -> Version:
    """Return the version of ``TASK/NAME[@vN]``; the one in use where no number is stated. Raises
    NotFoundError."""
    wanted, store = parse_ref(reference), ModelStore.of(settings)
    if wanted.number:
        return store.version(wanted.task, wanted.name, wanted.number)
    return store.current(wanted.task, wanted.name)
