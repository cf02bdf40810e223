"""What models at work have in common and keep once: the tokeniser and the table of word vectors."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from assistant.errors import ModelError
from assistant.models.manifest import ModelManifest, StoredTensor
from assistant.models.registry import MODEL_FILE, TOKENIZER_FILE
from assistant.models.session import Tensors

_tokenizers: WeakValueDictionary[str, Tokenizer] = WeakValueDictionary()
"""Those of open models, by the SHA-256 of their file."""
_tables: WeakValueDictionary[str, NDArray[Any]] = WeakValueDictionary()
"""Word tables of open models, by the SHA-256 of their bytes."""
_opening = Lock()


def tokenizer(folder: Path, manifest: ModelManifest) -> Tokenizer:
    """Return the tokeniser of a model whose files are verified; models that have the same share it.

    One of 250,000 pieces takes 117 MB and half a second, and is never changed once it is open.
    """
    with _opening:
        digest = manifest.files[TOKENIZER_FILE]
        known = _tokenizers.get(digest)
        if known is None:
            known = _tokenizers[digest] = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        return known


def tensors(folder: Path, manifest: ModelManifest) -> Tensors:
    """Return the word table of a model whose files are verified, for its session to use in place.

    Models with the same table share it: 53 MB for 137,000 pieces, and the runtime need not copy
    them. Read, not mapped: a model file cut short under a mapping would end the process. Empty
    where the manifest does not say where it is. Raises ModelError when it is not there.
    """
    stored = manifest.words
    if stored is None:
        return {}
    with _opening:
        known = _tables.get(stored.sha256)
        if known is None:
            known = _tables[stored.sha256] = _read(folder / MODEL_FILE, stored)
        return {stored.name: known}


def _read(path: Path, stored: StoredTensor) -> NDArray[Any]:
    try:
        count, room = math.prod(stored.shape), path.stat().st_size - stored.offset
        if count * np.dtype(stored.dtype).itemsize > room:
            raise ValueError(f"{stored.name} would end behind the file's end")
        values = np.fromfile(path, stored.dtype, count, offset=stored.offset)
        found = hashlib.sha256(values.data).hexdigest()
        if found == stored.sha256:
            return values.reshape(stored.shape)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): run `assistant build`.") from error
    raise ModelError(
        f"{path} holds no {stored.name} of SHA-256 {stored.sha256[:16]}… at {stored.offset}, where "
        "its manifest has it: run `assistant build`."
    )
