"""The registry of trained versions: what goes in, what is served, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import versions_support as support

from assistant.errors import InvalidInputError, ModelError, NotFoundError, StorageError
from assistant.models.passport import Passport
from assistant.models.store import ModelStore
from assistant.models.versions import Version


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.finished(tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def add(
    store: ModelStore, built: Path, passport: Passport = support.PASSPORT, tenant: str = "shared"
) -> Version:
    return store.add(
        built, tenant=tenant, task=passport.task, name=passport.name, passport=passport
    )


def everything(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` but locks, with its content."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_added_versions_are_numbered_and_whole_but_not_served(
    store: ModelStore, built: Path
) -> None:
    first, second = add(store, built), add(store, built)
    assert (first.ref, second.ref) == ("intent/bank@v1", "intent/bank@v2")
    assert store.versions("intent", "bank") == [first, second]
    assert first.precisions == ("int8",)
    assert first.passport() == support.PASSPORT
    assert "# bank (intent)" in (first.folder / "card.md").read_text()
    sizes = [path.stat().st_size for path in (built / "int8").iterdir()]
    assert first.seal().size("int8") == sum(sizes)
    assert (first.part("int8") / "model.onnx").read_bytes() == (
        built / "int8" / "model.onnx"
    ).read_bytes()
    with pytest.raises(NotFoundError, match=r"promote intent/bank@v1"):
        store.current("intent", "bank")
    with pytest.raises(ModelError, match="has no fp32 model"):
        first.part("fp32")
    assert store.verify() == []


def test_promotions_and_rollbacks_walk_the_same_way(store: ModelStore, built: Path) -> None:
    one, two, three = (add(store, built) for _ in range(3))
    for version in (one, two, three):
        assert store.promote(version) == version
        assert store.current("intent", "bank") == version
    store.promote(three)  # again: no second step to walk back
    assert store.rollback("intent", "bank") == two
    assert store.rollback("intent", "bank") == one
    with pytest.raises(InvalidInputError, match="first version"):
        store.rollback("intent", "bank")
    assert store.current("intent", "bank") == one
    store.promote(three)
    assert store.rollback("intent", "bank") == one
    actions = [(event.action, event.version) for event in store.history("intent", "bank")]
    assert actions == [
        *[("added", n) for n in (1, 2, 3)],
        *[("promoted", n) for n in (1, 2, 3)],
        ("rolled_back", 2),
        ("rolled_back", 1),
        ("promoted", 3),
        ("rolled_back", 1),
    ]
    assert all(event.user and event.time for event in store.history("intent", "bank"))
    assert store.verify() == []


def test_the_gate_holds_until_a_reason_is_given_and_kept(store: ModelStore, built: Path) -> None:
    version = add(store, built, support.FAILED)
    with pytest.raises(InvalidInputError, match=r"gate.*at least 0.9, measured 0.5.*--override"):
        store.promote(version)
    for reason in ("", "  ", "x" * 501):
        with pytest.raises(InvalidInputError, match="reason for the override"):
            store.promote(version, reason)
    assert store.current_or_none("intent", "bank") is None
    store.promote(version, "the old one answers\nin the wrong language")
    event = store.history("intent", "bank")[-1]
    assert event.override == "the old one answers in the wrong language"
    assert "not passed" in event.gate
    assert store.current("intent", "bank") == version


def test_an_override_that_was_not_needed_is_not_recorded(store: ModelStore, built: Path) -> None:
    store.promote(add(store, built), "to be safe")
    assert store.history("intent", "bank")[-1].override is None


def test_a_tenant_without_its_own_is_served_the_shared_one(store: ModelStore, built: Path) -> None:
    shared, own = add(store, built), add(store, built, tenant="银行 A")
    store.promote(shared)
    assert store.current("intent", "bank", "银行 A") == shared
    store.promote(own)
    assert store.current("intent", "bank", "银行 A") == own
    assert store.current("intent", "bank", "other") == shared
    assert store.rollback("intent", "bank", "银行 A") is None
    assert store.current("intent", "bank", "银行 A") == shared
    assert [model.tenant for model in store.models()] == ["shared", "银行 A"]
    assert store.verify() == []


def test_tenants_that_differ_in_case_have_folders_that_differ_otherwise(store: ModelStore) -> None:
    folders = [store.folder("intent", "bank", tenant) for tenant in ("Acme", "acme", "a.b", "%41")]
    assert len({str(folder).lower() for folder in folders}) == 4


def test_the_first_encoder_gives_way_to_the_base_build(store: ModelStore, built: Path) -> None:
    version = add(store, built, support.passport("encoder", "tiny"))
    store.promote(version)
    assert store.rollback("encoder", "tiny") is None
    assert store.current_or_none("encoder", "tiny") is None
    with pytest.raises(InvalidInputError, match="stored vectors"):
        add(store, built, support.passport("encoder", "tiny"), tenant="acme")


def test_the_only_name_in_use_need_not_be_given(store: ModelStore, built: Path) -> None:
    with pytest.raises(NotFoundError, match="No intent model is in use"):
        store.choose("intent", None)
    store.promote(add(store, built))
    assert store.choose("intent", None, "acme") == "bank"
    store.promote(add(store, built, support.passport(name="cards"), tenant="acme"))
    assert store.choose("intent", None) == "bank"
    with pytest.raises(InvalidInputError, match="name one: bank, cards"):
        store.choose("intent", None, "acme")
    assert store.choose("intent", "cards", "acme") == "cards"


BAD_NAMES = ["", ".", "..", "../x", "a/b", "A", "a b", "-a", "a-", "a..b", "a\0", "x" * 65, "银行"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_could_be_paths_are_refused(store: ModelStore, built: Path, name: str) -> None:
    for use in (
        lambda: (
            add(store, built, support.passport(name=name or "x"))
            if name
            else store.folder("intent", name)
        ),
        lambda: store.current("intent", name),
        lambda: store.rollback("intent", name),
        lambda: store.choose("intent", name),
    ):
        with pytest.raises(InvalidInputError, match="Model name"):
            use()
    assert not store.root.exists()


@pytest.mark.parametrize("tenant", ["", "..", "../x", "a/b", "a\\b", "a\0", " a", "银" * 23])
def test_tenants_that_could_be_paths_are_refused(store: ModelStore, tenant: str) -> None:
    with pytest.raises(InvalidInputError, match="Tenant"):
        store.current("intent", "bank", tenant)


def test_an_unknown_task_is_refused_with_those_there_are(store: ModelStore) -> None:
    with pytest.raises(InvalidInputError, match=r"no task 'intents'.*intent, sentiment"):
        store.current("intents", "bank")


# --- what is not taken in ------------------------------------------------------------------------


def edit_manifest(folder: Path, **change: object) -> None:
    path = folder / "int8" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def link(folder: Path) -> None:
    (folder / "int8" / "model.onnx").unlink()
    (folder / "int8" / "model.onnx").symlink_to("/etc/passwd")


def external(folder: Path) -> None:
    """A graph that reads a weight from /etc/passwd, deep in a subgraph, and a right checksum."""
    import onnx
    from onnx import TensorProto, helper

    from assistant.models.checking import sha256

    tensor = TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/passwd"
    inner = helper.make_graph([], "inner", [], [], [tensor])
    node = helper.make_node("If", [], [], then_branch=inner, else_branch=inner)
    path = folder / "int8" / "model.onnx"
    path.write_bytes(
        onnx.ModelProto(graph=helper.make_graph([node], "g", [], [])).SerializeToString()
    )
    files = json.loads((folder / "int8" / "manifest.json").read_text())["files"]
    edit_manifest(folder, files={**files, "model.onnx": sha256(path)})


def pickled(folder: Path) -> None:
    import pickle

    (folder / "notes.txt").write_bytes(pickle.dumps({"a": 1}))


def zipped(folder: Path) -> None:
    shutil.make_archive(str(folder / "weights"), "zip", folder / "int8")
    (folder / "weights.zip").rename(folder / "weights.json")


def flipped(folder: Path) -> None:
    path = folder / "int8" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def sibling(folder: Path) -> None:
    shutil.copytree(folder / "int8", folder / "fp16")


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a link": (link, "is a link or no plain file"),
    "a link to a folder": (lambda f: (f / "more").symlink_to("/etc"), "is a link"),
    "a pipe": (lambda f: os.mkfifo(f / "pipe.txt"), "no plain file"),
    "data outside": (external, r"data outside its folder.*etc/passwd"),
    "a pickle by name": (lambda f: (f / "x.pkl").write_bytes(b""), "may not hold"),
    "torch weights": (lambda f: (f / "pytorch_model.bin").write_bytes(b""), "may not hold"),
    "a pickle in disguise": (pickled, "a Python pickle"),
    "an archive in disguise": (zipped, "a zip archive"),
    "tuned weights that are none": (
        lambda f: (f / "tuned.safetensors").write_bytes(b"\x80\x04junk" * 4),
        "no safetensors",
    ),
    "a changed byte": (flipped, "SHA-256 differs"),
    "a missing tokeniser": (lambda f: (f / "int8" / "tokenizer.json").unlink(), "is missing"),
    "a file too many": (lambda f: (f / "int8" / "x.json").write_text("{}"), "not in its manifest"),
    "no manifest": (lambda f: (f / "int8" / "manifest.json").unlink(), "No built model"),
    "another precision": (sibling, "is of a int8 model"),
    "no int8": (lambda f: (f / "int8").rename(f / "fp32"), "no int8 folder"),
    "a strange folder": (lambda f: shutil.copytree(f / "int8", f / "other"), "no folder of a"),
    "deep folders": (lambda f: shutil.copytree(f / "int8", f / "int8" / "a"), "no folder of a"),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_a_folder_that_is_no_version_is_refused_and_leaves_nothing(
    store: ModelStore, built: Path, tmp_path: Path, case: str
) -> None:
    store.promote(add(store, built))
    before = everything(store.root)
    folder = shutil.copytree(built, tmp_path / "bad")
    change, message = BAD_FOLDERS[case]
    change(folder)
    with pytest.raises(ModelError, match=message):
        add(store, folder)
    assert everything(store.root) == before
    assert [path.name for path in (store.root / "shared/intent/bank").glob("*incoming*")] == []


def test_a_passport_of_another_model_is_refused(store: ModelStore, built: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"of intent/bank, not of intent/other"):
        store.add(built, task="intent", name="other", passport=support.PASSPORT)
    with pytest.raises(InvalidInputError, match="no folder"):
        add(store, built / "absent")


def test_weights_beside_the_graph_are_allowed_when_the_manifest_names_them(
    store: ModelStore, built: Path, tmp_path: Path
) -> None:
    """Large graphs keep their weights in a file beside them, as generators do."""
    import onnx

    from assistant.models.checking import sha256

    folder = shutil.copytree(built, tmp_path / "large")
    path = folder / "int8" / "model.onnx"
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="model.data", size_threshold=64
    )
    files = json.loads((folder / "int8" / "manifest.json").read_text())["files"]
    names = [*files, "model.data"]
    edit_manifest(folder, files={name: sha256(folder / "int8" / name) for name in names})
    assert add(store, folder).seal().files["int8/model.data"]
    assert store.verify() == []


# --- a full disk ---------------------------------------------------------------------------------

_ADD_WITH_LITTLE_ROOM = """
import resource, signal, sys
sys.path[:0] = sys.argv[3:]
import versions_support as support
from pathlib import Path
from assistant.errors import StorageError
from assistant.models.store import ModelStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    ModelStore(Path(sys.argv[1])).add(
        Path(sys.argv[2]), task="intent", name="bank", passport=support.PASSPORT
    )
