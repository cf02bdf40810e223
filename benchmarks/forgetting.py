"""Does an update forget? Two updates in a row, each with new labels, with and without a memory.

The intents of banking77 are dealt into three groups. A model learns the first, then is updated with
the second and the third: once on the new rows alone, once with old rows replayed and the old
model's answers as a teacher. After each update it is tested on every group it has seen, through the
served int8 model.

    python -m benchmarks.forgetting --into docs/images
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assistant.evaluation import Metric, classification_report
from assistant.models.loading import open_classifier
from assistant.models.versions import Version
from assistant.settings import Settings
from training.data.pipeline import prepare
from training.data.rows import LabelledText
from training.data.spec import DataSpec
from training.plotting import ACCENT, LINE, figure, save
from training.recipe import Recipe, make_recipe
from training.reporting import Silent
from training.run import run

GROUPS = 3
EVAL_ROWS = 200
MEMORY = {"replay": 0.4, "distil": 0.5}
ARMS: Mapping[str, Mapping[str, float]] = {"new rows alone": {}, "with a memory": MEMORY}


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy on a group's test rows after so many updates."""

    arm: str
    updates: int
    group: int
    accuracy: Metric


@dataclass(frozen=True, slots=True)
class Study:
    """What the runs share: where the rows are, whose labels are in which group, how to train."""

    settings: Settings
    root: Path
    groups: Sequence[Sequence[str]]
    train: Mapping[str, Any]
    per_label: int

    def table(self, groups: Sequence[int]) -> dict[str, Any]:
        """Return the data table of these groups' rows."""
        return {
            "root": str(self.root),
            "train": "banking77/train.csv",
            "test": "banking77/valid.csv",
            "columns": {"label": "category"},
            "labels": [label for group in groups for label in self.groups[group]],
            "licence": "CC-BY-4.0",
            "leaks": {"action": "drop"},
            "per_label": self.per_label,
            "max_eval_rows": EVAL_ROWS,
        }

    def recipe(self, arm: str, group: int, parent: Version | None) -> Recipe:
        """Return the recipe that learns ``group``, from the base or on top of a version."""
        memory = ARMS[arm] if parent is not None else {}
        continual: dict[str, Any] = dict(memory)
        if memory:
            continual["replay_data"] = self.table(range(group))
        name = "first" if parent is None else arm.replace(" ", "-")
        values: dict[str, Any] = {
            "recipe": {"task": "classifier", "kind": "intent", "name": name},
            "data": self.table([group]),
            "train": dict(self.train),
            "continual": continual,
            "export": {"max_loss": 0.05},
            "gate": {"beat_current": False},
        }
        if parent is not None:
            values["base"] = {"model": f"registry:{parent.ref}"}
        return make_recipe(values, "forgetting")

    def score(self, version: Version, group: int) -> Metric:
        """Return the accuracy of the served version on the test rows of a group."""
        spec = DataSpec.model_validate(self.table([group]))
        folder = self.settings.data_dir / "forgetting"
        rows = [r for r in prepare(spec, "classify", folder).test if isinstance(r, LabelledText)]
        part = str(version.part("int8"))
        with closing(open_classifier(self.settings, "intent", part)) as served:
            found = [p.label for p in served.classify([row.text for row in rows])]
        return classification_report([r.labels[0] for r in rows], found).metrics["accuracy"]


def study(settings: Settings, root: Path, train: Mapping[str, Any], per_label: int) -> list[Score]:
    """Run both arms and return every score; runs that are finished are not run again."""
    labels = sorted(json.loads((root / "banking77" / "categories.json").read_text("utf-8")))
    groups = [labels[start::GROUPS] for start in range(GROUPS)]
    own = Study(settings, root, groups, train, per_label)
    first = run(own.recipe("new rows alone", 0, None), settings, Silent()).version
    scores = []
    for arm in ARMS:
        scores.append(Score(arm, 0, 0, own.score(first, 0)))
        parent = first
        for group in range(1, GROUPS):
            parent = run(own.recipe(arm, group, parent), settings, Silent()).version
            scores += [Score(arm, group, old, own.score(parent, old)) for old in range(group + 1)]
    return scores


def table(scores: Sequence[Score]) -> str:
    """Return the scores as a Markdown table."""
    lines = ["| after | trained on | first intents | second intents | third intents |"]
    lines.append("|---|---|---|---|---|")
    for updates in range(GROUPS):
        for arm in ARMS:
            own = [s for s in scores if (s.arm, s.updates) == (arm, updates)]
            if updates == 0 and arm != next(iter(ARMS)):
                continue
            cells = [
                f"{s.accuracy.value:.3f} [{s.accuracy.low:.3f}, {s.accuracy.high:.3f}]" for s in own
            ]
            cells += ["-"] * (GROUPS - len(cells))
            when = ("the first training", "one update", "two updates")[updates]
            shown = "first rows" if updates == 0 else arm
            lines.append(f"| {when} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(scores: Sequence[Score], path: Path) -> Path:
    """Plot accuracy on each group by update, one panel a group."""
    whole, panels = figure(columns=GROUPS, title="Accuracy on each group of intents", height=3.0)
    for group, panel in enumerate(panels):
        for arm, colour, away in zip(ARMS, (ACCENT, LINE), (-0.05, 0.05), strict=True):
            own = [s for s in scores if (s.arm, s.group) == (arm, group)]
            values = [s.accuracy.value for s in own]
            low = [s.accuracy.value - s.accuracy.low for s in own]
            high = [s.accuracy.high - s.accuracy.value for s in own]
            panel.errorbar(
                [s.updates + away for s in own], values, yerr=[low, high], color=colour, marker="o",
                markersize=5, capsize=3, label=arm,
            )  # fmt: skip
        panel.set_xticks(range(GROUPS), ["start", "update 1", "update 2"])
        panel.set_xlim(-0.3, GROUPS - 0.7)
        panel.set_ylim(0, 1.02)
        panel.set_title(("first", "second", "third")[group] + " intents", loc="left", fontsize=10)
    panels[0].legend(frameon=False, fontsize=9, loc="lower left")
    return save(whole, path)


def main() -> int:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--per-label", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    root = Path(os.environ.get("ASSISTANT_DEV_DATA", "../shared/data/dev")).resolve()
    if not root.is_dir():
        sys.stdout.write("no development data: set ASSISTANT_DEV_DATA to its folder\n")
        return 0
    train = {"epochs": given.epochs, "max_tokens": 48, "threads": given.threads}
    scores = study(Settings(), root, train, given.per_label)
    given.into.mkdir(parents=True, exist_ok=True)
    (given.into / "forgetting.md").write_text(table(scores), encoding="utf-8")
    rows = json.dumps([asdict(score) for score in scores], indent=1)
    (given.into / "forgetting.json").write_text(rows, encoding="utf-8")
    plot(scores, given.into / "forgetting.png")
    sys.stdout.write(table(scores))
    return 0


if __name__ == "__main__":
    sys.exit(main())
