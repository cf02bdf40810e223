"""Classifiers and rerankers against plain numpy and, where it is installed, PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tiny
import tuned_models as made

from assistant.errors import BusyError, ModelError
from assistant.models.classifier import Classifier, predictions
from assistant.models.headed import HeadedModel
from assistant.models.heads import HeadSpec
from assistant.models.reranker import Reranker

TEXTS = ["lost card", "银行卡丢了？", "fee", "", "a bank fee and a lost card " * 9, "Москва 🙂"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeadedModel]:
    opened = made.model(tmp_path_factory.mktemp("c") / "m", made.SENTIMENT, made.TOPICS)
    yield opened
    opened.close()


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def test_probabilities_are_those_of_the_weights(model: HeadedModel) -> None:
    found = Classifier(model, "sentiment").classify_heads(TEXTS)
    for place, text in enumerate(TEXTS):
        ids = model.tokenizer.text(text).tokens.ids
        want = made.reference((made.SENTIMENT, made.TOPICS), ids)
        ours = found["sentiment"][place]
        np.testing.assert_allclose(
            list(ours.probabilities.values()), softmax(want["sentiment"]), atol=1e-5
        )
        assert ours.label == made.SENTIMENT.labels[int(want["sentiment"].argmax())]
        assert ours.probability == max(ours.probabilities.values())
        assert tuple(ours.probabilities) == made.SENTIMENT.labels
        topics = found["topics"][place]
        np.testing.assert_allclose(
            list(topics.probabilities.values()), 1 / (1 + np.exp(-want["topics"])), atol=1e-5
        )


@pytest.mark.slow
def test_logits_are_those_of_transformers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = tiny.hugging_face_folder(
        tmp_path / "hf", tiny.weights(), vocab_size=len(tiny.PIECES), type_vocab_size=1
    )
    bert = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    heads = (replace(made.SENTIMENT, pooling="first"), replace(made.TOPICS, pooling="first"))
    tensors = made.tuned(*heads).tensors
    model = made.model(tmp_path / "m", *heads)
    for text in TEXTS:
        tokens = model.tokenizer.text(text).tokens
        with torch.no_grad():
            hidden = bert(torch.tensor(tokens.ids[None].astype(np.int64))).last_hidden_state[0, 0]
        for head in heads:
            weight = torch.tensor(tensors[f"head.{head.name}.out.w"])
            bias = torch.tensor(tensors[f"head.{head.name}.out.b"])
            np.testing.assert_allclose(
                model.run([tokens])[0][head.name][0], (weight @ hidden + bias).numpy(), atol=1e-4
            )
    model.close()


def test_many_at_once_equal_one_by_one(model: HeadedModel) -> None:
    classifier = Classifier(model, "sentiment")
    alone = [classifier.classify([text])[0] for text in TEXTS]
    assert classifier.classify(TEXTS) == alone
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda t: classifier.classify([t])[0], TEXTS * 8)) == alone * 8
    assert classifier.classify([]) == []


def logits(head: HeadSpec, row: list[float]) -> list[dict[str, np.ndarray]]:
    return [{head.name: np.array([row], dtype=np.float32)}]


def test_a_doubtful_best_label_is_rejected() -> None:
    head = replace(made.SENTIMENT, threshold=0.6, reject_label="out_of_scope")
    sure = predictions(head, logits(head, [3.0, 0.0, 0.0]))[0]
    assert (sure.label, sure.labels) == ("negative", ("negative",))
    unsure = predictions(head, logits(head, [0.2, 0.0, 0.0]))[0]
    assert (unsure.label, unsure.labels) == ("out_of_scope", ("out_of_scope",))
    assert unsure.probability == pytest.approx(1 - max(unsure.probabilities.values()))
    assert "out_of_scope" not in unsure.probabilities
    kept = predictions(replace(head, reject_label=""), logits(head, [0.2, 0.0, 0.0]))[0]
    assert kept.label == "negative"


def test_temperature_flattens_probabilities() -> None:
    hot = replace(made.SENTIMENT, temperature=2.0)
    found = predictions(hot, logits(hot, [2.0, 0.0, -2.0]))[0]
    np.testing.assert_allclose(
        list(found.probabilities.values()), softmax(np.array([1.0, 0.0, -1.0])), atol=1e-6
    )


def test_several_labels_hold_or_none() -> None:
    head = made.TOPICS
    found = predictions(head, logits(head, [0.5, -1.0, 2.0, -3.0]))[0]
    assert (found.label, found.labels) == ("fees", ("fees", "cards"))
    none = predictions(head, logits(head, [-2.0, -1.0, -3.0, -3.0]))[0]
    assert (none.label, none.labels) == ("", ())
    assert none.probability == pytest.approx(1 - max(none.probabilities.values()))
    other = predictions(replace(head, reject_label="other"), logits(head, [-2.0] * 4))[0]
    assert (other.label, other.labels) == ("other", ())


def test_a_model_refuses_what_it_is_not_for(model: HeadedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"several heads \(sentiment, topics\)"):
        Classifier(model)
    with pytest.raises(ModelError, match="no head 'intent' for that, but sentiment, topics"):
        Classifier(model, "intent")
    with pytest.raises(ModelError, match="3 labels apart"):
        Reranker(model, "sentiment")
    tagger = made.model(tmp_path / "t", made.TAGS, task="tagger")
    with pytest.raises(ModelError, match=r"tagger/tiny cannot classify.*tagger \(token\)"):
        Classifier(tagger)
    tagger.close()


def test_fingerprints_tell_thresholds_apart(model: HeadedModel) -> None:
    stricter = replace(made.SENTIMENT, threshold=0.9)
    other = HeadedModel(
        replace(model.manifest, heads=(stricter, made.TOPICS)),
        model.tokenizer._tokenizer,
        model._backend,
    )
    assert other.fingerprint != model.fingerprint
    assert len(model.fingerprint) == 16


def test_closing_twice_is_fine_and_callers_are_told(tmp_path: Path) -> None:
    classifier = Classifier(made.model(tmp_path / "m", made.SENTIMENT))
    classifier.close()
    classifier.close()
    with pytest.raises(BusyError, match="shutting down"):
        classifier.classify(["late"])


def test_pairs_are_judged_as_the_weights_say(tmp_path: Path) -> None:
    reranker = Reranker(made.model(tmp_path / "m", made.PAIR))
    passages = ["银行卡丢了", "bank fee", "lost card", "", "lost card", "fee " * 90]
    pairs = [("lost card?", passage) for passage in passages]
    scores = reranker.score(pairs)
    assert scores.dtype == np.float32 and scores.shape == (6,)
    for pair, score in zip(pairs, scores, strict=True):
        ids = reranker.model.tokenizer.pair(*pair).tokens.ids
        want = 1 / (1 + np.exp(-made.reference((made.PAIR,), ids)["match"][0]))
        assert score == pytest.approx(want, abs=1e-5)
    ranked = reranker.rank("lost card?", passages)
    assert [place for place, _ in ranked] == np.argsort(-scores, kind="stable").tolist()
    assert [score for _, score in ranked] == sorted(scores.tolist(), reverse=True)
    assert ranked.index((2, float(scores[2]))) + 1 == ranked.index((4, float(scores[4])))
    assert reranker.score([]).shape == (0,) and reranker.rank("q", []) == []
    reranker.close()
