"""The documentation is true: what it shows runs, what it lists is all, its links lead on."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from types import ModuleType

import click
import pytest
from support import ROOT

from assistant.cli import COMMANDS, cli
from assistant.types import Answer, AnswerKind, Candidate, Citation

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
)
GUIDE = [page for page in PAGES if "decisions" not in page.parts]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def script(name: str) -> ModuleType:
    """Load one of the scripts that write pages."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown_commands() -> list[tuple[str, list[str]]]:
    """Return (page, words) for every `assistant …` line in a shell block of the guide."""
    found = []
    for page in GUIDE:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language != "sh":
                continue
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words and words[0] == "assistant":
                    found.append((name_of(page), words[1:]))
    return found


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in anchors(file), f"{name_of(page)}: {link}"


def test_every_page_of_the_guide_can_be_reached() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            file = (page.parent / link.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.exists():
                waiting.append(file)
    pages = {page for page in PAGES if page.parent != ROOT and "examples" not in page.parts}
    assert {name_of(page) for page in pages - reached} == set()


def test_there_are_commands_to_check() -> None:
    words = {words[0] for _, words in shown_commands()}
    assert words >= set(COMMANDS)


@pytest.mark.parametrize(
    ("page", "words"), shown_commands(), ids=lambda value: value if isinstance(value, str) else None
)
def test_shown_commands_are_understood(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parse each shown line with the real commands: names, options, numbers of arguments."""
    for name in ("handbook", "contracts", "internal", "my-questions"):
        (tmp_path / name).mkdir()
    for name in ("faq.csv", "contracts/terms.pdf"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    words = [word.replace("~/", "").removesuffix("...") for word in words]
    words = [str(tmp_path) if word in {"PATH", "DIR"} else word for word in words]
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group):
        if command is cli:
            while words[0] == "--data-dir":
                words = words[2:]
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: no command {words[0]!r}"
        command, words = found, words[1:]
    command.make_context(command.name, words)


def test_the_command_line_page_names_every_command_and_option() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            for below in command.list_commands(context):
                assert f"assistant {name} {below}" in text
        else:
            assert f"assistant {name}" in text


def test_the_answer_fields_are_those_of_the_answer() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    answer = Answer(
        "a", AnswerKind.FAQ, 1.0, "en", citations=(Citation("d", "t", "s", "c", 0, 1, "q"),),
        candidates=(Candidate("i", "q", 1.0),),
    ).to_json()  # fmt: skip
    section = text.partition("## The answer")[2]
    for field in [*answer, *answer["citations"][0], *answer["candidates"][0]]:
        assert f"`{field}`" in section
    for kind in AnswerKind:
        assert f"`{kind.value}`" in section
        assert f"`{kind.value}`" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_configuration_page_equals_the_settings() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert script("configuration").updated(page) == page, "run scripts/configuration.py"
    table = page.partition("begin -->")[2].partition("<!-- settings: end")[0]
    assert all(row.split("|")[4].strip() for row in table.strip().splitlines())


def test_the_picture_equals_the_layers() -> None:
    picture = script("picture")
    drawn = (ROOT / "docs" / "images" / "architecture.svg").read_text(encoding="utf-8")
    assert picture.draw(picture.layers()) == drawn, "run scripts/picture.py"


def test_the_table_of_shipped_models_is_that_of_their_passports() -> None:
    shipped = script("shipped")
    text = shipped.PAGE.read_text(encoding="utf-8")
    assert shipped.page(text) == text, "run scripts/shipped.py"


def test_the_decision_index_is_complete() -> None:
    decisions = script("decisions")
    assert decisions.INDEX.read_text(encoding="utf-8") == decisions.index(), (
        "run scripts/decisions.py"
    )


def test_the_http_page_lists_the_paths_there_are(tmp_path: Path) -> None:
    from assistant.runtime import Runtime
    from assistant.settings import Settings
    from assistant.web.api import create_app

    runtime = Runtime.open(Settings(data_dir=tmp_path))
    try:
        paths = create_app(runtime, page=False).openapi()["paths"]
    finally:
        runtime.close()
    real = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z]+ /\S+)` \|", text, re.M)) == real


def test_the_quick_start_gets_the_answers_it_promises(bank: Path) -> None:
    from assistant.runtime import Runtime
    from assistant.settings import Settings
    from assistant.types import Question, Scope

    text = (ROOT / "docs" / "quick-start.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `(\w+)` \|$", text, re.M)
    assert len(rows) >= 5
    runtime = Runtime.open(Settings(data_dir=bank, rerank=20))  # as it is unless set otherwise
    conversation = None
    got = []
    try:
        for question, _ in rows:
            answer = runtime.answer(Question(question, Scope(collection="bank"), conversation))
            conversation = answer.conversation_id
            got.append((question, answer.kind.value))
    finally:
        runtime.close()
    assert got == rows


def test_the_http_example_is_answered(bank: Path) -> None:
    from fastapi.testclient import TestClient

    from assistant.runtime import Runtime
    from assistant.settings import Settings
    from assistant.web.api import create_app

    text = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    shown = re.search(r"http://localhost:7860(\S+) .*?-d '(.+?)'", text, re.S)
    assert shown is not None
    runtime = Runtime.open(Settings(data_dir=bank))
    try:
        with TestClient(create_app(runtime, page=False)) as client:
            response = client.post(shown[1], json=json.loads(shown[2]))
    finally:
        runtime.close()
    assert response.status_code == 200
    assert response.json()["citations"]


def test_make_lists_the_targets_the_readme_names() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for page in GUIDE:
        for _, block in FENCE.findall(page.read_text(encoding="utf-8")):
            for target in re.findall(r"^make +([a-z]+)", block, re.M):
                assert f"make {target}" in listed, f"{name_of(page)}: make {target}"


def test_nothing_names_a_machine_or_a_registry() -> None:
    """Pages and code hold no path of the machine they were written on."""
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    places = re.compile(r"(?<![\w.])/(?:root|work|tmp/lab)/")
    for name in filter(None, tracked):
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".sh", ".yml", ""} and path.is_file():
            assert not places.search(path.read_text(encoding="utf-8")), name


def test_the_faq_columns_are_read_as_described(tmp_path: Path) -> None:
    """docs/own-data.md promises the Chinese column names, the id and the paraphrases."""
    from indexes.loaders import load

    path = tmp_path / "faq.csv"
    path.write_text("id,问题,答案,paraphrases\n7,开门时间？,九点。,几点开门？\n", encoding="utf-8")
    (entry,) = load(path, source="faq.csv", faq=True).faq
    assert (entry.faq_id, entry.question, entry.answer) == ("7", "开门时间？", "九点。")
    assert entry.paraphrases == ("几点开门？",)


def test_the_evaluation_folder_of_the_guide_is_read(tmp_path: Path) -> None:
    """docs/own-data.md shows one line of each file; together they make a usable folder."""
    from indexes.evaluate import read_retrieval_set

    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    for name in ("corpus.jsonl", "queries.jsonl"):
        line = re.search(rf"^\| `{name}` \| `(.+)` \|$", text, re.M)
        assert line is not None
        json.loads(line[1])
        (tmp_path / name).write_text(line[1] + "\n", encoding="utf-8")
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    read = read_retrieval_set(tmp_path)
    assert (len(read.corpus), len(read.queries), read.qrels) == (1, 1, {"q1": {"d1": 1.0}})


def test_the_scripts_for_set_up_are_sound() -> None:
    for path in sorted((ROOT / "scripts").glob("*.sh")):
        subprocess.run(["sh", "-n", str(path)], check=True)
    python = subprocess.run(
        [ROOT / "scripts" / "python.sh"], capture_output=True, text=True, check=True
    ).stdout.strip()
    code = "import sys; print(sys.version_info >= (3, 11))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


def test_a_missing_python_is_told() -> None:
    done = subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "python.sh")],
        env={"PATH": "/nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "make setup PYTHON=" in done.stderr