except StorageError as error:
    print(error)
"""


def test_files_that_cannot_grow_leave_the_served_model_as_it_is(
    store: ModelStore, built: Path
) -> None:
    store.promote(add(store, built))
    before = everything(store.root)
    done = subprocess.run(
        [sys.executable, "-c", _ADD_WITH_LITTLE_ROOM, store.root, built, *sys.path],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "cannot be written" in done.stdout
    assert "Nothing was changed" in done.stdout
    assert everything(store.root) == before
    assert list((store.root / "shared/intent/bank").glob(".incoming*")) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 4 MB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield place
    subprocess.run(["umount", place], check=True)


def fill(path: Path, leave: int) -> None:
    """Fill the file system of ``path`` but for ``leave`` bytes."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    os.truncate(path, path.stat().st_size - leave)


def test_a_full_disk_leaves_the_served_model_as_it_is(small_disk: Path, built: Path) -> None:
    store = ModelStore(small_disk / "models")
    version, other = add(store, built), add(store, built)
    store.promote(version)
    before = everything(store.root)
    filler = small_disk / "filler"
    fill(filler, leave=built.joinpath("int8", "model.onnx").stat().st_size // 2)
    with pytest.raises(StorageError, match="No space left"):
        add(store, built)
    assert everything(store.root) == before
    assert list(version.folder.parent.glob(".incoming*")) == []
    fill(filler, leave=0)  # now neither log nor pointer can be written
    for change in (lambda: store.promote(other), lambda: store.delete(other)):
        with pytest.raises(StorageError, match=r"No space left.*Nothing was changed"):
            change()
        assert everything(store.root) == before
    filler.unlink()
    assert store.promote(other) == store.current("intent", "bank")
    assert store.verify() == []
