"""Find the files that a spec names, tell what kind each is, and read it with the right reader."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assistant.errors import InvalidInputError, NotFoundError
from assistant.tables import column_key, inspect_table, read_rows
from indexes.loaders import SUPPORTED_SUFFIXES
from training.data.ledger import Ledger
from training.data.readers.dialogues import dialogue_rows, read_dialogues
from training.data.readers.passages import read_beir
from training.data.readers.plain import read_document, read_lines
from training.data.readers.squad import as_passage_pairs, paragraph_files, read_squad
from training.data.readers.tabular import read_table
from training.data.readers.tagged import read_conll, read_entities, read_tag_table
from training.data.rows import Kind, Row
from training.data.spec import DataSpec, Format

TABLES = (".csv", ".tsv", ".jsonl")
COLUMN_FILES = (".conll", ".bio", ".iob", ".iob2", ".txt", ".tsv")


@dataclass(frozen=True, slots=True)
class Source:
    """A file or BEIR folder. ``sha256`` is of its bytes (a folder's: of its files' hashes).

    ``paragraphs``: name, bytes and SHA-256 of the files that hold the contexts of its questions.
    ``spec`` says how it is read.
    """

    path: Path
    name: str
    sha256: str
    bytes: int
    format: Format
    spec: DataSpec
    paragraphs: tuple[tuple[str, int, str], ...] = ()


def find_sources(names: Sequence[str], kind: Kind, spec: DataSpec) -> list[Source]:
    """Resolve files, folders and patterns against ``spec.root``, in the order given, each once.

    Raises ``NotFoundError`` naming the nearest file where there is none.
    """
    root = spec.root or Path()
    paths: dict[Path, None] = {}
    for name in names:
        paths.update(dict.fromkeys(_resolve(name, root, kind)))
    return [_source(path, root, kind, spec) for path in paths]


def _resolve(name: str, root: Path, kind: Kind) -> list[Path]:
    path = root / Path(name).expanduser()
    if path.is_dir():
        if _is_beir(path):
            return [path]
        endings = tuple(SUPPORTED_SUFFIXES) if kind == "text" else (*TABLES, ".json", ".conll")
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in endings and p.is_file())
        if not found:
            raise NotFoundError(f"{name}: no file in the folder ends in {', '.join(endings)}.")
        return found
    if path.is_file():
        return [path]
    if any(mark in name for mark in "*?["):
        pattern = Path(name)
        base = Path(pattern.anchor) if pattern.is_absolute() else root
        inner = str(pattern.relative_to(pattern.anchor)) if pattern.is_absolute() else name
        found = sorted(p for p in base.glob(inner) if p.is_file())
        if found:
            return found
        raise NotFoundError(f"data: no file matches the pattern {name!r} in {root}.")
    raise NotFoundError(f"data: no such file {name!r} in {root}.{_nearest(path)}")


def _nearest(path: Path) -> str:
    if not path.parent.is_dir():
        return " Its folder does not exist; set data.root to the folder of the data."
    names = sorted(entry.name for entry in path.parent.iterdir())
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
    return f" Nearest: {close[0]!r}." if close else f" The folder holds: {', '.join(names[:10])}."


def _source(path: Path, root: Path, kind: Kind, spec: DataSpec) -> Source:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    try:
        hashes = [_sha256(file) for file in files]
        size = sum(file.stat().st_size for file in files)
        form = _format_of(path, kind, spec)
        asked = form == "squad" and path.suffix.lower() in TABLES
        beside = paragraph_files(path, spec) if asked else []
        paragraphs = tuple((f.name, f.stat().st_size, _sha256(f)) for f in beside)
    except OSError as error:
        raise InvalidInputError(
            f"{name}: cannot be read: {error.strerror or error}. Check its permissions."
        ) from None
    whole = hashes[0] if path.is_file() else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return Source(path, name, whole, size, form, spec, paragraphs)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _is_beir(path: Path) -> bool:
    return (path / "corpus.jsonl").is_file() and (path / "queries.jsonl").is_file()


def _format_of(path: Path, kind: Kind, spec: DataSpec) -> Format:
    if spec.format != "auto":
        return spec.format
    suffix = path.suffix.lower()
    if path.is_dir():
        return "beir"
    if suffix == ".json":
        return "squad"
    if kind == "tag" and suffix in COLUMN_FILES and not _is_tag_table(path, spec):
        return "conll"
    if suffix in TABLES:
        return _table_format(path, kind, spec)
    if kind == "text":
        return "lines"
    raise InvalidInputError(
        f"{path.name}: the ending {suffix or '(none)'} is not known for {kind} data. Use csv, tsv, "
        "jsonl, json (SQuAD), conll or a BEIR folder, or state data.format."
    )


def _is_tag_table(path: Path, spec: DataSpec) -> bool:
    """Tell a ``.tsv`` with a header of tokens and tags from a ``.tsv`` of CoNLL columns."""
    if path.suffix.lower() != ".tsv":
        return False
    columns = [column_key(c) for c in inspect_table(path, encoding=spec.encoding).columns]
    return column_key(spec.columns.tokens) in columns and column_key(spec.columns.tags) in columns


def _table_format(path: Path, kind: Kind, spec: DataSpec) -> Format:
    """Look at the first row: dialogues, questions with paragraphs and entities are told apart."""
    columns = spec.columns
    if kind == "read":
        return "squad"
    if columns.utterance and columns.group and kind in ("pairs", "chat"):
        return "dialogue"
    first = _first_row(path, spec)
    signs: tuple[tuple[Format, bool], ...] = (
        ("dialogue", isinstance(first.get(column_key(columns.turns)), list)),
        ("entities", kind == "tag" and column_key(columns.entities) in first),
        ("squad", kind == "pairs" and {column_key(columns.question), "pid"} <= set(first)),
    )
    return next((form for form, holds in signs if holds), "table")


def _first_row(path: Path, spec: DataSpec) -> dict[str, Any]:
    table = inspect_table(path, encoding=spec.encoding)
    return next((dict(row.values) for row in read_rows(path, table) if not row.error), {})


def read_source(source: Source, kind: Kind, ledger: Ledger) -> Iterator[Row]:
    """Yield the rows of one file, as the kind asks. Raises ``InvalidInputError``."""
    path, form, spec = source.path, source.format, source.spec
    if form == "dialogue" and kind in ("pairs", "classify", "chat", "text"):
        return dialogue_rows(read_dialogues(path, spec, ledger), kind, spec, ledger)
    reader = _READERS.get((kind, form))
    if reader is None:
        known = ", ".join(sorted({f for k, f in _READERS if k == kind} | {"auto"}))
        raise InvalidInputError(
            f"{source.name}: {form} files give no {kind} rows; data.format may be {known}."
        )
    return reader(path, spec, ledger)


def _plain(path: Path, spec: DataSpec, _: Ledger) -> Iterator[Row]:
    suffix = path.suffix.lower()
    return read_lines(path, spec) if suffix in ("", ".txt") else read_document(path)


Reader = Callable[[Path, DataSpec, Ledger], Iterator[Row]]
_READERS: Mapping[tuple[Kind, Format], Reader] = {
    ("classify", "table"): lambda p, s, lg: read_table(p, "classify", s, lg),
    ("pairs", "table"): lambda p, s, lg: read_table(p, "pairs", s, lg),
    ("text", "table"): lambda p, s, lg: read_table(p, "text", s, lg),
    ("chat", "table"): lambda p, s, lg: read_table(p, "chat", s, lg),
    ("chat", "chat"): lambda p, s, lg: read_table(p, "chat", s, lg),
    ("pairs", "squad"): lambda p, s, lg: as_passage_pairs(read_squad(p, s, lg), lg),
    ("pairs", "beir"): lambda p, _, lg: read_beir(p, lg),
    ("tag", "conll"): read_conll,
    ("tag", "table"): read_tag_table,
    ("tag", "entities"): read_entities,
    ("read", "squad"): read_squad,
    ("read", "table"): read_squad,
    ("text", "lines"): _plain,
}
