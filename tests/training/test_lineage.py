"""A run that goes on from a version neither learns what that was judged by nor the reverse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import tiny_base as tiny

from assistant.models.passport import PASSPORT_FILE
from assistant.models.store import Version
from training import shipping
from training.data.rows import row_hash
from training.data.storage import Prepared
from training.job import Job
from training.lineage import written
from training.recipe import Recipe, read_recipe
from training.reporting import Silent
from training.run import make_job, run
from training.sections import Distil

FIRST = {"valid": 0.2, "test": 0.2, "seed": 1}
OTHER = {"valid": 0.2, "test": 0.2, "seed": 2}


def recipe(folder: Path, base: str, split: dict[str, object]) -> Recipe:
    spec = tiny.intent_recipe(Path(base), folder, "banking77")
    assert spec.data is not None
    values = spec.data.model_dump() | {"split": split}
    return spec.model_copy(update={"data": type(spec.data).model_validate(values)})


def told(job: Job) -> tuple[set[str], set[str]]:
    return hashes(job.data)


def hashes(data: Prepared) -> tuple[set[str], set[str]]:
    return (
        {row_hash(row) for row in data.train},
        {row_hash(row) for row in (*data.valid, *data.test)},
    )


def test_rows_keep_to_the_side_they_had(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    base = tiny.base_folder(tmp_path / "base")
    first = recipe(tmp_path, str(base), FIRST)
    version = run(first, settings, Silent()).version
    before = make_job(first, settings, Silent(), tmp_path / "before")
    assert not before.notes
    learnt, judged = told(before)
    fresh = make_job(recipe(tmp_path, str(base), OTHER), settings, Silent(), tmp_path / "fresh")
    crossed = told(fresh)[0] & judged, told(fresh)[1] & learnt
    assert all(crossed)
    on = recipe(tmp_path, f"registry:{version.ref}", OTHER)
    after = make_job(on, settings, Silent(), tmp_path / "after")
    own = told(after)
    assert own[0] == told(fresh)[0] - judged
    assert own[1] == told(fresh)[1] - learnt
    assert f"{len(crossed[0])} training rows left out" in after.notes[0]
    grand = run(on, settings, Silent())
    assert any("left out" in note for note in grand.passport.notes)
    # Two generations on, the first one's rows still count.
    third = recipe(tmp_path, f"registry:{grand.version.ref}", OTHER)
    last = make_job(third, settings, Silent(), tmp_path / "last")
    assert not told(last)[0] & judged and not told(last)[1] & learnt


def test_rows_that_are_gone_stop_nothing(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    base = tiny.base_folder(tmp_path / "base")
    first = recipe(tmp_path, str(base), FIRST)
    version = run(first, settings, Silent()).version
    on = recipe(tmp_path, f"registry:{version.ref}", OTHER)
    spec = on.data
    assert spec is not None and spec.root is not None
    Path(spec.root, spec.train[0]).rename(tmp_path / "moved.csv")
    on = on.model_copy(update={"data": spec.model_copy(update={"train": ("moved.csv",)})})
    job = make_job(on, settings, Silent(), tmp_path / "on")
    assert job.data.train and not job.notes


def test_a_parent_of_the_same_name_ends_the_line(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    first = recipe(tmp_path, str(tiny.base_folder(tmp_path / "base")), FIRST)
    version = run(first, settings, Silent()).version
    rewritten(version, lambda same: same, version.ref)
    on = recipe(tmp_path, f"registry:{version.ref}", OTHER)
    job = make_job(on, settings, Silent(), tmp_path / "on")
    assert len(job.notes) == 1 and "left out" in job.notes[0]


def test_a_student_keeps_apart_from_what_its_teacher_saw(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    base = str(tiny.base_folder(tmp_path / "base"))
    first = recipe(tmp_path, base, FIRST)
    version = run(first, settings, Silent()).version
    learnt, judged = told(make_job(first, settings, Silent(), tmp_path / "first"))
    fresh = told(make_job(recipe(tmp_path, base, OTHER), settings, Silent(), tmp_path / "fresh"))
    distil = Distil(teacher=f"registry:{version.ref}", layers=1)
    taught = recipe(tmp_path, base, OTHER).model_copy(update={"distil": distil})
    own = told(make_job(taught, settings, Silent(), tmp_path / "taught"))
    assert own == (fresh[0] - judged, fresh[1] - learnt)
    assert own != fresh


def test_rows_of_a_shipped_parent_are_looked_for_below_the_root_of_the_run(tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    first = recipe(tmp_path, str(tiny.base_folder(tmp_path / "base")), FIRST)
    version = run(first, settings, Silent()).version
    learnt, judged = told(make_job(first, settings, Silent(), tmp_path / "first"))
    rewritten(version, shipping.without_places, "topic/gone@v1")
    heard = Heard()
    on = recipe(tmp_path, f"registry:{version.ref}", OTHER)
    own = told(make_job(on, settings, heard, tmp_path / "on"))
    assert not own[0] & judged and not own[1] & learnt
    # Its own parent stayed in the registry it was made in.
    assert any("topic/gone@v1 are not looked at" in stage for stage in heard.stages)


def test_shipped_models_name_their_ancestors_by_recipes() -> None:
    line = list(written(read_recipe(Path("shipped-reranker-help"))))
    assert [one.ref for one in line] == ["reranker/help-teacher", "reranker/pairs"]
    assert all(one.task == "reranker" and one.data["root"] is None for one in line)
    pairs = read_recipe(Path("shipped-reranker-pairs"))
    assert pairs.data is not None
    assert line[1].data["train"] == list(pairs.data.train)
    assert list(written(pairs)) == []
    # One that goes on from its own name ends there.
    own = read_recipe(Path("shipped-reader-wiki"), ["base.model=registry:reader/wiki"])
    assert list(written(own)) == []


def rewritten(version: Version, change: Callable[[object], object], parent: str) -> None:
    passport = version.folder / PASSPORT_FILE
    told = json.loads(passport.read_text("utf-8"))
    told |= {"recipe": change(told["recipe"]), "parent": parent}
    passport.write_text(json.dumps(told), encoding="utf-8")


class Heard(Silent):
    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)
