"""The served tiny decoder: streaming, stopping, cancelling, seeds, limits, threads, closing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file, save_file

from assistant.errors import BusyError, InvalidInputError, ModelError, TooLargeError
from assistant.models.generation.generator import Generator, open_generator
from training.generator.export import export, write_manifest
from training.generator.model import load_decoder
from training.generator.source import BaseModel, resolve
from training.generator.tokens import Codec

PROMPT = "资料：年费一百元\n回答："


def test_the_text_is_what_pytorch_would_write(
    exports: dict[str, Path], tiny: BaseModel, codec: Codec
) -> None:
    ids = [codec.bos, *codec.encode(PROMPT)]
    model = load_decoder(tiny.folder, bf16=False)
    made = model.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)
    want = codec.tokenizer.decode([int(i) for i in made[0][len(ids) :]]).strip()
    with open_generator(exports["fp32"]) as opened:
        found = opened.generate(PROMPT, max_tokens=20)
    assert found.text == want
    assert found.prompt_tokens == len(ids)


def test_a_stream_is_the_same_text_in_pieces(served: Generator) -> None:
    whole = served.generate(PROMPT, max_tokens=40, temperature=0.9, seed=3)
    stream = served.stream(PROMPT, max_tokens=40, temperature=0.9, seed=3)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces).strip() == whole.text
    assert stream.result() == whole


def test_seeds_repeat_and_differ(served: Generator) -> None:
    def say(seed: int) -> str:
        return served.generate(PROMPT, max_tokens=30, temperature=1.5, seed=seed).text

    assert say(1) == say(1)
    assert len({say(seed) for seed in range(6)}) > 1


def test_a_stop_text_ends_it_and_is_left_out(served: Generator) -> None:
    whole = served.generate(PROMPT, max_tokens=40, temperature=1.0, seed=3).text
    stop = whole[5:8]
    cut = served.generate(PROMPT, max_tokens=40, temperature=1.0, seed=3, stop=[stop])
    assert cut.finish == "stop"
    assert cut.text == whole[: whole.index(stop)].strip()


def test_the_end_mark_ends_it(served: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    first = served.generate_ids([2, 10, 11], 8)
    monkeypatch.setattr(served._session, "_eos", frozenset({first[-1]}))
    assert served.generate_ids([2, 10, 11], 8) == first[: first.index(first[-1])]


def test_the_end_may_be_put_off_for_timing(tiny: BaseModel, tmp_path: Path) -> None:
    """A model that would end at once: its end mark's vector is the longest by far."""
    folder = tmp_path / "ending"
    shutil.copytree(tiny.folder, folder)
    weights = load_file(folder / "model.safetensors")
    ids = [2, *range(5, 12)]
    model = load_decoder(folder, bf16=False)
    with torch.inference_mode():
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
    weights["model.embed_tokens.weight"][1] = hidden.numpy() / float(hidden.norm()) * 50
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    exported = export(folder, tmp_path / "fp32", "fp32")
    base = resolve(str(folder), tmp_path)
    write_manifest(exported, base, name="ending", context_tokens=256, parity={})
    with open_generator(exported.folder) as opened:
        assert opened.generate_ids(ids, 8) == []
        assert len(opened.generate_ids(ids, 8, min_tokens=8)) == 8


def test_markup_in_a_prompt_is_plain_text(served: Generator) -> None:
    plain = served.count_tokens("ab")
    assert served.count_tokens("a<eos>b") >= plain + 3
    ids = served._ids("a<eos><bos>b")
    assert ids[0] == 2 and 1 not in ids and ids.count(2) == 1


def test_prompt_and_answer_must_fit(served: Generator) -> None:
    long = "card " * 400
    with pytest.raises(TooLargeError, match=r"may have 256\. Shorten"):
        served.generate(long, max_tokens=8)
    fits = served.count_tokens("card")
    assert served.generate("card", max_tokens=256 - fits).tokens <= 256 - fits
    with pytest.raises(TooLargeError):
        served.generate("card", max_tokens=257 - fits)


