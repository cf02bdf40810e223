"""An encoder trained on pairs finds what belongs together, through the served int8 model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny_base as tiny
import torch

from assistant.errors import InvalidInputError
from assistant.models.build.tuned import read_tuned
from assistant.models.encoder import unit
from assistant.models.tokens import ModelTokenizer, Tokenized
from training import contrast
from training.contrast import Pair, PairModel, collate, info_nce
from training.data.rows import TextPair
from training.families import Families
from training.mining import hard_negatives
from training.pair_rows import PairTexts, make_examples
from training.ranking import filtered_ranks, pair_scores
from training.reporting import Silent
from training.run import make_job, run
from training.sections import Contrast
from training.tasks import encoder

WORDS = tiny.WORDS[:28]


def pairs_file(folder: Path, count: int = 80, *, labelled: bool = False) -> Path:
    """Write questions whose answers repeat one of their rare words, in another sentence."""
    random = np.random.default_rng(0)
    lines = []
    for n in range(count):
        first, second = random.choice(WORDS, 2, replace=False)
        row = {"q": f"how {first} {second} my {n}", "a": f"the {second} of {first} is {n}"}
        lines.append(row | ({"match": 1} if labelled else {}))
        if labelled:
            other = random.choice(WORDS)
            lines.append({"q": row["q"], "a": f"the {other} in London {n + 500}", "match": 0})
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base"))


def pair_recipe(base: Path, path: Path, **changes: object) -> contrast.Any:
    data = {
        "train": str(path),
        "columns": {"text_a": "q", "text_b": "a"},
        "split": {"valid": 0.2, "test": 0.2},
        "dedupe": {"near": False},
        "leaks": {"near": False},
        "licence": "MIT",
    }
    labelled = "match" in path.read_text(encoding="utf-8")
    if labelled:
        data["columns"] = {"text_a": "q", "text_b": "a", "label": "match"}
        data["leaks"] = {"near": False, "unit": "row", "action": "drop"}
    return tiny.recipe(base, "encoder", data=data, **changes)


@pytest.mark.slow
def test_an_encoder_is_trained_exported_measured_and_registered(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path, 120), train={"epochs": 12})
    outcome = run(recipe, tiny.settings(tmp_path), Silent())
    passport = outcome.passport
    notes = dict(n.split(": ") for n in passport.notes if ": " in n)
    found = passport.metrics["test"]
    assert float(notes["test_mrr_at_10_before"]) < found["mrr_at_10"].low
    assert float(notes["valid_mrr_at_10_before"]) < passport.metrics["valid"]["mrr_at_10"].value
    assert found["mrr_at_10"].value > 0.6
    assert found["mrr_at_10"].low < found["mrr_at_10"].value < found["mrr_at_10"].high
    assert found["recall_at_1"].value <= found["mrr_at_10"].value <= found["recall_at_5"].value
    assert outcome.version.ref == "encoder/tiny@v1"
    # Pairs of 48 tokens at most, but it serves what its base serves.
    assert read_tuned(outcome.version.folder / "tuned.safetensors").max_tokens == 96


@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_lowers_the_loss(base: Path, tmp_path: Path, method: str) -> None:
    recipe = pair_recipe(
        base,
        pairs_file(tmp_path, 60),
        tuning={"method": method, "layers": 1, "rank": 4, "tokens": 4},
        train={"max_steps": 30, "learning_rate": 1e-2, "evaluations": 1},
    )
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    done = encoder.train(job)
    losses = [line["loss"] for line in done.history if "loss" in line]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]
    weights = job.base.weights
    changed = {name.split(".lora")[0].removesuffix(".w") for name in done.tuned.tensors}
    assert "emb.word" not in changed
    if method == "top_layers":
        assert all(name.startswith("l1.") for name in done.tuned.tensors)
    if method == "prompt":
        assert set(done.tuned.tensors) == {"prompt"}
        assert done.tuned.tensors["prompt"].shape == (4, weights.shape.hidden)


def test_ways_for_classifiers_are_refused(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path), tuning={"method": "few_shot"})
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"few_shot.*full, top_layers"):
        encoder.train(job)


def test_an_unknown_metric_is_named_before_training(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path), gate={"metric": "spearman"})
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    with pytest.raises(InvalidInputError, match=r"spearman.*mrr_at_10"):
        encoder.train(job)


def test_pairs_of_one_meaning_cannot_train(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path))
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    same = [TextPair(f"how {n}", "one answer") for n in range(9)]
    with pytest.raises(InvalidInputError, match="9 positive ones of 1 different"):
        make_examples(job, same, lambda items: np.zeros((len(items), 4), np.float32))


def test_labelled_negatives_come_first_and_are_not_mined(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path), contrast={"hard_negatives": 1})
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    rows = [
        TextPair("how fee", "the fee is", 1.0),
        TextPair("how fee", "the card is", 0.0),
        TextPair("how loan", "the loan is", 1.0),
        TextPair("how loan", "the fee is", 0.0),
    ]

    def never(_: object) -> contrast.FloatArray:
        raise AssertionError("nothing is left to mine")

    made = make_examples(job, rows, never)
    passages = PairTexts(job).passages(["the fee is", "the card is", "the loan is"])
    fee, card, loan = (tuple(item.tokens.ids) for item in passages)
    got = [(tuple(p.positive.tokens.ids), [tuple(n.tokens.ids) for n in p.negatives]) for p in made]
    assert got == [(fee, [card]), (loan, [fee])]
    assert made[1].negative_families == (made[0].family,)


def test_a_query_learns_to_find_the_nearest_sentence_of_its_text(
    base: Path, tmp_path: Path
) -> None:
    recipe = pair_recipe(
        base, pairs_file(tmp_path), contrast={"hard_negatives": 1, "sentences": True}
    )
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    rows = [
        TextPair("how fee", "Call us today. The fee is ten."),
        TextPair("how loan", "The loan is long. We wish you luck."),
        TextPair("how card", "The card is lost."),
    ]
    units = ["Call us today.", "The fee is ten.", "The loan is long.", "We wish you luck."]
    units.append("The card is lost.")
    near = {"how fee": "The fee is ten.", "how loan": "The loan is long.", "how card": units[4]}
    side = PairTexts(job)
    ids = {
        tuple(item.tokens.ids): text for text, item in zip(units, side.passages(units), strict=True)
    }
    ids |= {tuple(q.tokens.ids): t for t, q in zip(near, side.queries(list(near)), strict=True)}

    def encode(items: Sequence[Tokenized]) -> contrast.FloatArray:
        rows = np.full((len(items), len(units)), 0.1, np.float32)
        for row, item in enumerate(items):
            text = ids[tuple(item.tokens.ids)]
            rows[row, units.index(near.get(text, text))] = 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    made = make_examples(job, rows, encode)
    assert [ids[tuple(p.positive.tokens.ids)] for p in made] == list(near.values())
    for pair in made:
        (negative,) = pair.negatives
        text = ids[tuple(negative.tokens.ids)]
        own = next(row for row in rows if ids[tuple(pair.query.tokens.ids)] == row.text_a)
        assert text not in own.text_b  # no sentence of the text itself is a wrong answer


def test_texts_carry_the_prefix_of_their_side(base: Path, tmp_path: Path) -> None:
    recipe = pair_recipe(base, pairs_file(tmp_path))
    job = make_job(recipe, tiny.settings(tmp_path), Silent(), tmp_path / "run")
    plain = ModelTokenizer(job.base.tokenizer, 48, "", "")
    text = "what is the fee"
    assert list(PairTexts(job).queries([text])[0].tokens.ids) == list(
        plain.text(f"query: {text}").tokens.ids
    )
    assert list(PairTexts(job).passages([text])[0].tokens.ids) == list(
        plain.text(f"passage: {text}").tokens.ids
    )
    changed = {"contrast": job.recipe.contrast.model_copy(update={"symmetric": True})}
    both = dataclasses.replace(job, recipe=job.recipe.model_copy(update=changed))
    assert list(PairTexts(both).passages([text])[0].tokens.ids) == list(
        PairTexts(job).queries([text])[0].tokens.ids
    )


# --- the loss --------------------------------------------------------------------------------


def vectors(count: int, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, 8), dim=-1)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_is_the_librarys_where_nothing_is_masked(symmetric: bool) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    queries, passages = vectors(6, 0), vectors(6, 1)
    both = ("query_to_doc", "doc_to_query")
    library = MultipleNegativesRankingLoss(
        torch.nn.Linear(1, 1),  # type: ignore[arg-type]
        scale=20.0,
        directions=both if symmetric else both[:1],
        partition_mode="per_direction",
    )
    theirs = library.compute_loss_from_embeddings([queries, passages], None)
    families = torch.arange(6)
    ours = info_nce(
        queries, passages, (families, families), Contrast(temperature=0.05, symmetric=symmetric)
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)


def test_the_loss_leaves_out_texts_of_the_querys_own_family() -> None:
    queries, passages = vectors(4, 0), vectors(6, 1)
    families = torch.tensor([0, 0, 1, 2])
    candidates = torch.tensor([0, 0, 1, 2, 2, 3])
    section = Contrast(temperature=0.1)
    loss = info_nce(queries, passages, (families, candidates), section)
    by_hand = []
    for i, allowed in enumerate(
        [[0, 2, 3, 4, 5], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 5]]
    ):
        logits = (queries[i] @ passages[allowed].T / 0.1).double()
        by_hand.append(torch.logsumexp(logits, 0) - logits[allowed.index(i)])
    assert loss.item() == pytest.approx(torch.stack(by_hand).mean().item(), rel=1e-5)


@pytest.mark.parametrize("autocast", [False, True])
def test_cached_gradients_equal_those_of_the_whole_batch(autocast: bool) -> None:
    batches = random_batch(count=12)
    gradients = []
    for chunk in (64, 5):
        torch.manual_seed(0)
        model = PairModel(tiny.weights(), Contrast(chunk=chunk, temperature=0.1), dropout=0.0)
        model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**batches)["loss"]
        loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.encoder.encoder.parameters()]))
    scale = gradients[0].abs().max()
    assert scale > 0
    assert (gradients[0] - gradients[1]).abs().max() < (0.03 if autocast else 1e-4) * scale


def random_batch(count: int) -> dict[str, contrast.Any]:
    random = np.random.default_rng(3)
    weights = tiny.weights()
    from assistant.models.build.tokenizer import build_tokenizer

    ready = ModelTokenizer(build_tokenizer(weights.vocabulary), 48, "query: ", "passage: ")
    texts = [" ".join(random.choice(WORDS, random.integers(2, 9))) for _ in range(3 * count)]
    items = ready.texts(texts)
    rows = [
        Pair(items[i], items[count + i], i, (items[2 * count + i],), (100 + i,)).example()
        for i in range(count)
    ]
    return collate(weights.vocabulary.pad)(rows)


# --- families, ranks, mining -----------------------------------------------------------------


def test_families_follow_chains_of_positive_pairs_only() -> None:
    pairs = [
        TextPair("a", "b"),
        TextPair("B ", "c", 1.0),
        TextPair("c", "d", 0.0),
        TextPair("e", "f", None, "ticket"),
        TextPair("g", "h", None, "ticket"),
    ]
    families = Families(pairs)
    assert families.of("a") == families.of("Ｂ") == families.of("c")
    assert families.of("d") not in (families.of("a"), families.of("never seen"))
    assert families.of("e") != families.of("g")
    grouped = Families(pairs, groups=True)
    assert grouped.of("e") == grouped.of("h")


def test_ranks_leave_out_the_family_and_count_ties_against() -> None:
    corpus = np.eye(4, dtype=np.float32)
    queries = unit(np.array([[3, 4, 2, 1], [1, 1, 0, 0]], dtype=np.float32))
    targets = np.array([0, 0])
    own = np.array([0, 9])
    assert filtered_ranks(queries, corpus, targets, own, np.array([0, 1, 2, 3])).tolist() == [2, 3]
    assert filtered_ranks(queries, corpus, targets, own, np.array([0, 0, 2, 9]))[0] == 1


def test_pair_scores_by_hand() -> None:
    places = {"q1": [1, 0.0], "q2": [0, 1.0], "q3": [0.6, 0.8], "x": [1, 0.0], "y": [0, 1.0]}

    def encode(texts: object) -> contrast.FloatArray:
        return np.array([places[t] for t in texts], dtype=np.float32)  # type: ignore[attr-defined]

    pairs = [TextPair("q1", "x"), TextPair("q2", "y"), TextPair("q3", "x")]
    found = pair_scores(pairs, encode, encode)
    assert found["recall_at_1"].value == pytest.approx(2 / 3)
    assert found["mrr_at_10"].value == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert found["ndcg_at_10"].value == pytest.approx((2 + 1 / np.log2(3)) / 3)
    assert found["recall_at_5"].value == 1
    assert "spearman" not in found
    labelled = [TextPair("q1", "x", 1), TextPair("q1", "y", 0), TextPair("q3", "y", 0)]
    assert pair_scores(labelled, encode, encode)["roc_auc"].value == 1
    with pytest.raises(InvalidInputError, match="0 pairs cannot measure"):
        pair_scores([], encode, encode)


def test_mined_negatives_are_near_wrong_and_of_different_families() -> None:
    corpus = unit(np.array([[1, 0], [0.99, 0.1], [0.9, 0.4], [0.89, 0.42], [0, 1]], np.float32))
    query = unit(np.array([[1, 0.05]], np.float32))
    families = np.array([0, 1, 2, 2, 3])
    found = hard_negatives(
        query, corpus, np.array([0]), np.array([0]), families, count=3, top=5, margin=0.95
    )
    # 1 is as near as the positive, so likely right; of family 2 the nearer one; then the far one.
    assert found[0].tolist() == [2, 4]
