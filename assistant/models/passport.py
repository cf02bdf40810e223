"""The passport of a trained version: how it was made, from what, and what was measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from assistant.errors import InvalidInputError, ModelError

PASSPORT_FILE = "passport.json"
PASSPORT_FORMAT = 1
_SPLITS = ("test", "valid", "train")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95 % interval [low, high], over ``n`` rows."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Gate:
    """What had to be reached before serving: ``metric`` (``accuracy`` or ``test.accuracy``).

    ``at_least`` is the bar (None: no bar was set, ``passed`` then says what else decided),
    ``value`` what was measured, ``reason`` the verdict in words.
    """

    metric: str
    at_least: float | None
    passed: bool
    reason: str = ""
    value: float | None = None

    def verdict(self) -> str:
        """Return the gate in words: ``accuracy at least 0.8, measured 0.9, passed``."""
        bar = f" at least {self.at_least:g}" if self.at_least is not None else ""
        value = f", measured {self.value:.4g}" if self.value is not None else ""
        reason = f": {self.reason}" if self.reason else ""
        return f"{self.metric}{bar}{value}, {'passed' if self.passed else 'not passed'}{reason}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A mistake that a model makes: ``said`` where ``right`` would be, ``count`` times of the
    ``of`` test cases in which ``right`` is right. ``example``: one text of them, or empty."""

    right: str
    said: str
    count: int
    of: int
    example: str = ""


@dataclass(frozen=True, slots=True)
class DataNote:
    """The data it learned from: SHA-256 of all rows, licences, rows per split, the whole card."""

    sha256: str
    licences: tuple[str, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Passport:
    """Facts about one trained version, written by the run that made it.

    ``recipe`` is the recipe with every default resolved; ``parent`` the base or the version it was
    tuned from; ``metrics`` split -> name -> figure, measured through the served int8 model;
    ``parity`` figures of the export's gates; ``latency_ms`` and ``memory_mb`` by device, latency
    further by what was timed; ``size_bytes`` of the int8 model; ``created`` ISO 8601, UTC;
    ``failures`` are the most frequent mistakes on test rows; ``shipped``: it came with the product.
    """

    # pydantic checks these classes when a passport is read; numbers must be finite.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
    }

    task: str
    name: str
    recipe: Mapping[str, Any]
    parent: str
    data: DataNote
    metrics: Mapping[str, Mapping[str, Figure]]
    gate: Gate
    parity: Mapping[str, float] = field(default_factory=dict)
    latency_ms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    size_bytes: int = 0
    trainable_parameters: int = 0
    train_seconds: float = 0.0
    libraries: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    created: str = ""
    description: str = ""
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    shipped: bool = False
    format: int = PASSPORT_FORMAT

    def check(self) -> None:
        """Raise InvalidInputError, naming the field, when a value is impossible."""
        _parsed(self.as_data())

    def as_data(self) -> dict[str, Any]:
        """Return the passport as JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """Return the passport as JSON text. Raises InvalidInputError for impossible values."""
        data = _parsed(self.as_data()).as_data()
        text = json.dumps(data, ensure_ascii=False, indent=2, sort_keys=True)
        return text + "\n"

    def figure(self, metric: str) -> Figure | None:
        """Return a figure by ``split.name``, or by name from test, else valid, else any split."""
        if metric in self.metrics.get("", {}):
            return self.metrics[""][metric]
        split, _, name = metric.partition(".")
        if name and name in self.metrics.get(split, {}):
            return self.metrics[split][name]
        order = [*_SPLITS, *(s for s in self.metrics if s not in _SPLITS)]
        found = (self.metrics[s][metric] for s in order if metric in self.metrics.get(s, {}))
        return next(found, None)

    def key_figure(self) -> tuple[str, Figure] | None:
        """Return the figure the gate is about, else the first there is; None without figures."""
        gated = self.figure(self.gate.metric)
        if gated is not None:
            return self.gate.metric, gated
        for split, figures in self.metrics.items():
            for name, value in figures.items():
                return f"{split}.{name}".lstrip("."), value
        return None


def passport_from_json(text: str, where: str = PASSPORT_FILE) -> Passport:
    """Return the passport written by ``Passport.to_json``.

    Raises ModelError, naming ``where`` and the field, when it is damaged or of another format.
    """
    try:
        data: Any = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"a {type(data).__name__} instead of an object")
        if data.get("format") != PASSPORT_FORMAT:
            raise ValueError(f"format {data.get('format')!r} instead of {PASSPORT_FORMAT}")
        return _parsed(data)
    except (ValueError, RecursionError, InvalidInputError) as error:
        raise ModelError(
            f"{where} cannot be read ({error}): restore it from a copy, or train and add the "
            "version again."
        ) from error


@lru_cache(1)
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Passport)


def _parsed(data: dict[str, Any]) -> Passport:
    from pydantic import ValidationError

    try:
        passport: Passport = _adapter().validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"Passport: {place}: {first['msg']}.") from None
    _check_strings(passport)
    _check_figures(passport)
    _check_gate(passport.gate)
    return passport


def _check_strings(passport: Passport) -> None:
    for name in ("task", "name", "parent"):
        if not getattr(passport, name):
            raise InvalidInputError(f"Passport: {name} is empty; say what it is.")
    digest = passport.data.sha256
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise InvalidInputError(
            f"Passport: data.sha256 is {digest[:80]!r}; give 64 hexadecimal digits."
        )
    try:
        # Also the free-form parts (recipe, card) must be JSON, with finite numbers only.
        json.dumps(passport.as_data(), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"Passport: not JSON values ({error}).") from None


def _check_figures(passport: Passport) -> None:
    for split, figures in passport.metrics.items():
        for name, figure in figures.items():
            if not (figure.low <= figure.value <= figure.high and figure.n >= 1):
                raise InvalidInputError(
                    f"Passport: metrics.{split}.{name} is {figure.value} within "
                    f"[{figure.low}, {figure.high}] over {figure.n} rows; the value must lie in "
                    "its interval and come from at least one row."
                )
    counts = {name: getattr(passport, name) for name in ("size_bytes", "trainable_parameters")}
    counts |= {"train_seconds": passport.train_seconds}
    for name, count in counts.items():
        if count < 0:
            raise InvalidInputError(f"Passport: {name} is {count}; it cannot be negative.")


def _check_gate(gate: Gate) -> None:
    if not gate.passed or gate.at_least is None or gate.value is None:
        return
    if gate.value < gate.at_least and not math.isclose(gate.value, gate.at_least):
        raise InvalidInputError(
            f"Passport: gate says passed, but {gate.metric} is {gate.value} and the bar is "
            f"{gate.at_least}."
        )
