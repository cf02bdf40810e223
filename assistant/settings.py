"""Settings: one class, read once by the composition root, never at import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

APP_NAME = "domain-assistant"


class Settings(BaseSettings):
    """Every value can be set by an environment variable ``ASSISTANT_<NAME>``.

    The defaults serve one machine with two CPU cores.
    """

    model_config = SettingsConfigDict(env_prefix="ASSISTANT_", extra="forbid", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path(APP_NAME),
        description="Database, indexes and uploaded files.",
    )
    cache_dir: Path = Field(
        default_factory=lambda: platformdirs.user_cache_path(APP_NAME),
        description="Built models, by content hash; safe to delete.",
    )
    database_url: str = Field(
        default="",
        description="SQLAlchemy URL; empty: SQLite in the data folder.",
    )
    encoder: str = Field(
        default="help-zh-en",
        description="Encoder to serve: the name of a base build, a folder of a built model, or "
        "registry:encoder/NAME[@vN].",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes CUDA when onnxruntime offers it."
    )
    threads: int = Field(
        default=0, ge=0, le=256, description="Threads for inference and search; 0: all cores."
    )
    chunk_tokens: int = Field(
        default=200, ge=32, le=480, description="Upper bound of a chunk, in encoder tokens."
    )
    max_file_mb: int = Field(default=100, ge=1, le=4096, description="Largest file to load.")
    max_expanded_mb: int = Field(
        default=400, ge=1, le=16384, description="Largest size an archive format may unpack to."
    )
    max_question_chars: int = Field(
        default=4000, ge=16, le=100_000, description="Longest question accepted."
    )
    error_rate: float = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Share of answered questions that may be wrong; sets the abstention threshold.",
    )
    clarify_error_rate: float = Field(
        default=0.75,
        gt=0,
        lt=1,
        description="Ask back with the closest matches while the best is wrong at most this often; "
        "beyond, abstain.",
    )
    rerank: int = Field(
        default=20,
        ge=0,
        le=100,
        description="Passages, of twenty found, that the reranker reads for a question that no FAQ "
        "entry settles; 0: none, which answers in a sixth of the time, and less well.",
    )
    reader: bool = Field(
        default=True,
        description="Have the reader mark the answer in the best passages, for a third more time; "
        "only where the reranker takes part.",
    )
    spelling: bool = Field(
        default=True,
        description="Mend mistyped Latin words of a question into words that the collection uses.",
    )
    intent_threshold: float = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Probability from which a question is taken to have an intent of your own; "
        "docs/intents.md says how often that is right.",
    )
    queue_size: int = Field(
        default=256, ge=1, le=100_000, description="Encoding requests waiting at most."
    )
    handoff_contact: str = Field(
        default="", description="Shown when a person is asked for, e.g. a phone number."
    )
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=7860, ge=0, le=65535, description="Port to listen on.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least serious messages to log; they go to stderr."
    )

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'assistant.sqlite3'}"

    @property
    def indexes_dir(self) -> Path:
        return self.data_dir / "indexes"

    @property
    def models_dir(self) -> Path:
        return self.cache_dir / "models"
