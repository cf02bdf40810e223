"""Read one file of any supported format into a ``Document``."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from indexes.errors import LoadError
from indexes.language import detect_language
from indexes.loaders.discovery import SUPPORTED_SUFFIXES
from indexes.loaders.faq import Record, entries_of_text, write_faq
from indexes.loaders.limits import LoadLimits, check
from indexes.loaders.numbering import outline_level
from indexes.loaders.sniff import check_content
from indexes.loaders.text import TextBuilder, clean_line
from indexes.types import Document, FaqEntry

_MEDIA_TYPES = {
    ".md": "text/markdown",
    ".html": "text/html",
    ".txt": "text/plain",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".pdf": "application/pdf",
    ".eml": "message/rfc822",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_SAME = {
    **{".markdown": ".md", ".htm": ".html", ".xhtml": ".html", ".text": ".txt"},
    **{".ndjson": ".jsonl", ".xlsm": ".xlsx"},
}
_GENERIC_TITLE = re.compile(
    r"document|untitled.*|index|home|page|sheet ?\d*|slide ?\d*|presentation|新建.*|无标题.*"
    r"|未命名.*|powerpoint .*|microsoft word.*|.*\.(?:docx?|html?|pdf|indd|xlsx?)"
    r"|[a-z]{1,6}[\d_-]{5,}.*|[\d\W_]+",
    re.I,
)


@dataclass(frozen=True, slots=True)
class _Source:
    data: bytes
    filename: str
    suffix: str
    limits: LoadLimits


def load(
    path: Path, *, source: str, faq: bool = False, limits: LoadLimits | None = None
) -> Document:
    """The file at ``path`` as a document that calls itself ``source``.

    ``faq`` reads it as questions and answers (``Document.faq``). What was left out of a file that
    is otherwise good stands in ``metadata["warnings"]``, one line each. Raises ``LoadError``.
    """
    limits = limits or LoadLimits()
    try:
        status = path.stat()
        # A pipe or device would block for ever.
        if not stat.S_ISREG(status.st_mode):
            raise LoadError("not a regular file")
        _check_size(status.st_size, limits)
        with path.open("rb") as file:
            data = file.read(limits.max_bytes + 1)
    except OSError as error:
        raise LoadError(f"cannot be read: {error.strerror or error}") from error
    return load_bytes(data, filename=path.name, source=source, faq=faq, limits=limits)


def load_bytes(
    data: bytes,
    *,
    filename: str,
    source: str,
    faq: bool = False,
    limits: LoadLimits | None = None,
) -> Document:
    """As ``load``, for bytes; the ending of ``filename`` tells the format."""
    limits = limits or LoadLimits()
    _check_size(len(data), limits)
    suffix = PurePosixPath(filename.replace("\\", "/")).suffix.lower()
    if suffix not in SUPPORTED_SUFFIXES:
        known = " ".join(sorted(SUPPORTED_SUFFIXES))
        raise LoadError(f"{suffix or 'no file name ending'} is not a format we read ({known})")
    if not data.strip(b"\0 \t\r\n"):
        raise LoadError("the file is empty")
    suffix = _SAME.get(suffix, suffix)
    if suffix in _TEXT_SUFFIXES:
        # No character takes more than four bytes: more cannot fit, and need not be decoded.
        check("size in bytes", len(data), 4 * limits.max_text, "split the file")
    check_content(data, suffix)
    given = _Source(data, filename, suffix, limits)
    builder = TextBuilder(limits)
    try:
        title, entries = _read(given, builder, faq=faq)
    except RecursionError as error:
        raise LoadError("nested too deeply to be read") from error
    except MemoryError as error:
        raise LoadError("too large for the memory of this machine; split the file") from error
    return _document(given, builder, title, entries, source)


def _check_size(size: int, limits: LoadLimits) -> None:
    check("size in bytes", size, limits.max_bytes, "split the file or raise the limit")


def _read(source: _Source, builder: TextBuilder, *, faq: bool) -> tuple[str, tuple[FaqEntry, ...]]:
    if faq and source.suffix in _RECORD_READERS:
        return "", write_faq(_RECORD_READERS[source.suffix](source, builder), builder)
    title = _READERS[source.suffix](source, builder)
    if not faq:
        return title, ()
    return title, entries_of_text(builder.text, builder.headings)


def _document(
    given: _Source, builder: TextBuilder, title: str, entries: tuple[FaqEntry, ...], source: str
) -> Document:
    text = builder.text
    if not text.strip():
        raise LoadError("no text in it")
    metadata = {"warnings": "\n".join(builder.warnings)} if builder.warnings else {}
    return Document(
        source=source,
        title=_title(title, builder, given),
        text=text,
        language=detect_language(text),
        media_type=_MEDIA_TYPES[given.suffix],
        headings=tuple(builder.headings),
        pages=tuple(builder.pages),
        faq=entries,
        metadata=metadata,
    )


def _title(declared: str, builder: TextBuilder, given: _Source) -> str:
    suffix = given.suffix
    declared = clean_line(declared)
    if _GENERIC_TITLE.fullmatch(declared):
        declared = ""
    first = builder.headings[0] if builder.headings else None
    opens = first is not None and first.level == 1 and first.start < 400
    if suffix in (".html", ".md", ".docx") and first is not None and opens:
        # A page's <title> and a document's properties often name the site or a template instead.
        return declared if suffix == ".md" and declared else first.title
    stem = clean_line(PurePosixPath(given.filename.replace("\\", "/")).stem.replace("_", " "))
    if declared or first is None or suffix not in _TITLE_FROM_HEADING:
        return declared or stem
    return first.title if first.start < 400 and outline_level(first.title) is None else stem


def _markdown(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.markdown import load_markdown

    return load_markdown(source.data, builder, source.limits)


def _html(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.markup import load_html

    return load_html(source.data, builder, source.limits)


def _text(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.encoding import decode
    from indexes.loaders.plain import write_text
    from indexes.loaders.report import is_report, write_report

    text = decode(source.data)
    if not is_report(text):
        return write_text(text, builder)
    write_report(text, builder)
    return ""


def _pdf(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.pdf import load_pdf

    return load_pdf(source.data, builder, source.limits)


def _docx(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.docx import load_docx

    return load_docx(source.data, builder, source.limits)


def _pptx(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.pptx import load_pptx

    return load_pptx(source.data, builder, source.limits)


def _eml(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.eml import load_eml

    return load_eml(source.data, builder, source.limits)


def _xlsx(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.xlsx import load_xlsx

    return load_xlsx(source.data, builder, source.limits)


def _rows(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.records import read_rows, write_rows

    write_rows(read_rows(source.data, source.suffix, source.limits), builder)
    return ""


def _json(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.records import read_json, write_value

    write_value(read_json(source.data), builder, source.limits)
    return ""


def _json_lines(source: _Source, builder: TextBuilder) -> str:
    from indexes.loaders.records import read_json_lines, write_values

    write_values(read_json_lines(source.data, builder, source.limits), builder, source.limits)
    return ""


def _row_records(source: _Source, builder: TextBuilder) -> list[Record]:
    from indexes.loaders.records import read_rows, row_records

    return row_records(read_rows(source.data, source.suffix, source.limits))


def _xlsx_records(source: _Source, builder: TextBuilder) -> list[Record]:
    from indexes.loaders.xlsx import xlsx_records

    return xlsx_records(source.data, builder, source.limits)


def _json_records(source: _Source, builder: TextBuilder) -> list[Record]:
    from indexes.loaders.records import read_json, value_records

    return value_records(read_json(source.data))


def _json_line_records(source: _Source, builder: TextBuilder) -> list[Record]:
    from indexes.loaders.records import read_json_lines, value_records

    return value_records(read_json_lines(source.data, builder, source.limits))


_READERS: dict[str, Callable[[_Source, TextBuilder], str]] = {
    ".md": _markdown,
    ".html": _html,
    ".txt": _text,
    ".pdf": _pdf,
    ".docx": _docx,
    ".pptx": _pptx,
    ".xlsx": _xlsx,
    ".eml": _eml,
    ".csv": _rows,
    ".tsv": _rows,
    ".json": _json,
    ".jsonl": _json_lines,
}
_RECORD_READERS: dict[str, Callable[[_Source, TextBuilder], list[Record]]] = {
    ".csv": _row_records,
    ".tsv": _row_records,
    ".xlsx": _xlsx_records,
    ".json": _json_records,
    ".jsonl": _json_line_records,
}
_TEXT_SUFFIXES = frozenset({".txt", ".md", ".csv", ".tsv", ".json", ".jsonl"})
# In the other formats a first heading is guessed from its looks: the file name says more.
_TITLE_FROM_HEADING = frozenset({".md", ".docx", ".pptx"})
