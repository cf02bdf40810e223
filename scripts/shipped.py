"""Write the table of docs/models.md: every model that comes with the product, from its passport."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from assistant.models.build.tuned import TUNED_FILE
from assistant.models.card import GROUP, interval
from assistant.models.passport import PASSPORT_FILE, Figure, Passport, passport_from_json
from assistant.models.shipped import ShippedModel, shipped_models

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
_START, _END = "<!-- table -->\n", "<!-- end of table -->\n"
_HEAD = """| Model | Measured on | Figure [95 % interval] | Adapter | ms at 32 tokens | Made by |
|---|---|---|---|---|---|
"""
METRICS = (
    "accuracy", "macro_f1", "in_scope_accuracy", "out_of_scope_recall", "micro_f1", "exact_match",
    "f1", "token_accuracy", "token_macro_f1", "roc_auc", "ece", "mrr_at_10", "recall_at_1",
)  # fmt: skip
"""What is told of a split, as far as it was measured."""
_NO_SETS = {GROUP + name for name in ("zh", "en", "shortest", "longest")}
_FEWEST = 50
"""Of a set with fewer test rows nothing can be said; they count among all rows."""


def page(text: str) -> str:
    """Return the page's text with the table as the passports have it."""
    rows = "".join(line for model in shipped_models() for line in lines(model))
    found = re.compile(f"{re.escape(_START)}.*?{re.escape(_END)}", re.S)
    return found.sub(lambda _: f"{_START}{_HEAD}{rows}{_END}", text, count=1)


def lines(model: ShippedModel) -> Iterator[str]:
    """Yield the rows of one model: its test split, or each set of it."""
    path = model.folder / PASSPORT_FILE
    passport = passport_from_json(path.read_text(encoding="utf-8"), str(path))
    size = f"{(model.folder / TUNED_FILE).stat().st_size / 1e6:.1f} MB"
    latency = passport.latency_ms.get("cpu", {}).get("32_tokens")
    cost = [
        size,
        "" if latency is None else f"{latency:.1f}",
        f"`shipped-{model.task}-{model.name}`",
    ]
    for place, (split, figures) in enumerate(sorted(tests(passport).items())):
        first = [f"`{model}`"] if place == 0 else [""]
        told = "; ".join(f"{name.replace('_', ' ')} {interval(f)}" for name, f in figures.items())
        yield f"| {' | '.join([*first, split, told, *(cost if place == 0 else ['', '', ''])])} |\n"


def tests(passport: Passport) -> dict[str, dict[str, Figure]]:
    """Return the figures to tell of each test split, by the name of its set."""
    return {
        f"{'all test rows' if split == 'test' else split.removeprefix(GROUP)}, "
        f"n = {next(iter(found.values())).n:,}": {
            name: found[name] for name in METRICS if name in found and name not in _pointless(found)
        }
        for split, found in passport.metrics.items()
        if split.startswith("test") and found and _tells(split, found)
    }


def _tells(split: str, found: Mapping[str, Figure]) -> bool:
    large = next(iter(found.values())).n >= _FEWEST
    return split == "test" or (large and split not in _NO_SETS)


def _pointless(found: Mapping[str, Figure]) -> set[str]:
    """Return what repeats accuracy, and a mean over labels where all rows are out of scope."""
    same = {"micro_f1"} if "accuracy" in found else set()
    same |= set() if "roc_auc" in found else {"ece"}  # of probabilities that rank people
    rejected = found.get("out_of_scope_recall")
    return same | ({"macro_f1"} if rejected and rejected == found.get("accuracy") else set())


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
