"""The registry under concurrency and sudden death: whole states only, and a way on from each."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import versions_support as support

from assistant.errors import ModelError
from assistant.models.journal import (
    EVENTS_FILE,
    POINTER_FILE,
    Pointer,
    new_event,
    read_events,
    read_pointer,
    recorded,
    replayed,
)
from assistant.models.store import ModelStore

_CHILD = """
import sys
sys.path[:0] = sys.argv[3:]
import versions_support as support
from pathlib import Path
from assistant.models.store import ModelStore
store, run = ModelStore(Path(sys.argv[1])), Path(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
"""
_ADD_FIVE = """
for _ in range(5):
    print(store.add(run, task="intent", name="bank", passport=support.PASSPORT).number)
"""
_CHANGE_FOREVER = """
while True:
    version = store.add(run, task="intent", name="bank", passport=support.PASSPORT)
    store.promote(version)
    store.rollback("intent", "bank")
    store.promote(version)
    if version.number > 3:
        store.delete(store.version("intent", "bank", version.number - 2))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.finished(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def child(store: ModelStore, built: Path, script: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD + script, str(store.root), str(built), *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_processes_that_add_at_once_get_numbers_of_their_own(
    store: ModelStore, built: Path
) -> None:
    children = [child(store, built, _ADD_FIVE) for _ in range(3)]
    said = []
    for process in children:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in children:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        said += [int(line) for line in out.split()]
    assert sorted(said) == list(range(1, 16))
    assert [version.number for version in store.versions("intent", "bank")] == sorted(said)
    assert store.verify() == []


def test_threads_that_add_and_promote_at_once_leave_one_story(
    store: ModelStore, built: Path
) -> None:
    failures = []

    def work() -> None:
        try:
            for _ in range(4):
                store.promote(
                    store.add(built, task="intent", name="bank", passport=support.PASSPORT)
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert len(store.versions("intent", "bank")) == 16
    events = store.history("intent", "bank")
    promoted = [event for event in events if event.action == "promoted"]
    assert [event.before for event in promoted] == [None, *(e.version for e in promoted[:-1])]
    assert store.verify() == []


@pytest.mark.slow
def test_a_process_killed_at_any_moment_leaves_a_registry_that_serves(
    store: ModelStore, built: Path
) -> None:
    dice = random.Random(7)
    first = store.promote(store.add(built, task="intent", name="bank", passport=support.PASSPORT))
    home = first.folder.parent
    for _ in range(12):
        process = child(store, built, _CHANGE_FOREVER)
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(dice.uniform(0.02, 0.4))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        # What is served is whole, and every version there is is whole.
        store.check(store.current("intent", "bank"))
        for version in store.versions("intent", "bank"):
            store.check(version)
        assert all("history leads to" in problem.message for problem in store.verify())
        # The next change succeeds and clears up.
        newest = store.add(built, task="intent", name="bank", passport=support.PASSPORT)
        store.promote(newest)
        assert store.current("intent", "bank") == newest
        assert store.verify() == [], "a change that succeeds clears up after one that did not"
        assert not list(home.glob(".incoming*"))
    numbers = [e.version for e in store.history("intent", "bank") if e.action == "added"]
    assert len(set(numbers)) == len(numbers), "a number was given twice"


def test_readers_never_see_half_a_pointer(store: ModelStore, built: Path) -> None:
    versions = [
        store.add(built, task="intent", name="bank", passport=support.PASSPORT) for _ in range(2)
    ]
    store.promote(versions[0])
    stop, failures, reads = threading.Event(), [], []

    def read() -> None:
        while not stop.is_set():
            try:
                reads.append(store.current("intent", "bank").number)
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        store.promote(versions[1])
        store.rollback("intent", "bank")
    stop.set()
    for thread in threads:
        thread.join(20)
    assert failures == []
    assert set(reads) == {1, 2}


# --- the small files ----------------------------------------------------------------------------


def log(folder: Path, *actions: tuple[str, int | None]) -> None:
    for action, number in actions:
        with recorded(folder, new_event(action, number)):
            pass


def test_an_event_whose_deed_fails_is_not_on_record(tmp_path: Path) -> None:
    log(tmp_path, ("added", 1))
    before = (tmp_path / EVENTS_FILE).read_bytes()

    def fail() -> None:
        with recorded(tmp_path, new_event("promoted", 1)):
            assert len(read_events(tmp_path)) == 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (tmp_path / EVENTS_FILE).read_bytes() == before


def test_a_line_cut_short_is_left_out_and_written_over(tmp_path: Path) -> None:
    log(tmp_path, ("added", 1), ("promoted", 1))
    path = tmp_path / EVENTS_FILE
    path.write_bytes(path.read_bytes()[:-9])
    assert [event.action for event in read_events(tmp_path)] == ["added"]
    log(tmp_path, ("added", 2))
    assert [(e.action, e.version) for e in read_events(tmp_path)] == [("added", 1), ("added", 2)]


@pytest.mark.parametrize("line", ["{}", "[]", "x", '{"time": 1}', "\0", "é".encode("latin-1")])
def test_a_damaged_line_is_named(tmp_path: Path, line: str | bytes) -> None:
    log(tmp_path, ("added", 1))
    with (tmp_path / EVENTS_FILE).open("ab") as file:
        file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(ModelError, match=r"events.jsonl, line 2, is damaged"):
        read_events(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"format": 2, "version": 1, "before": []},
        {"format": 1, "version": 0, "before": []},
        {"format": 1, "version": True, "before": []},
        {"format": 1, "version": "1", "before": []},
        {"format": 1, "version": 1, "before": 3},
        {"format": 1, "version": 1, "before": [-1]},
        {"format": 1, "version": 1},
    ],
)
def test_a_pointer_with_impossible_values_is_damaged(tmp_path: Path, data: object) -> None:
    (tmp_path / POINTER_FILE).write_text(json.dumps(data))
    with pytest.raises(ModelError, match=r"current.json is damaged.*promote TASK/NAME@vN"):
        read_pointer(tmp_path)


def test_the_log_leads_to_the_pointer(tmp_path: Path) -> None:
    assert replayed(read_events(tmp_path)) == Pointer()
    now = Pointer()
    for number in (1, 2, 3):
        log(tmp_path, ("added", number))
        after = now.promoted(number)
        with recorded(tmp_path, new_event("promoted", number, steps=after.before)):
            now = after
    assert replayed(read_events(tmp_path)) == now == Pointer(3, (None, 1, 2))
    now = now.rolled_back()
    with recorded(tmp_path, new_event("rolled_back", 2, before=3, steps=now.before)):
        pass
    assert replayed(read_events(tmp_path)) == now == Pointer(2, (None, 1))
    now = now.promoted(1).promoted(2).without(1)
    assert now == Pointer(2, (None,)), "2 on both sides of the deleted 1 is one step, not two"
    with recorded(tmp_path, new_event("deleted", 1, before=2, steps=now.before)):
        pass
    assert replayed(read_events(tmp_path)) == now


def test_a_lost_pointer_comes_back_from_the_log(store: ModelStore, built: Path) -> None:
    versions = [
        store.add(built, task="intent", name="bank", passport=support.PASSPORT) for _ in range(3)
    ]
    for version in versions:
        store.promote(version)
    pointer = versions[0].folder.parent / POINTER_FILE
    whole = json.loads(pointer.read_text())
    pointer.write_text("{")
    store.promote(versions[2])
    mended = json.loads(pointer.read_text())
    assert {**mended, "changed": ""} == {**whole, "changed": ""}
    pointer.unlink()
    assert [problem.ref for problem in store.verify()] == ["intent/bank"]
    store.promote(versions[2])
    assert store.verify() == []


def test_a_user_without_a_name_is_recorded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    import pwd

    def nobody(_uid: int) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert new_event("added", 1).user == f"uid {os.getuid()}"
