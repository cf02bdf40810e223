"""Building encoders from their weights; nothing here is imported when serving."""

from assistant.models.build.pipeline import build_encoder

__all__ = ["build_encoder"]
