"""Pre-training learns the words of a text, and says so honestly through the int8 model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import torch

from assistant.errors import InvalidInputError
from assistant.models.build.tokenizer import build_tokenizer
from assistant.models.build.tuned import read_tuned
from assistant.models.store import ModelStore
from training.base import load_base
from training.mlm import (
    HEAD,
    IGNORED,
    Block,
    MaskedModel,
    Masker,
    MaskHead,
    collate,
    judge,
    make_blocks,
    word_numbers,
)
from training.recipe import Recipe, with_changes
from training.reporting import Silent
from training.run import make_job, run
from training.sections import Base
from training.tasks import pretrain

SENTENCES = (
    "what is the fee of the bank",
    "how to block my card please",
    "Acme Ltd shares in London",
    "银行卡丢了怎么办",
    "贷款利率是多少",
)


def text_file(folder: Path, lines: int = 120) -> Path:
    random = np.random.default_rng(0)
    path = folder / "text.txt"
    found = [f"{random.choice(SENTENCES)} {random.choice(SENTENCES)} {n}" for n in range(lines)]
    path.write_text("\n\n".join(found) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base"))


def text_recipe(base: Path, path: Path, **changes: Any) -> Recipe:
    data = {
        "train": str(path),
        "split": {"valid": 0.2, "test": 0.2},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "MIT",
    }
    pretraining = {"block_tokens": 32, "mask": 0.2}
    return tiny.recipe(base, "pretrain", data=data, pretrain=pretraining, **changes)


@pytest.mark.slow
def test_a_base_is_pretrained_measured_and_trained_on(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    recipe = text_recipe(base, text_file(tmp_path), train={"epochs": 12, "batch_size": 8})
    outcome = run(recipe, settings, Silent(), promote=True)
    assert outcome.version.ref == "base/tiny@v1"
    notes = dict(note.split(": ") for note in outcome.passport.notes if ": " in note)
    after = outcome.passport.metrics["test"]
    assert after["masked_accuracy"].value > float(notes["test_masked_accuracy_before"]) + 0.05
    assert after["masked_loss"].value < float(notes["test_masked_loss_before"])
    # The head is kept, and what starts from the version has no use for it but can go on with it.
    tuned = read_tuned(outcome.version.folder / "tuned.safetensors")
    assert not tuned.heads
    started = load_base(Base(model="registry:base/tiny"), settings)
    assert started.reference == "base/tiny@v1"
    pieces = len(started.weights.vocabulary.pieces)
    assert tuned.tensors[f"{HEAD}bias"].shape == (pieces,)
    head = MaskHead(32, pieces)
    assert head.load(started.weights.tensors)
    further = with_changes(recipe, {"base.model": "registry:base/tiny", "train.epochs": 1})
    job = make_job(further, settings, Silent(), tmp_path / "further")
    done = pretrain.train(job)
    # No head is fitted anew: where the second run begins is where the first one ended.
    assert done.figures["test_masked_accuracy_before"] == pytest.approx(
        after["masked_accuracy"].value, abs=0.02
    )
    assert ModelStore.of(settings).current("base", "tiny").number == 1


def test_what_cannot_be_pretrained_is_refused(base: Path, tmp_path: Path) -> None:
    path = text_file(tmp_path, 10)
    for changes, said in (
        ({"tuning": {"method": "prompt"}}, "prompt; pre-training changes the encoder itself"),
        ({"gate": {"metric": "masked_loss"}}, "judged by masked_accuracy"),
    ):
        job = make_job(
            text_recipe(base, path, **changes), tiny.settings(tmp_path), Silent(), tmp_path / "r"
        )
        with pytest.raises(InvalidInputError, match=said):
            pretrain.train(job)


def test_blocks_hold_all_text_once_and_keep_words_apart() -> None:
    tokenizer = build_tokenizer(tiny.weights().vocabulary)
    texts = [f"{sentence} 1" for sentence in SENTENCES * 6]
    blocks = make_blocks(texts, tokenizer, 16)
    assert all(len(block.ids) <= 16 for block in blocks)
    assert all(block.ids[0] == 0 and block.ids[-1] == 2 for block in blocks)
    running = np.concatenate([block.ids[1:-1] for block in blocks]).tolist()
    wanted = []
    for text in texts:
        wanted += [*tokenizer.encode(text, add_special_tokens=False).ids, 2]
    assert running == wanted[: len(running)]
    assert len(running) > len(wanted) - 4
    for block in blocks:
        assert ((block.words < 0) == (block.ids == 2) | (block.ids == 0)).all()


def test_pieces_of_one_word_share_its_number() -> None:
    tokenizer = build_tokenizer(tiny.weights().vocabulary)
    text = "my zebra 贷款利率 fee"
    encoding = tokenizer.encode(text, add_special_tokens=False)
    numbers = word_numbers(text, encoding.offsets)
    by_word: dict[int, str] = {}
    for (start, end), number in zip(encoding.offsets, numbers, strict=True):
        by_word[number] = by_word.get(number, "") + text[start:end]
    assert [word.strip() for word in by_word.values() if word.strip()] == [
        "my",
        "zebra",
        "贷款",
        "利率",
        "fee",
    ]


def test_masks_cover_whole_words_and_the_share_asked_for() -> None:
    vocabulary = tiny.weights().vocabulary
    words = np.repeat(np.arange(500), 3)
    ids = np.random.default_rng(0).integers(4, len(tiny.PIECES) - 1, len(words))
    block = Block(np.array([0, *ids, 2]), np.array([-1, *words, -1]))
    masker = Masker(vocabulary, 0.2, seed=1)
    masked, labels = masker(block)
    chosen = labels != IGNORED
    assert chosen.sum() == pytest.approx(0.2 * len(words), abs=3)
    assert not chosen[[0, -1]].any()
    per_word = chosen[1:-1].reshape(-1, 3).sum(axis=1)
    assert set(per_word.tolist()) == {0, 3}
    assert (labels[chosen] == block.ids[chosen]).all()
    assert (masked[~chosen] == block.ids[~chosen]).all()
    assert (masked[chosen] == masker.mask).mean() == pytest.approx(0.8, abs=0.08)
    assert (masked[chosen] == block.ids[chosen]).mean() == pytest.approx(0.1, abs=0.08)
    assert tiny.PIECES[masker.mask] == "<mask>"
    again = Masker(vocabulary, 0.2, seed=1)(block)
    assert (again[0] == masked).all()


def test_the_loss_is_that_of_transformers_with_the_same_head() -> None:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import BertOnlyMLMHead

    weights = tiny.weights()
    model = MaskedModel(weights, dropout=0.0).eval()
    torch.nn.init.normal_(model.mlm.dense.weight, std=0.2)
    torch.nn.init.normal_(model.mlm.bias, std=0.2)
    table = model.encoder.get_input_embeddings().weight
    config = BertConfig(
        hidden_size=32, vocab_size=len(tiny.PIECES), hidden_act="gelu", layer_norm_eps=1e-5
    )
    library = BertOnlyMLMHead(config).eval()
    library.predictions.transform.dense.load_state_dict(model.mlm.dense.state_dict())
    library.predictions.transform.LayerNorm.load_state_dict(model.mlm.norm.state_dict())
    library.predictions.decoder.weight.data = table.data
    library.predictions.decoder.bias.data = model.mlm.bias.data
    ids = torch.randint(4, len(tiny.PIECES) - 1, (3, 12))
    labels = torch.where(torch.rand(3, 12) < 0.3, ids, IGNORED)
    mask = torch.ones_like(ids)
    with torch.no_grad():
        ours = model(ids, mask, labels)["loss"]
        logits = library(model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state)
        theirs = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED
        )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_judging_counts_hits_and_nats() -> None:
    head, table = MaskHead(2, 3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    head.norm = torch.nn.Identity()
    head.dense = torch.nn.Identity()
    vectors = np.array([[9.0, 0.0], [0.0, 9.0]], dtype=np.float32)
    hits, losses = judge(head, table, vectors, np.array([0, 2]))
    assert hits.tolist() == [True, False]
    assert losses[0] == pytest.approx(np.log1p(np.exp(-9) + np.exp(-18)), rel=1e-3)
    assert losses[1] == pytest.approx(9 + np.log1p(2 * np.exp(-9)), rel=1e-3)


def test_batches_are_masked_anew_each_time() -> None:
    weights = tiny.weights()
    blocks = make_blocks([s * 3 for s in SENTENCES], build_tokenizer(weights.vocabulary), 24)
    make = collate(Masker(weights.vocabulary, 0.3, 0), weights.vocabulary.pad)
    rows: list[Any] = [{"input_ids": block.ids, "block": block} for block in blocks[:3]]
    first, second = make(rows), make(rows)
    assert not torch.equal(first["labels"], second["labels"])
    assert first["input_ids"].shape == first["attention_mask"].shape == first["labels"].shape
    assert (first["labels"][first["attention_mask"] == 0] == IGNORED).all()
