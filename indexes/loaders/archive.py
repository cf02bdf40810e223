"""Guard against zip bombs before an Office parser unpacks its file."""

from __future__ import annotations

import io
import re
import zipfile
import zlib

from indexes.errors import LoadError
from indexes.loaders.limits import LoadLimits, check

_CHUNK = 1 << 20
_SMALL_PART = 1 << 20
_DECLARES = re.compile(rb"<!(?:DOCTYPE|ENTITY)", re.I)
_HEAD = 4096
_MACHINE_LIMIT = "this is not an ordinary document"


def check_archive(data: bytes, limits: LoadLimits) -> None:
    """Raise ``LoadError`` when the zip archive is damaged or unpacks to more than the limits.

    The directory's sizes are only claims, so every part is unpacked once, a piece at a time, and
    counted.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            check("files inside", len(parts), limits.max_parts, _MACHINE_LIMIT)
            claimed = sum(part.file_size for part in parts)
            check("unpacked size in bytes", claimed, limits.max_expanded_bytes, _MACHINE_LIMIT)
            total = 0
            for part in parts:
                total = _unpack(archive, part, total, limits)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
        raise LoadError(f"the file is damaged ({error}); save it again") from error
    except RuntimeError as error:
        raise LoadError("parts of it are protected by a password; save it without one") from error


def _unpack(archive: zipfile.ZipFile, part: zipfile.ZipInfo, total: int, limits: LoadLimits) -> int:
    size = 0
    is_xml = part.filename.lower().endswith((".xml", ".rels", ".vml"))
    with archive.open(part) as stream:
        while piece := stream.read(_CHUNK):
            if is_xml and not size and _DECLARES.search(piece[:_HEAD].replace(b"\0", b"")):
                # Office programs write none; entities can blow up or read other files.
                raise LoadError(f"{part.filename} declares XML entities; save the file again")
            size += len(piece)
            if is_xml:
                check(f"bytes of {part.filename}", size, limits.max_xml_bytes, _MACHINE_LIMIT)
            check("unpacked size in bytes", total + size, limits.max_expanded_bytes, _MACHINE_LIMIT)
    if size > _SMALL_PART:
        ratio = size // max(part.compress_size, 1)
        check("times its packed size", ratio, limits.max_expansion, _MACHINE_LIMIT)
    return total + size
