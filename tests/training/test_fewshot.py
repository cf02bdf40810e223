"""Few rows a label, or only descriptions, become classifiers that are served like any other."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny
import torch

from assistant.errors import InvalidInputError
from assistant.models.build.tuned import read_tuned
from assistant.models.loading import open_classifier
from assistant.models.prototypes import prototypes, unit
from training import run as running
from training.data.rows import LabelledText
from training.fewshot import AllPairs, in_pairs
from training.linear import logistic
from training.recipe import Recipe, with_changes
from training.reporting import Silent
from training.zeroshot import readable


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


def recipe(base: Path, folder: Path, **changes: object) -> Recipe:
    return tiny.intent_recipe(base, folder, "few", **changes)


# --- pieces


def test_the_loss_is_that_of_the_paper() -> None:
    random = np.random.default_rng(0)
    vectors, labels, heat = random.normal(size=(6, 4)), [0, 0, 1, 1, 1, 2], 0.3
    hidden = torch.from_numpy(vectors)[:, None].float()
    batch = {
        "hidden": hidden,
        "attention_mask": torch.ones(6, 1),
        "labels": torch.tensor(labels),
    }
    z = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    losses = []
    for i in range(6):
        total = sum(np.exp(z[i] @ z[k] / heat) for k in range(6) if k != i)
        friends = [p for p in range(6) if p != i and labels[p] == labels[i]]
        if friends:
            terms = [np.log(np.exp(z[i] @ z[p] / heat) / total) for p in friends]
            losses.append(-sum(terms) / len(friends))
    found = AllPairs(heat, "mean")(torch.zeros(6, 3), batch)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_loss_is_exact_in_bfloat16_runs() -> None:
    torch.manual_seed(0)
    # As from an encoder: one large direction in common, cosines of about 0.99.
    hidden = torch.randn(8, 1, 32) * 0.1 + 1
    batch = {
        "hidden": hidden,
        "attention_mask": torch.ones(8, 1),
        "labels": torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]),
    }
    exact = AllPairs(0.02, "mean")(torch.zeros(8, 4), batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = AllPairs(0.02, "mean")(torch.zeros(8, 4), batch)
    assert float(found) == pytest.approx(float(exact), rel=1e-5)


def test_texts_with_one_label_in_common_attract_each_other() -> None:
    batch = {
        "hidden": torch.eye(3)[:, None],
        "attention_mask": torch.ones(3, 1),
        "labels": torch.tensor([[1.0, 0, 1], [0, 1, 1], [0, 1, 0]]),
    }
    loss = AllPairs(1.0, "first")(torch.zeros(3, 3), batch)
    # Orthogonal vectors: each of two others is as near, whoever is a friend.
    assert float(loss) == pytest.approx(np.log(2), rel=1e-5)


def test_a_batch_without_pairs_still_has_a_gradient() -> None:
    hidden = torch.randn(3, 1, 4, requires_grad=True)
    batch = {
        "hidden": hidden,
        "attention_mask": torch.ones(3, 1),
        "labels": torch.tensor([0, 1, 2]),
    }
    loss = AllPairs(0.1, "mean")(torch.zeros(3, 3), batch)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0
    assert hidden.grad is not None
    assert torch.isfinite(hidden.grad).all()


def test_neighbours_share_a_label_and_every_pass_holds_every_row() -> None:
    rows = [LabelledText(f"t{i}", (f"l{i % 3}",)) for i in range(20)]
    rows.append(LabelledText("alone", ("l9",)))
    order = in_pairs(rows, 2, seed=1)
    pairs = list(zip(order[::2], order[1::2], strict=True))
    assert all(rows[a].labels == rows[b].labels for a, b in pairs)
    assert (20, 20) in pairs
    one_pass = order[: len(order) // 2]
    assert set(one_pass) == set(range(21))
    assert order == in_pairs(rows, 2, seed=1)
    assert order != in_pairs(rows, 2, seed=2)
    assert order[: len(order) // 2] != order[len(order) // 2 :]


@pytest.mark.parametrize("labels", [2, 4])
def test_logistic_regression_becomes_a_linear_head(labels: int) -> None:
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    centres = random.normal(size=(labels, 8))
    truth = np.arange(80) % labels
    vectors = unit((centres[truth] + random.normal(size=(80, 8)) * 0.8).astype(np.float32))
    weights, bias = logistic(vectors, truth, 10.0, 0)
    assert weights.shape == (labels, 8)
    logits = vectors @ weights.T + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = LogisticRegression(C=10.0, max_iter=300).fit(vectors, truth).predict_proba(vectors)
    np.testing.assert_allclose(shares, own, atol=1e-4)


def test_prototypes_are_the_nearest_mean() -> None:
    random = np.random.default_rng(1)
    examples = {label: random.normal(size=(5, 16)) + 2 * i for i, label in enumerate("abc")}
    found = prototypes(examples)
    queries = random.normal(size=(30, 16)) + 1
    means = {label: unit(unit(v).mean(axis=0)) for label, v in examples.items()}
    for query, label in zip(queries, found.nearest(queries), strict=True):
        cosines = {name: float(mean @ query) for name, mean in means.items()}
        assert label == max(cosines, key=lambda name: cosines[name])
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(unit(queries) @ found.weights.T, found.logits(queries), rtol=1e-5)


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        ({}, "no labels"),
        ({"a": np.zeros((0, 4))}, "'a' has no examples"),
        ({"a": np.ones((1, 4)), "b": np.ones((1, 5))}, "2 widths"),
    ],
)
def test_impossible_prototypes_are_refused(examples: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        prototypes(examples)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("card_not_working", "card not working"),
        ("lostOrStolen-card?", "lost or stolen card?"),
        ("理财", "理财"),
        ("___", "___"),
    ],
)
def test_labels_are_made_readable(label: str, words: str) -> None:
    assert readable(label) == words


# --- from rows to a served version


def test_few_rows_a_label_make_a_served_classifier(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    wanted = recipe(base, tmp_path, tuning={"method": "few_shot"}, train={"epochs": 6})
    outcome = running.run(wanted, settings, Silent())
    passport = outcome.passport
    assert passport.metrics["test"]["accuracy"].value > 0.8
    assert passport.parity["torch_label_difference"] < 1e-3
    tuned = read_tuned(outcome.version.folder / "tuned.safetensors")
    assert tuned.heads[0].normalise
    assert "head.label.dense.w" not in tuned.tensors
    assert any(name.startswith("l1.") for name in tuned.tensors), "the encoder was tuned"
    served = open_classifier(settings, "intent", str(outcome.version.folder))
    try:
        assert served.classify(["I lost my bank card"])[0].label == "lost"
    finally:
        served.close()


def test_prototypes_need_no_training_run(base: Path, tmp_path: Path) -> None:
    tuning = {"method": "few_shot", "few_shot_head": "prototypes"}
    outcome = running.run(recipe(base, tmp_path, tuning=tuning), tiny.settings(tmp_path), Silent())
    tuned = read_tuned(outcome.version.folder / "tuned.safetensors")
    assert set(tuned.tensors) == {"head.label.out.w", "head.label.out.b"}
    assert outcome.passport.metrics["test"]["accuracy"].value > 0.6


def test_what_labels_are_called_may_be_rows_too(base: Path, tmp_path: Path) -> None:
    told = {"lost": "a card that is gone", "loan": ["loan rate", "money for a house"]}
    ways = {
        "rows": {"method": "few_shot", "few_shot_head": "prototypes"},
        "both": {"method": "few_shot", "few_shot_head": "prototypes", "describe": True},
        "told": {"method": "zero_shot"},
    }
    weights = {}
    for way, tuning in ways.items():
        settings = tiny.settings(tmp_path / way)
        wanted = recipe(base, tmp_path, tuning={**tuning, "descriptions": told})
        few = with_changes(wanted, {"data.per_label": 2})
        outcome = running.run(few, settings, Silent())
        tensors = read_tuned(outcome.version.folder / "tuned.safetensors").tensors
        weights[way] = unit(tensors["head.label.out.w"])
    apart = (weights["rows"] * weights["told"]).sum(1)
    near = (weights["both"] * weights["told"]).sum(1)
    assert (near > apart + 1e-4).all()
    assert (near < 1 - 1e-4).all()


def test_several_labels_a_text(base: Path, tmp_path: Path) -> None:
    lines = ["text,topics"]
    words = {"card": "my card is lost", "fee": "what is the fee", "loan": "loan rate please"}
    for n, (a, b) in enumerate(itertools.product(words, repeat=2)):
        for copy in range(5):
            labels = "|".join(dict.fromkeys((a, b)))
            lines.append(f"{words[a]} and {words[b]} {tiny.WORDS[n]} {copy},{labels}")
    (tmp_path / "topics.csv").write_text("\n".join(lines), encoding="utf-8")
    data = {
        "root": str(tmp_path),
        "train": "topics.csv",
        "columns": {"label": "topics"},
        "separator": "|",
        "multi_label": True,
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "CC0-1.0",
        "split": {"valid": 0.2, "test": 0.2},
    }
    wanted = recipe(
        base,
        tmp_path,
        data=data,
        tuning={"method": "few_shot"},
        heads={"label": {"multi_label": True}},
        train={"epochs": 8},
    )
    passport = running.run(wanted, tiny.settings(tmp_path), Silent()).passport
    assert passport.gate.metric == "test.micro_f1"
    assert passport.metrics["test"]["micro_f1"].value > 0.7


def test_descriptions_are_averaged_over_templates(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    tuning = {
        "method": "zero_shot",
        "descriptions": {
            "lost": ["my card is lost", "卡丢了怎么办"],
            "fee": "what is the fee",
            "loan": "loan rate",
        },
        "templates": ["{}", "{} please"],
    }
    outcome = running.run(recipe(base, tmp_path, tuning=tuning), settings, Silent())
    passport = outcome.passport
    assert passport.trainable_parameters == 0
    tuned = read_tuned(outcome.version.folder / "tuned.safetensors")
    assert set(tuned.tensors) == {"head.label.out.w", "head.label.out.b"}
    assert passport.metrics["test"]["accuracy"].value > 0.6
    assert tuned.heads[0].labels == ("fee", "loan", "lost")
    lengths = np.linalg.norm(tuned.tensors["head.label.out.w"], axis=1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("tuning", "said"),
    [
        ({"descriptions": {"los": "a lost card"}}, "'los', which is no label of the data"),
        ({"templates": ["about money"]}, "each needs {} where the label goes"),
    ],
)
def test_descriptions_that_lead_nowhere(
    base: Path, tmp_path: Path, tuning: dict[str, object], said: str
) -> None:
    wanted = recipe(base, tmp_path, tuning={"method": "zero_shot", **tuning})
    with pytest.raises(InvalidInputError, match=said):
        running.run(wanted, tiny.settings(tmp_path), Silent())
