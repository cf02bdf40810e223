"""A table of what trained versions reached: ``python -m training.results DATA_DIR...``.

Markdown on stdout, one row for each version, from the passports of one or several data folders; the
newest version of a name, or with ``--all`` every one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from assistant.errors import AssistantError
from assistant.models.passport import Figure, Passport
from assistant.models.store import ModelStore
from assistant.models.versions import Version
from assistant.settings import Settings

COLUMNS = (
    "version",
    "tuning",
    "training rows",
    "figure on test rows [95 % interval], int8",
    "lost by int8",
    "trainable",
    "trained in s",
    "int8 MB",
    "ms at 32 tokens",
)


def versions(folders: Sequence[Path], *, every: bool = False) -> Iterator[Version]:
    """Yield the newest version of each model in these data folders, or all of them."""
    for folder in folders:
        store = ModelStore.of(Settings(data_dir=folder))
        for model in store.models():
            found = store.versions(model.task, model.name, model.tenant)
            yield from found if every else found[-1:]


def row(version: Version, passport: Passport) -> tuple[str, ...]:
    """Return a version's cells, in the order of ``COLUMNS``."""
    key = passport.key_figure()
    name, figure = key if key is not None else ("", None)
    lost = next((v for k, v in passport.parity.items() if k.startswith("int8_loss_")), None)
    tuning = passport.recipe.get("tuning", {})
    milliseconds = passport.latency_ms.get("cpu", {}).get("32_tokens")
    return (
        version.ref,
        str(tuning.get("method", "")),
        f"{passport.data.rows.get('train', 0):,}",
        f"{name} {shown(figure)}",
        "" if lost is None else f"{lost:+.4f}",
        f"{passport.trainable_parameters:,}",
        f"{passport.train_seconds:.0f}",
        f"{passport.size_bytes / 1e6:.1f}",
        "" if milliseconds is None else f"{milliseconds:.1f}",
    )


def shown(figure: Figure | None) -> str:
    """Return a figure with its interval and rows."""
    if figure is None:
        return "not measured"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}], n = {figure.n:,}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return Markdown."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DATA_DIR")
    parser.add_argument("--all", action="store_true", help="every version, not only the newest")
    options = parser.parse_args()
    try:
        found = [row(v, v.passport()) for v in versions(options.folders, every=options.all)]
    except AssistantError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
