"""Read files of many kinds as rows, one module for each kind of file."""

from training.data.readers.choose import Source, find_sources, read_source

__all__ = ["Source", "find_sources", "read_source"]
