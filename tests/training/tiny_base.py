"""A tiny base that trains in a second: real words of both languages, two layers of 32."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np

from assistant.models.build.weights import EncoderShape, EncoderWeights, Vocabulary, expected_shapes
from assistant.settings import Settings
from tests.models.tiny_models import hugging_face_folder
from training.recipe import Recipe, make_recipe

SHAPE = EncoderShape(hidden=32, layers=2, heads=4, ff=64, max_positions=96, epsilon=1e-12)
_ENGLISH = """card bank lost fee loan rate account open close transfer block money pay how what is
the my a to do I please help where when can of for in query passage good bad profit loss falls rises
Acme Ltd Paris London shares"""
WORDS = tuple(_ENGLISH.split())
HAN = "银行卡丢失挂手续费贷款利率开户转账怎么办在哪里多少我的是了吗涨跌公司上海北京"
PIECES = (
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *(f"▁{word}" for word in WORDS),
    "▁",
    *dict.fromkeys(HAN),
    *dict.fromkeys(["银行", "转账", "贷款", "利率", "公司"]),
    *string.ascii_letters,
    *string.digits,
    *":?.,!？。，",
    "<mask>",
)


def weights(seed: int = 0, shape: EncoderShape = SHAPE) -> EncoderWeights:
    """Random weights of a size that lets gradients flow; layer norms near 1 and 0."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, dims in expected_shapes(shape, len(PIECES)).items():
        value = random.normal(size=dims) * (0.5 if name == "emb.word" else 0.15)
        if name.endswith("ln.w"):
            value = 1 + 0.1 * value
        tensors[name] = value.astype(np.float32)
    # Longer pieces win over single letters, as in a trained vocabulary.
    scores = tuple(0.0 if i < 4 else -10.0 / len(piece) for i, piece in enumerate(PIECES))
    vocabulary = Vocabulary(tuple(PIECES), scores, bos=0, eos=2, pad=1, unk=3)
    return EncoderWeights(shape, vocabulary, tensors)


def base_folder(folder: Path, seed: int = 0) -> Path:
    """Write the base as a Hugging Face folder, the way a user brings one."""
    return hugging_face_folder(folder, weights(seed))


def recipe(base: Path, task: str = "classifier", **changes: object) -> Recipe:
    """A recipe on the tiny base: fast, and sections replaced by ``changes``."""
    values: dict[str, object] = {
        "recipe": {"task": task, "name": "tiny", "seed": 5},
        "base": {"model": str(base), "licence": "MIT"},
        "train": {
            "epochs": 8,
            "batch_size": 16,
            "learning_rate": 5e-3,
            "head_learning_rate": 5e-3,
            "max_tokens": 48,
            "precision": "fp32",
            "dropout": 0.0,
            # More threads only wait for each other on matrices this small.
            "threads": 1,
        },
        "export": {"max_loss": 0.1},
    }
    for section, value in changes.items():
        old = values.get(section)
        merged = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        values[section] = merged
    return make_recipe(values, "tiny")


def settings(folder: Path) -> Settings:
    """Settings whose data and cache stay in ``folder``."""
    return Settings(data_dir=folder / "data", cache_dir=folder / "cache", device="cpu", threads=1)


INTENTS = {
    "lost": ("my card is lost", "I lost my bank card", "block my card please", "卡丢了怎么办"),
    "fee": ("what is the fee", "how much is the transfer fee", "fee for transfer", "手续费是多少"),
    "loan": ("what is the loan rate", "can I open a loan", "loan rate please", "贷款利率是多少"),
}


def intent_csv(path: Path, copies: int = 40, seed: int = 0) -> Path:
    """Write texts with their intent, no two alike: a number makes each its own."""
    random = np.random.default_rng(seed)
    lines = ["text,intent"]
    for label, texts in INTENTS.items():
        for n in range(copies):
            words = " ".join(random.choice(WORDS, 2))
            lines.append(f"{texts[n % len(texts)]} {words} {n},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def intent_recipe(base: Path, folder: Path, name: str, **changes: object) -> Recipe:
    """A recipe for a classifier of ``INTENTS``, rows written to ``folder``, of which it keeps a
    fifth each to validate and to test on."""
    data = {
        "root": str(folder),
        "train": intent_csv(folder / "rows.csv").name,
        "columns": {"label": "intent"},
        "split": {"valid": 0.2, "test": 0.2},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
    }
    about = {"task": "classifier", "kind": "intent", "name": name, "seed": 5}
    return recipe(base, **{"recipe": about, "data": data, **changes})
