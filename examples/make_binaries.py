"""Make the docx, pptx, xlsx, pdf and eml documents of the example bank from ``sources/``.

A source is Markdown (headings, paragraphs, lists, tables) named ``NAME.FORMAT.md``; the document
goes to ``bank/documents/LANGUAGE/NAME.FORMAT``. The results are committed, so running this is only
needed after a change: ``python examples/make_binaries.py [NAME ...]``. PDFs need Chromium
(``--chromium PATH``) and fonts for Chinese.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from html import escape
from pathlib import Path

import docx
import openpyxl
import pptx
from docx.oxml.ns import qn
from docx.shared import Pt
from docx.text.paragraph import Paragraph
from markdown_it import MarkdownIt
from openpyxl.styles import Alignment, Font, PatternFill
from pptx.util import Inches
from pptx.util import Pt as SlidePt

HERE = Path(__file__).resolve().parent
FIXED_TIME = datetime(2025, 7, 1, 9, 0)
AUTHORS = {"en": "Larkhaven Bank", "zh": "云雀湾银行"}
BOLD = re.compile(r"\*\*(.+?)\*\*")
CSS = """
@page { size: A4; margin: 18mm 17mm }
body { font: 10.5pt/1.55 "Noto Sans", "Noto Sans CJK SC", sans-serif; color: #1c2b33 }
h1 { font-size: 21pt; line-height: 1.25; color: #0b4f6c; border-bottom: 3px solid #f2a541; }
h2 { font-size: 14pt; color: #0b4f6c; margin-top: 1.4em; break-after: avoid }
table { border-collapse: collapse; width: 100%; margin: .6em 0; break-inside: avoid }
th { background: #0b4f6c; color: #fff; text-align: left }
th, td { padding: 5px 8px; border: 1px solid #b8c7ce; font-size: 9.5pt; vertical-align: top }
tr:nth-child(even) td { background: #f3f7f9 }
"""


@dataclass(frozen=True, slots=True)
class Block:
    """One part of a source: ``kind`` is h1 to h3, p, li, ol, note or table (``rows`` filled)."""

    kind: str
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


def blocks(markdown: str) -> Iterator[Block]:
    """The blocks of a source, top to bottom."""
    lines = [line.strip() for line in markdown.splitlines()]
    index = 0
    while index < len(lines):
        if lines[index].startswith("|"):
            end = index
            while end < len(lines) and lines[end].startswith("|"):
                end += 1
            rows = [_cells(line) for line in lines[index:end]]
            yield Block("table", rows=tuple(rows[:1] + rows[2:]))
            index = end
            continue
        if lines[index]:
            yield _text_block(lines[index])
        index += 1


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))


def _text_block(line: str) -> Block:
    if heading := re.match(r"(#{1,3}) (.*)", line):
        return Block(f"h{len(heading[1])}", heading[2])
    if line.startswith("- "):
        return Block("li", line[2:])
    if numbered := re.match(r"\d+\. (.*)", line):
        return Block("ol", numbered[1])
    if line.startswith("> "):
        return Block("note", line[2:])
    return Block("p", line)


def make_docx(source: str, target: Path, language: str) -> None:
    """Write a Word document."""
    document = docx.Document()
    document.core_properties.author = AUTHORS[language]
    document.core_properties.created = document.core_properties.modified = FIXED_TIME
    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = "Calibri", Pt(10.5)
    normal.element.rPr.rFonts.set(qn("w:eastAsia"), "微软雅黑")
    styles = {"li": "List Bullet", "ol": "List Number"}
    for block in blocks(source):
        if block.kind == "table":
            _docx_table(document, block.rows)
        elif block.kind.startswith("h"):
            document.add_heading(block.text, level=int(block.kind[1]) - 1)
            if block.kind == "h1":
                document.core_properties.title = block.text
        else:
            _docx_runs(document.add_paragraph(style=styles.get(block.kind)), block.text)
    document.save(str(target))


def _docx_runs(paragraph: Paragraph, text: str) -> None:
    for number, part in enumerate(BOLD.split(text)):
        if part:
            paragraph.add_run(part).bold = number % 2 == 1


def _docx_table(document: docx.document.Document, rows: tuple[tuple[str, ...], ...]) -> None:
    table = document.add_table(rows=0, cols=len(rows[0]), style="Light Grid Accent 1")
    for number, row in enumerate(rows):
        for cell, text in zip(table.add_row().cells, row, strict=True):
            cell.paragraphs[0].add_run(text).bold = number == 0
    document.add_paragraph()


def make_pptx(source: str, target: Path, language: str) -> None:
    """Write a presentation: a slide for each h2, its notes from quoted lines."""
    deck = pptx.Presentation()
    deck.core_properties.author = AUTHORS[language]
    deck.core_properties.created = deck.core_properties.modified = FIXED_TIME
    slide, body = deck.slides.add_slide(deck.slide_layouts[0]), None
    for block in blocks(source):
        if block.kind == "h1":
            slide.shapes.title.text = deck.core_properties.title = block.text
        elif block.kind == "h2":
            slide, body = deck.slides.add_slide(deck.slide_layouts[1]), None
            slide.shapes.title.text = block.text
        elif block.kind == "table":
            _pptx_table(slide, block.rows)
        elif block.kind == "note":
            slide.notes_slide.notes_text_frame.text = block.text
        else:
            frame = slide.placeholders[1].text_frame
            body = frame.paragraphs[0] if body is None else frame.add_paragraph()
            body.text = block.text
    deck.save(str(target))


def _pptx_table(slide: pptx.slide.Slide, rows: tuple[tuple[str, ...], ...]) -> None:
    body = slide.placeholders[1]
    body._element.getparent().remove(body._element)
    shape = slide.shapes.add_table(
        len(rows), len(rows[0]), Inches(0.6), Inches(1.6), Inches(8.8), Inches(0.5 * len(rows))
    )
    for r, row in enumerate(rows):
        for c, text in enumerate(row):
            cell = shape.table.cell(r, c)
            cell.text = text
            cell.text_frame.paragraphs[0].font.size = SlidePt(16)


def make_xlsx(source: str, target: Path, language: str) -> None:
    """Write a workbook: a sheet for each h2 and its table."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    book.properties.creator = AUTHORS[language]
    book.properties.created = book.properties.modified = FIXED_TIME
    sheet = None
    for block in blocks(source):
        if block.kind == "h1":
            book.properties.title = block.text
        elif block.kind == "p":
            book.properties.description = block.text
        elif block.kind == "h2":
            sheet = book.create_sheet(block.text)
        elif block.kind == "table" and sheet is not None:
            _xlsx_table(sheet, block.rows)
    book.save(target)


def _xlsx_table(
    sheet: openpyxl.worksheet.worksheet.Worksheet, rows: tuple[tuple[str, ...], ...]
) -> None:
    for row in rows:
        sheet.append([int(cell) if cell.isdecimal() else cell or None for cell in row])
    for cell in sheet[1]:
        cell.font = Font(bold=True, color="FFFFFF")
        cell.fill = PatternFill("solid", fgColor="0B4F6C")
    for column in sheet.columns:
        width = max(_width(str(cell.value or "")) for cell in column)
        sheet.column_dimensions[column[0].column_letter].width = min(width + 3, 60)
        for cell in column:
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    sheet.freeze_panes = "A2"


def _width(text: str) -> int:
    """Columns the text takes on screen: Chinese characters are twice as wide."""
    return sum(2 if ord(character) > 0x2E80 else 1 for character in text)


def make_pdf(source: str, target: Path, language: str, chromium: str) -> None:
    """Print the source as an A4 PDF with Chromium."""
    title = next(block.text for block in blocks(source) if block.kind == "h1")
    body = MarkdownIt("commonmark").enable("table").render(source)
    page = (
        f'<!DOCTYPE html><html lang="{language}"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{CSS}</style></head><body>{body}</body></html>"
    )
    with tempfile.TemporaryDirectory() as folder:
        html = Path(folder) / "page.html"
        html.write_text(page, encoding="utf-8")
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                f"--user-data-dir={folder}/profile",
                "--no-pdf-header-footer",
                f"--print-to-pdf={target}",
                html.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )


def make_eml(source: str, target: Path, language: str) -> None:
    """Write an e-mail with a plain and an HTML part; ``A | B`` lines become an HTML table."""
    head, _, body = source.partition("\n\n")
    message = EmailMessage(policy=policy.SMTP.clone(max_line_length=998))
    for line in head.splitlines():
        name, _, value = line.partition(": ")
        message[name] = value
    message["Message-ID"] = f"<notice-2025-08-{language}@larkhaven.example>"
    message.set_content(body.replace(" | ", ": "), cte="base64")
    message.add_alternative(_mail_html(body), subtype="html", cte="base64")
    message.set_boundary(f"larkhaven-notice-{language}")
    target.write_bytes(message.as_bytes())


def _mail_html(body: str) -> str:
    parts: list[str] = []
    for paragraph in body.strip().split("\n\n"):
        lines = [escape(line) for line in paragraph.splitlines()]
        if all(" | " in line for line in lines):
            rows = "".join(
                "<tr>" + "".join(f"<td>{cell}</td>" for cell in line.split(" | ")) + "</tr>"
                for line in lines
            )
            parts.append(f"<table>{rows}</table>")
        else:
            parts.append("<p>" + "<br>".join(lines) + "</p>")
    return "<html><body>" + "\n".join(parts) + "</body></html>"


def main(arguments: list[str]) -> int:
    """Make every document, or only those whose name is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="file names to make, e.g. fee-schedule.xlsx")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    options = parser.parse_args(arguments)
    makers: dict[str, Callable[[str, Path, str], None]] = {
        ".docx": make_docx,
        ".pptx": make_pptx,
        ".xlsx": make_xlsx,
        ".eml": make_eml,
        ".pdf": lambda source, target, language: make_pdf(
            source, target, language, options.chromium
        ),
    }
    for path in sorted((HERE / "sources").glob("*/*.md")):
        language, name = path.parent.name, path.stem
        if options.names and name not in options.names:
            continue
        target = HERE / "bank" / "documents" / language / name
        makers[target.suffix](path.read_text(encoding="utf-8"), target, language)
        print(target.relative_to(HERE))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
