from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexes.errors import LoadError
from indexes.loaders import SkippedFile, discover, load


def found(*paths: Path) -> tuple[list[str], dict[str, str]]:
    sources, skipped = [], {}
    for item in discover(paths):
        if isinstance(item, SkippedFile):
            skipped[item.source] = item.reason
        else:
            sources.append(item[1])
    return sources, skipped


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "b").mkdir(parents=True)
    for name in (
        "z.md",
        "b/a.TXT",
        "b/old.doc",
        "b/run.exe",
        ".secret.md",
        "~$open.docx",
        "README",
    ):
        (root / name).write_text("text")
    return root


def test_folders_are_walked_in_order(folder: Path) -> None:
    sources, skipped = found(folder)
    assert sources == ["b/a.TXT", "z.md"]
    assert skipped["b/old.doc"] == ".doc is not read; save it as .docx"
    assert ".exe" in skipped["b/run.exe"] and "no file name ending" in skipped["README"]
    assert "hidden" in skipped[".secret.md"] and "hidden" in skipped["~$open.docx"]


def test_files_and_missing_paths(folder: Path) -> None:
    sources, skipped = found(folder / "z.md", folder / "none.md", folder / "b")
    assert sources == ["z.md", "a.TXT"]
    assert skipped["none.md"] == "no such file or folder"


def test_each_file_comes_once(folder: Path) -> None:
    sources, _ = found(folder, folder / "z.md", folder)
    assert sources == ["b/a.TXT", "z.md"]


def test_equal_names_in_two_folders(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "more"
    other.mkdir()
    (other / "z.md").write_text("other")
    assert found(folder, other)[0] == ["b/a.TXT", "z.md", "more/z.md"]


def test_links(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.md").write_text("secret")
    (folder / "out.md").symlink_to(outside / "secret.md")
    (folder / "outdir").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "b" / "up").symlink_to("..")
    (folder / "self.md").symlink_to("self.md")
    (folder / "gone.md").symlink_to("nothing.md")
    (folder / "inside.md").symlink_to("z.md")
    sources, skipped = found(folder)
    assert sources == ["b/a.TXT", "inside.md"]
    assert "outside the folder" in skipped["out.md"] and "outside the folder" in skipped["outdir"]
    assert "circle" in skipped["self.md"] and "nowhere" in skipped["gone.md"]


def test_a_folder_given_by_a_link_is_walked(folder: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert found(link)[0] == ["b/a.TXT", "z.md"]


def test_pipes_do_not_block(folder: Path) -> None:
    os.mkfifo(folder / "pipe.md")
    assert found(folder)[1]["pipe.md"] == "not a regular file"
    with pytest.raises(LoadError, match="not a regular file"):
        load(folder / "pipe.md", source="pipe.md")


def test_unreadable_and_vanished_files(folder: Path) -> None:
    with pytest.raises(LoadError, match="cannot be read"):
        load(folder / "none.md", source="none.md")
    with pytest.raises(LoadError, match="not a regular file"):
        load(folder, source="docs")


def test_names_that_are_not_utf8(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md")).write_text("text")
    sources, _ = found(folder)
    assert "caf?.md" in sources
    assert all(source.encode("utf-8") for source in sources)
