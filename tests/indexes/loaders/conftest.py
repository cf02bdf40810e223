from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import pytest

from indexes.loaders import load_bytes
from indexes.types import Document

Placed = tuple[float, float, float, str]
"""x, y and size in points, and the text."""


@pytest.fixture
def read() -> Callable[..., Document]:
    """Load bytes or text under a file name; the source is the file name."""

    def read(data: bytes | str, filename: str, *, faq: bool = False) -> Document:
        raw = data.encode() if isinstance(data, str) else data
        return load_bytes(raw, filename=filename, source=filename, faq=faq)

    return read


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    return pdf


def pdf(pages: Sequence[Sequence[Placed]], *, title: str = "", bold: str = "") -> bytes:
    """A PDF written by hand: Latin text in Helvetica, other text in an Adobe Chinese font.

    Lines whose text begins with ``bold`` are set in Helvetica-Bold.
    """
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Font /Subtype /Type0 /BaseFont /STSong-Light /Encoding /UniGB-UCS2-H"
        b" /DescendantFonts [6 0 R] >>",
        b"<< /Type /Font /Subtype /CIDFontType0 /BaseFont /STSong-Light /CIDSystemInfo"
        b" << /Registry (Adobe) /Ordering (GB1) /Supplement 2 >> /DW 1000 >>",
        f"<< /Title ({title}) >>".encode(),
    ]
    kids = []
    for lines in pages:
        stream = zlib.compress(
            "\n".join(_operators(line, bold) for line in lines).encode("latin-1")
        )
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(stream), stream)
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> >> >>" % len(objects)
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    return _assemble(objects)


def _operators(line: Placed, bold: str) -> str:
    x, y, size, text = line
    if text.isascii():
        font = "F2" if bold and text.startswith(bold) else "F1"
        shown = "(" + text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)") + ")"
    else:
        font = "F3"
        shown = "<" + text.encode("utf-16-be").hex() + ">"
    return f"BT /{font} {size} Tf {x} {y} Td {shown} Tj ET"


def _assemble(objects: Sequence[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Size %d /Root 1 0 R /Info 7 0 R >>\n" % (len(objects) + 1)
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)
