"""Check that a file holds what its name says, before a parser sees it."""

from __future__ import annotations

from indexes.errors import LoadError

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"GIF87a", "a GIF image"),
    (b"GIF89a", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF-", "a PDF"),
    (b"{\\rtf", "a rich text (RTF) document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (_OLE, "an old or password-protected Office document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\0", "a program"),
    (b"SQLite format 3\0", "a SQLite database"),
)
_OFFICE = frozenset({".docx", ".pptx", ".xlsx"})
_PDF_HEADER_REACH = 1024


def check_content(data: bytes, suffix: str) -> None:
    """Raise ``LoadError`` when the first bytes belong to another format than ``suffix``."""
    found = next((name for magic, name in _MAGIC if data.startswith(magic)), "")
    if suffix == ".pdf":
        # Readers accept a PDF header a little way into the file.
        if b"%PDF-" not in data[:_PDF_HEADER_REACH]:
            raise LoadError(f"named .pdf but holds {found or 'no PDF'}; export it as PDF again")
    elif suffix in _OFFICE:
        _check_office(data, suffix, found)
    elif found:
        raise LoadError(f"named {suffix} but holds {found}; give it its real file name ending")


def _check_office(data: bytes, suffix: str, found: str) -> None:
    if data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise LoadError("protected by a password; save it without one and load it again")
        raise LoadError(f"an old Office document named {suffix}; save it as a real {suffix}")
    if not data.startswith(b"PK\x03\x04"):
        raise LoadError(f"named {suffix} but holds {found or 'something else'}; save it again")
