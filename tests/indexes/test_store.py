"""Generations on disk: damage, death, full disks, several processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from index_corpora import DIM, random_items, random_text, unit

import indexes.store
from indexes.errors import IndexCorruptError
from indexes.search import HybridIndex
from indexes.types import VectorSpace

RNG = np.random.default_rng(31)
HERE = Path(__file__).parent


def open_index(root: Path, encoder: str = "test", dim: int = DIM) -> HybridIndex:
    return HybridIndex.open(root, VectorSpace(encoder, dim, cosine_floor=0.7))


def generation(root: Path) -> Path:
    [folder] = root.glob("generation-*")
    return folder


@pytest.fixture
def built(tmp_path: Path) -> Path:
    open_index(tmp_path).rebuild(random_items(RNG, 60), 5)
    return tmp_path


FILES = (
    "counts.npy ids.npy lengths.npy manifest.json offsets.npy rows.npy tag_rows.npy tags.json "
    "terms.npy vectors.npy vocabulary.txt"
)


def test_the_files_are_those_tested_below(built: Path) -> None:
    assert " ".join(sorted(p.name for p in generation(built).iterdir())) == FILES


@pytest.mark.parametrize("name", FILES.split(" "))
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_damage_is_found_and_named(built: Path, name: str, damage: str) -> None:
    path = generation(built) / name
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 0x10
        path.write_bytes(bytes(data))
    elif damage == "truncate":
        path.write_bytes(bytes(data[: len(data) // 2]))
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(IndexCorruptError, match=name) as raised:
        open_index(built)
    assert "rebuilt" in str(raised.value)
    # The way out: start empty on the same folder and build again.
    index = HybridIndex(built, VectorSpace("test", DIM, cosine_floor=0.7))
    assert index.size == 0
    index.rebuild(random_items(RNG, 10), 0)
    assert open_index(built).size == 10


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"../../etc", b"generation-000009-00ff"])
def test_a_damaged_pointer_is_found(built: Path, content: bytes) -> None:
    (built / "CURRENT").write_bytes(content)
    with pytest.raises(IndexCorruptError):
        open_index(built)


def test_another_encoder_or_dimension_is_refused_with_both_values(built: Path) -> None:
    with pytest.raises(IndexCorruptError, match="made with encoder 'test', now 'other'"):
        open_index(built, encoder="other")
    with pytest.raises(IndexCorruptError, match=f"made with dim {DIM}, now 8"):
        open_index(built, dim=8)


@pytest.mark.parametrize("key", ["format", "analyzer"])
def test_another_format_or_analyzer_is_refused(built: Path, key: str) -> None:
    path = generation(built) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest[key] = "other"
    path.write_text(json.dumps(manifest), encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (built / "CURRENT").write_text(f"{path.parent.name} {digest}\n", encoding="utf-8")
    with pytest.raises(IndexCorruptError, match=f"made with {key} 'other'"):
        open_index(built)


def test_old_generations_go_and_their_readers_go_on(built: Path) -> None:
    reader = open_index(built)
    query = unit(RNG.normal(size=(1, DIM)))
    before = reader.search(["fee card"], query, 10)
    open_index(built).rebuild(random_items(RNG, 20), 6)
    assert reader.search(["fee card"], query, 10) == before
    assert reader.size == 60
    assert open_index(built).size == 20
    assert generation(built).name.startswith("generation-000002")


def test_approximate_lists_are_part_of_a_big_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.store, "APPROXIMATE_FROM", 1000)
    items = random_items(RNG, 1200)
    index = open_index(tmp_path)
    index.rebuild(items, 0)
    assert (generation(tmp_path) / "lists.faiss").stat().st_size > 1200 * DIM
    index.delete([5], 1)
    index = open_index(tmp_path)
    index.delete([7], 1)
    tags = frozenset({"staff"})
    allowed = {i.item_id for i in items if i.tags & tags} - {7}
    for k in (10, 1200):
        [hits] = index.search([random_text(RNG)], items[6].vector[None], k, tags=tags)
        assert len(hits) == min(k, len(allowed))
        assert {h.item_id for h in hits} <= allowed
    (generation(tmp_path) / "lists.faiss").write_bytes(b"\0" * 100)
    with pytest.raises(IndexCorruptError, match=r"lists\.faiss: 100 bytes"):
        open_index(tmp_path)


def script(body: str) -> list[str]:
    head = f"""
        import sys
        sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
        import numpy as np
        from pathlib import Path
        from index_corpora import DIM, random_items
        from indexes.search import HybridIndex
        from indexes.types import VectorSpace
        rng = np.random.default_rng(1)
        index = HybridIndex.open(Path(sys.argv[1]), VectorSpace("test", DIM, 0.7))
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_rebuild_leaves_a_whole_generation(tmp_path: Path) -> None:
    command = script("""
        items = random_items(rng, 300)
        print("ready", flush=True)
        while True:
            for size in (100, 200, 300):
                index.rebuild(items[:size], size)
    """)
    open_index(tmp_path).rebuild(random_items(RNG, 100), 100)
    kills_in_writing = 0
    for attempt in range(8):
        with subprocess.Popen(
            [*command, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            while not list(tmp_path.glob(".partial-*")):
                pass
            time.sleep(0.001 * attempt)
            process.send_signal(signal.SIGKILL)
        kills_in_writing += bool(list(tmp_path.glob(".partial-*")))
        index = open_index(tmp_path)
        assert index.size in {100, 200, 300}
        assert index.last_deletion_id == index.size
        assert not list(tmp_path.glob(".partial-*"))
    assert kills_in_writing, "no kill hit a write: the test proves nothing"


@pytest.mark.skipif(os.name == "nt", reason="no resource limits")
def test_a_disk_that_fills_leaves_the_old_generation(built: Path) -> None:
    # A file-size limit makes the system refuse a write half-way, as a full disk does.
    command = script("""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            index.rebuild(random_items(rng, 5000), 1)
        except OSError as error:
            print("refused", index.size, index.search(["fee"], np.ones((1, DIM)), 3) != [[]])
    """)
    done = subprocess.run(
        [*command, str(built)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["refused", "60", "True"]
    assert not list(built.glob(".partial-*"))
    assert open_index(built).size == 60


def test_a_writer_waits_for_another_process_only_so_long(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes.store, "LOCK_SECONDS", 0.2)
    index = open_index(built)
    with FileLock(built / "write.lock"), pytest.raises(TimeoutError, match="another process"):
        index.rebuild(random_items(RNG, 5), 0)
    assert index.size == 60
    index.rebuild(random_items(RNG, 5), 0)
    assert index.size == 5


def test_opening_cleans_up_only_when_nobody_writes(built: Path) -> None:
    stray = built / ".partial-0123"
    stray.mkdir()
    with FileLock(built / "write.lock"):
        open_index(built)
        assert stray.exists()
    open_index(built)
    assert not stray.exists()


@pytest.mark.slow
def test_two_processes_rebuild_the_same_index(tmp_path: Path) -> None:
    command = script("""
        for _ in range(5):
            index.rebuild(random_items(rng, 150), 3)
        print(index.size)
    """)
    running = [
        subprocess.Popen([*command, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    sizes = set()
    while any(process.poll() is None for process in running):
        sizes.add(open_index(tmp_path).size)  # reading goes on all the while
    assert [process.communicate()[0] for process in running] == ["150\n", "150\n"]
    assert sizes <= {0, 150}
    assert len(list(tmp_path.glob("generation-*"))) == 1
