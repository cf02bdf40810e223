"""Rerankers and pair matching: mined negatives, ranks, thresholds, whole runs on a tiny base."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_base as tiny
import tiny_rows
from sklearn.metrics import accuracy_score, roc_auc_score

from assistant.errors import InvalidInputError
from assistant.models.build.bases import open_base
from assistant.models.build.tuned import TunedWeights
from assistant.models.build.tuned_build import build_tuned
from assistant.models.loading import open_reranker
from indexes.types import FloatArray
from training import run as running
from training.data.rows import TextPair
from training.pairing import (
    Candidates,
    Passages,
    pairs,
    rank_metrics,
    reciprocal,
    with_negatives,
)
from training.reporting import Silent
from training.tasks import reranker

LONG = {"epochs": 16, "learning_rate": 3e-3}
COLUMNS = {"text_a": "q1", "text_b": "q2", "label": "same"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base_folder(tmp_path_factory.mktemp("base") / "tiny")


class Letters:
    """Vectors of how often each letter stands in a text: alike texts lie close together."""

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        rows = np.zeros((len(texts), 128), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.lower():
                row[ord(letter) % 128] += 1
        unit: FloatArray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        return unit

    encode_passages = encode_queries


KNOWN = [
    TextPair("how to open", "visit a branch to open it"),
    TextPair("opening an account", "visit a branch to open it"),
    TextPair("opening an account", "or use the web form"),
    TextPair("card lost", "call us at once"),
    TextPair("card stolen", "Call us at  once!"),
    TextPair("what fee", "zzz qqq"),
]


def recipe(base: Path, folder: Path, **changes: Any) -> Any:
    tiny_rows.pairs(folder / "rows.jsonl")
    data = tiny_rows.data(
        folder, "rows.jsonl", columns=COLUMNS, leaks={"unit": "row", "near": False}
    )
    return tiny.recipe(base, "reranker", **{"data": data, "train": LONG, **changes})


def test_right_passages_are_all_that_hang_together() -> None:
    passages = Passages(Letters(), KNOWN)
    right = {passages.texts[place] for place in passages.right("how to open")}
    assert right == {"visit a branch to open it", "or use the web form"}
    assert passages.right("never seen") == frozenset()


def test_negatives_are_neither_right_nor_near_copies() -> None:
    passages = Passages(Letters(), KNOWN)
    made = with_negatives(KNOWN, passages, count=9, top=9, seed=1)
    assert [row.label for row in made].count(1.0) == len(KNOWN)
    wrong = {(row.text_a, row.text_b) for row in made if row.label == 0}
    assert wrong
    assert ("how to open", "or use the web form") not in wrong
    assert ("card lost", "Call us at  once!") not in wrong
    assert made == with_negatives(KNOWN, passages, count=9, top=9, seed=1)
    assert (
        sum(row.label == 0 for row in with_negatives(KNOWN, passages, count=1, top=9, seed=1)) == 6
    )


LONG_PASSAGE = (
    "Branches open at nine on every working day of the year. Lost cards are blocked at once. "
    "Zebras quickly jump over xylophones in the evening, as everybody knows by now."
)


def test_windows_are_the_sentences_nearest_to_the_question() -> None:
    known = [TextPair("lost cards blocked", LONG_PASSAGE), TextPair("zebra", "zoo")]
    passages = Passages(Letters(), known, window_tokens=8)
    place = passages.texts.index(LONG_PASSAGE)
    asked = [("lost cards blocked", place), ("zebras xylophones jump", place)]
    assert passages.read(asked) == [
        "Lost cards are blocked at once.",
        "Zebras quickly jump over xylophones in the evening, as everybody knows by now.",
    ]
    (wide,) = Passages(Letters(), known, window_tokens=200).read(asked[:1])
    assert wide == LONG_PASSAGE
    assert Passages(Letters(), known).read(asked) == [LONG_PASSAGE] * 2
    made = with_negatives(known, passages, count=1, top=2, seed=1)
    assert made[0].text_b == "Lost cards are blocked at once."
    assert {row.text_b for row in made if row.label == 0} <= {
        "zoo",
        LONG_PASSAGE.split(". ")[0] + ".",
    }


def test_passages_without_a_sentence_are_read_whole() -> None:
    passages = Passages(Letters(), [TextPair("what", "—"), TextPair("fee", "5")], window_tokens=8)
    assert passages.read([("what", passages.texts.index("—"))]) == ["—"]


def test_passages_held_out_are_no_negatives() -> None:
    passages = Passages(Letters(), KNOWN)
    made = with_negatives(KNOWN[:4], passages, count=9, top=9, seed=1)
    assert {row.text_b for row in made} <= {row.text_b for row in KNOWN[:4]}
    assert any(row.label == 0 for row in made)


def test_a_question_is_no_candidate_of_its_own() -> None:
    rows = [
        TextPair("my card", "the card"),
        TextPair("the card", "my  CARD"),
        TextPair("fee", "fees"),
    ]
    passages = Passages(Letters(), rows)
    (found,) = passages.candidates(["my card", "My card"], 5)
    assert "my  CARD" not in [passages.texts[place] for place in found.found]
    assert Passages(Letters(), []).candidates(["x"], 3) == []


def test_candidates_come_nearest_first() -> None:
    passages = Passages(Letters(), KNOWN)
    (found,) = passages.candidates(["call us"], 3)
    scores = Letters().encode_queries(["call us"]) @ Letters().encode_passages(passages.texts).T
    assert list(found.found) == np.argsort(-scores[0], kind="stable")[:3].tolist()


def test_ranks_by_hand() -> None:
    asked = [
        Candidates("a", (4, 7, 9), frozenset({9})),
        Candidates("b", (1, 2, 3), frozenset({8})),
        Candidates("c", (5, 6, 0), frozenset({5})),
    ]
    scores = [
        np.array(row, dtype=np.float32) for row in ([0.1, 0.2, 0.9], [1, 2, 3], [0.4, 0.5, 0])
    ]
    found = {name: metric.value for name, metric in rank_metrics(asked, scores).items()}
    assert found["mrr_at_10"] == pytest.approx((1 + 0 + 1 / 2) / 3)
    assert found["recall_at_1"] == pytest.approx(1 / 3)
    assert found["encoder_mrr_at_10"] == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert found["reachable"] == pytest.approx(2 / 3)
    assert reciprocal(range(20), frozenset({11})) == 0


def test_blank_pairs_are_left_out() -> None:
    assert pairs([TextPair("a", " "), TextPair("", "b"), KNOWN[0]]) == [KNOWN[0]]


def test_one_class_is_said(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path)
    rows = [{"q1": f"my card {n}", "q2": f"the fee {n}", "same": 1} for n in range(30)]
    tiny_rows.write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InvalidInputError, match="match"):
        running.run(made, tiny.settings(tmp_path), Silent())


def test_from_labelled_pairs_to_a_served_reranker(base: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tmp_path)
    # Two layers without any training know nothing of pairs: they take a dense head to learn fast.
    made = recipe(base, tmp_path, heads={"match": {"dense": True}})
    outcome = running.run(made, settings, Silent(), promote=True)
    metrics = outcome.passport.metrics["test"]
    assert metrics["accuracy"].value > 0.8
    job = running.make_job(made, settings, Silent(), outcome.folder)
    with closing(open_reranker(settings)) as served:
        rows = pairs(job.data.test)
        scores = served.score([(row.text_a, row.text_b) for row in rows])
        threshold = served.head.threshold
        best = served.rank("what is my loan 3", ["help fee please 3", "help loan please 3"])[0]
    truth = [int(row.label or 0) for row in rows]
    assert metrics["roc_auc"].value == pytest.approx(roc_auc_score(truth, scores))
    assert metrics["accuracy"].value == pytest.approx(accuracy_score(truth, scores >= threshold))
    assert best[0] == 1


def test_long_pairs_are_cut_not_refused(base: Path, tmp_path: Path) -> None:
    made = recipe(base, tmp_path, train={**LONG, "max_tokens": 16, "epochs": 1})
    rows = [
        {"q1": f"my card {n} " + "help " * 40, "q2": "fee " * 90 + str(n), "same": n % 2}
        for n in range(40)
    ]
    tiny_rows.write(tmp_path / "rows.jsonl", rows)
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    with closing(
        open_reranker(tiny.settings(tmp_path), str(outcome.version.part("int8")))
    ) as served:
        assert served.score([("help " * 200, "card " * 200)]).shape == (1,)


def encoder(base: Path, folder: Path) -> Path:
    """The tiny base as a served encoder."""
    opened = open_base(str(base))
    plain = TunedWeights(
        "tiny", "encoder", opened.name, opened.sha256, 48, "query: ", "passage: ", "MIT", ()
    )
    build_tuned(plain, opened, folder)
    return folder


def test_pairs_without_labels_learn_to_rerank(base: Path, tmp_path: Path) -> None:
    topics = ("card", "loan", "fee", "rate", "transfer", "account", "money", "shares")
    for split, numbers in (
        ("train", range(64)),
        ("valid", range(64, 80)),
        ("test", range(80, 104)),
    ):
        rows = [
            {"q1": f"how {topics[n % 8]} {n}", "q2": f"help {topics[n % 8]} please"}
            for n in numbers
        ]
        tiny_rows.write(tmp_path / f"{split}.jsonl", rows)
    data = tiny_rows.data(
        tmp_path,
        "train.jsonl",
        valid="valid.jsonl",
        test="test.jsonl",
        columns={"text_a": "q1", "text_b": "q2"},
        leaks={"unit": "row", "near": False},
        pairing={"how": "columns"},
    )
    made = tiny.recipe(
        base,
        "reranker",
        data=data,
        train={**LONG, "epochs": 40},
        gate={"metric": "mrr_at_10"},
        pairs={"negatives": 3, "mine_top": 20},
    )
    folder = encoder(base, tmp_path / "encoder")
    settings = tiny.settings(tmp_path).model_copy(update={"encoder": str(folder)})
    outcome = running.run(made, settings, Silent())
    found = outcome.passport.metrics["test"]
    assert found["mrr_at_10"].value > found["encoder_mrr_at_10"].value
    assert 0 < found["recall_at_1"].value <= found["reachable"].value
    assert outcome.passport.gate.metric == "test.mrr_at_10"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["top_layers", "lora", "adalora", "prompt"])
def test_every_way_of_tuning_learns(base: Path, tmp_path: Path, method: str) -> None:
    made = recipe(
        base,
        tmp_path,
        tuning={"method": method, "rank": 8, "layers": 1, "tokens": 4},
        train={**LONG, "epochs": 30, "head_learning_rate": 1e-2},
        heads={"match": {"pooling": "first"}},
        # So small a model decides by a hair, so that a rounding may turn several of 16 rows.
        export={"max_loss": 0.5},
    )
    outcome = running.run(made, tiny.settings(tmp_path), Silent())
    assert outcome.passport.metrics["valid"]["roc_auc"].value > 0.55
    assert outcome.passport.parity["torch_pooled_difference"] < 1e-3


def test_accumulated_batches_are_one_large_batch(base: Path, tmp_path: Path) -> None:
    plain = {"epochs": 2, "learning_rate": 3e-3, "group_by_length": False}
    found = []
    for name, sizes in (("whole", (16, 1)), ("parts", (4, 4))):
        made = recipe(
            base, tmp_path, train={**plain, "batch_size": sizes[0], "accumulate": sizes[1]}
        )
        folder = tmp_path / name
        folder.mkdir()
        job = running.make_job(made, tiny.settings(tmp_path), Silent(), folder)
        history = reranker.train(job).history
        found.append([line["grad_norm"] for line in history if "grad_norm" in line])
    assert len(found[0]) == len(found[1]) > 2
    np.testing.assert_allclose(found[1], found[0], rtol=0.05)
