"""Who is told how a run is going."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Reporter(Protocol):
    """Told about a run. Every call returns at once."""

    def stage(self, text: str) -> None:
        """A new part of the run has begun."""

    def step(self, done: int, total: int, seconds_left: float) -> None:
        """One more step of training is done."""

    def log(self, line: Mapping[str, float]) -> None:
        """Figures of the run so far: loss, learning rate, validation metrics."""


class Silent:
    """A reporter that tells nobody."""

    def stage(self, text: str) -> None:
        del text

    def step(self, done: int, total: int, seconds_left: float) -> None:
        del done, total, seconds_left

    def log(self, line: Mapping[str, float]) -> None:
        del line
