"""Files of many formats as plain text with structure.

``discover`` finds the files, ``load`` reads one. What cannot be read raises ``LoadError`` with a
reason for the person who gave the file.
"""

from indexes.errors import LoadError
from indexes.loaders.discovery import SUPPORTED_SUFFIXES, SkippedFile, discover
from indexes.loaders.limits import LoadLimits
from indexes.loaders.load import load, load_bytes

__all__ = [
    "SUPPORTED_SUFFIXES",
    "LoadError",
    "LoadLimits",
    "SkippedFile",
    "discover",
    "load",
    "load_bytes",
]