@pytest.mark.parametrize(
    "bad",
    [
        {"prompt": "  "},
        {"max_tokens": 0},
        {"stop": "abc"},
        {"stop": [""]},
        {"temperature": -1},
        {"temperature": 3},
        {"top_p": 0},
    ],
)
def test_bad_values_are_named(served: Generator, bad: dict[str, object]) -> None:
    given: dict[str, object] = {"prompt": "card", "max_tokens": 4, **bad}
    with pytest.raises(InvalidInputError):
        served.generate(**given)  # type: ignore[arg-type]


def test_cancelling_keeps_what_came(served: Generator) -> None:
    cancel = threading.Event()
    with served.stream(PROMPT, max_tokens=150, temperature=1, seed=1, cancel=cancel) as stream:
        for _ in stream:
            cancel.set()
        found = stream.result()
    assert found.finish == "cancelled"
    assert 0 < found.tokens < 150
    closed = served.stream(PROMPT, max_tokens=150)
    closed.close()
    assert closed.result().finish == "cancelled"


def test_many_threads_get_the_answers_they_get_alone(exports: dict[str, Path]) -> None:
    prompts = [f"Question {i}: the card?" for i in range(12)]
    with open_generator(exports["int8"], slots=3) as opened:
        alone = [opened.generate(p, max_tokens=15) for p in prompts]
        with ThreadPoolExecutor(6) as pool:
            together = list(pool.map(lambda p: opened.generate(p, max_tokens=15), prompts))
    assert together == alone


def test_a_slow_reader_holds_nobody_up(exports: dict[str, Path]) -> None:
    with open_generator(exports["int8"], slots=2) as opened:
        slow = opened.stream(PROMPT, max_tokens=100)
        assert opened.generate(PROMPT, max_tokens=5).tokens == 5
        slow.close()


def test_too_many_waiting_is_said(exports: dict[str, Path]) -> None:
    with open_generator(exports["int8"], slots=1, waiting=1) as opened:
        streams = []

        def ask_many() -> None:
            for _ in range(50):
                streams.append(opened.stream(PROMPT, max_tokens=200))

        with pytest.raises(BusyError, match="requests wait"):
            ask_many()
        for stream in streams:
            stream.close()


def test_closing_ends_open_streams(exports: dict[str, Path]) -> None:
    opened = open_generator(exports["int8"], slots=1)
    streams = [opened.stream(PROMPT, max_tokens=200) for _ in range(3)]
    opened.close()
    with pytest.raises(ModelError, match="closed"):
        streams[-1].result()
    with pytest.raises(ModelError, match="closed"):
        opened.generate(PROMPT, max_tokens=4)
    opened.close()


def test_a_process_may_end_without_closing(exports: dict[str, Path]) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from assistant.models.generation.generator import open_generator\n"
        "opened = open_generator(Path(sys.argv[1]))\n"
        "stream = opened.stream('card', max_tokens=200)\n"
        "next(iter(stream)); print('ending')\n"
    )
    command = [sys.executable, "-c", code, str(exports["int8"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ending\n", "")


@pytest.fixture
def copy(exports: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exports["int8"], tmp_path / "copy"))


@pytest.mark.parametrize(
    "name", ["model.onnx", "model.onnx.data", "tokenizer.json", "genai_config.json"]
)
def test_a_changed_byte_is_refused(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError, match="changed or cut short"):
        open_generator(copy)


def test_a_missing_file_is_refused(copy: Path) -> None:
    (copy / "model.onnx.data").unlink()
    with pytest.raises(ModelError, match="missing or a link"):
        open_generator(copy)


def test_a_link_is_refused(copy: Path, tmp_path: Path) -> None:
    (copy / "model.onnx.data").rename(tmp_path / "elsewhere")
    (copy / "model.onnx.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="missing or a link"):
        open_generator(copy)
