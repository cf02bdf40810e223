"""One tiny decoder and its exports, shared by all tests here: each export takes seconds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_decoder import write_tiny_decoder

from assistant.models.generation.generator import Generator, open_generator
from training.generator.export import export, write_manifest
from training.generator.source import BaseModel, resolve
from training.generator.tokens import Codec, open_codec

CONTEXT = 256


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on matrices of 32 columns only wait for each other, long on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = write_tiny_decoder(tmp_path_factory.mktemp("decoder") / "tiny")
    return resolve(str(folder), folder)


@pytest.fixture(scope="session")
def codec(tiny: BaseModel) -> Codec:
    return open_codec(tiny.folder, tiny.config())


@pytest.fixture(scope="session")
def exports(tiny: BaseModel, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("exports")
    found = {}
    for precision in ("fp32", "int8"):
        exported = export(tiny.folder, root / precision, precision)
        write_manifest(exported, tiny, name="tiny", context_tokens=CONTEXT, parity={})
        found[precision] = exported.folder
    return found


@pytest.fixture
def served(exports: dict[str, Path]) -> Iterator[Generator]:
    with open_generator(exports["int8"]) as opened:
        yield opened
