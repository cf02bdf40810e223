"""``assistant eval pairs``, ``qa`` and ``ner`` end to end, figures checked by hand."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from seqeval.metrics import f1_score as seqeval_f1
from served_models import WORDS, Evaluate, check_shape, texts, versions, write_lines
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from assistant.evaluation import f1_score as reading_f1
from assistant.evaluation.entities import EntitySpan
from assistant.evaluation.sentences import joined, tags_of_spans
from assistant.models import shipped
from assistant.models.loading import open_reader, open_reranker, open_tagger
from assistant.settings import Settings

# --- pairs -------------------------------------------------------------------------------------


def pair_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    dice = random.Random(seed)
    rows = []
    for a, b in zip(texts(count, seed), texts(count, seed + 1), strict=True):
        label = int(dice.random() < 0.5)
        rows.append({"sentence1": a, "sentence2": a if label else b, "label": label})
    return rows


def test_pairs_by_the_reranker(evaluate: Evaluate, settings_of: Settings, tmp_path: Path) -> None:
    rows = pair_rows(90)
    file = write_lines(tmp_path / "dev.jsonl", rows)
    model = open_reranker(settings_of)
    scores = model.score([(row["sentence1"], row["sentence2"]) for row in rows])
    model.close()
    result = evaluate("pairs", "--data", tmp_path)
    check_shape(result, "reranker/pairs@v1", 90, file)
    gold = [row["label"] for row in rows]
    metrics = {name: metric["value"] for name, metric in result["metrics"].items()}
    assert metrics["roc_auc"] == pytest.approx(roc_auc_score(gold, scores), abs=1e-6)
    assert metrics["f1"] == pytest.approx(f1_score(gold, scores >= 0.4), abs=1e-6)
    assert (result["method"], result["threshold"]) == ("reranker", 0.4)
    assert result["threshold_source"] == "the model's own"
    fixed = evaluate("pairs", "--data", file, "--threshold", "0.9")
    assert fixed["metrics"]["accuracy"]["value"] == pytest.approx(
        accuracy_score(gold, scores >= 0.9), abs=1e-6
    )
    assert fixed["threshold_source"] == "--threshold"


def test_the_threshold_may_be_chosen_on_other_pairs(
    evaluate: Evaluate, settings_of: Settings, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "test.jsonl", pair_rows(60))
    valid_rows = pair_rows(60, seed=9)
    valid = write_lines(tmp_path / "valid.jsonl", valid_rows)
    result = evaluate("pairs", "--data", file, "--valid", valid)
    assert result["threshold_source"] == f"best accuracy on {valid}"
    model = open_reranker(settings_of)
    scores = model.score([(row["sentence1"], row["sentence2"]) for row in valid_rows])
    model.close()
    gold = np.array([row["label"] for row in valid_rows])
    reached = ((scores >= result["threshold"]) == gold).mean()
    assert reached == max(((scores >= level) == gold).mean() for level in scores)
    both = evaluate("pairs", "--data", file, "--valid", valid, "--threshold", "0.5", code=2)
    assert "give one of them" in both["stderr"]


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny encoder as the default one."""
    folder = versions.finished(tmp_path / "encoder")
    monkeypatch.setenv("ASSISTANT_ENCODER", str(folder / "int8"))
    return folder


def test_pairs_by_the_encoder_where_no_reranker_is_in_use(
    evaluate: Evaluate, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "nothing")
    rows = pair_rows(80)
    file = write_lines(tmp_path / "dev.jsonl", rows)
    result = evaluate("pairs", "--data", file, data_dir=tmp_path / "empty")
    assert result["method"] == "encoder"
    assert "No reranker is in use: scored by the cosine of the encoder" in result["stderr"]
    assert len(result["threshold"]) == 2
    assert "every other row" in result["threshold_source"]
    # Equal texts have cosine 1, and others do not.
    assert result["metrics"]["roc_auc"]["value"] > 0.95
    assert result["metrics"]["accuracy"]["value"] > 0.9
    assert "ece" not in result["metrics"]
    asked = evaluate("pairs", "--data", file, "--method", "encoder")
    assert asked["method"] == "encoder"
    assert asked["warnings"] == []
    refused = evaluate(
        "pairs", "--data", file, "--method", "reranker", code=1, data_dir=tmp_path / "empty"
    )
    assert "No reranker model is in use" in refused["stderr"]
    one_kind = write_lines(tmp_path / "one.jsonl", [row for row in rows if row["label"]])
    few = evaluate("pairs", "--data", one_kind, "--method", "encoder", code=2)
    assert "too few pairs of both kinds" in few["stderr"]


# --- qa ----------------------------------------------------------------------------------------


def test_qa(evaluate: Evaluate, settings_of: Settings, tmp_path: Path) -> None:
    passages = texts(30, seed=7, length=12)
    pairs = [(question, passage) for question, passage in zip(texts(30, 8), passages, strict=True)]
    model = open_reader(settings_of)
    found = model.read_pairs(pairs)
    model.close()
    gold = [
        [] if n % 3 == 0 else [one.text if n % 3 == 1 else passage.split()[0]]
        for n, (one, passage) in enumerate(zip(found, passages, strict=True))
    ]
    data = {
        "data": [
            {
                "paragraphs": [
                    {
                        "context": passage,
                        "qas": [
                            {
                                "id": str(n),
                                "question": question,
                                "answers": [{"text": a, "answer_start": 0} for a in gold[n]],
                                "is_impossible": not gold[n],
                            }
                        ],
                    }
                    for n, (question, passage) in enumerate(pairs)
                ]
            }
        ]
    }
    file = tmp_path / "test.json"
    file.write_text(json.dumps(data))
    wrong = tmp_path / "wrong.jsonl"
    result = evaluate("qa", "--data", tmp_path, "--language", "en", "--errors", wrong)
    check_shape(result, "reader/spans@v1", 30, file)
    said = ["" if one.no_answer else one.text for one in found]
    expected = np.mean(
        [reading_f1(text, answers) for text, answers in zip(said, gold, strict=True)]
    )
    assert result["metrics"]["f1"]["value"] == pytest.approx(expected, abs=1e-6)
    assert result["declined"] == sum(not text for text in said)
    assert result["may_decline"] is True
    assert result["best_f1"] >= result["metrics"]["f1"]["value"] - 1e-9
    exact = result["metrics"]["exact_match"]["value"]
    assert len(wrong.read_text().splitlines()) == round(30 * (1 - exact))

    forced = evaluate("qa", "--data", file, "--language", "en", "--no-answer", "off")
    assert forced["declined"] == 0
    expected = np.mean([reading_f1(o.text, g) for o, g in zip(found, gold, strict=True)])
    assert forced["metrics"]["f1"]["value"] == pytest.approx(expected, abs=1e-6)


def test_qa_where_all_questions_have_an_answer(evaluate: Evaluate, tmp_path: Path) -> None:
    rows = [
        {"question": "卡丢了？", "context": "银行卡丢了。", "answers": ["银行"]},
        {"question": "Where is the card?", "context": "The card is in the bank.", "answer": "bank"},
    ]
    result = evaluate("qa", "--data", write_lines(tmp_path / "a.jsonl", rows))
    assert result["may_decline"] is False
    assert result["languages"] == {"en": 1, "zh": 1}
    assert "no_answer_accuracy" not in result["metrics"]
    assert result["best_threshold"] is None


# --- ner ---------------------------------------------------------------------------------------


def test_ner(evaluate: Evaluate, settings_of: Settings, tmp_path: Path) -> None:
    dice = random.Random(2)
    sentences = [dice.choices(WORDS, k=dice.randint(2, 9)) for _ in range(60)]
    written = [joined(tokens) for tokens in sentences]
    model = open_tagger(settings_of)
    found = model.tag([text for text, _ in written])
    model.close()
    said = [
        list(tags_of_spans([EntitySpan(e.label, e.start, e.end) for e in row], offsets))
        for row, (_, offsets) in zip(found, written, strict=True)
    ]
    assert any(tag != "O" for tags in said for tag in tags)
    gold = [tags if n % 3 else ["B-LAW", *["O"] * (len(tags) - 1)] for n, tags in enumerate(said)]
    file = tmp_path / "test.conll"
    file.write_text(
        "\n\n".join(
            "\n".join(f"{token}\t{tag}" for token, tag in zip(tokens, tags, strict=True))
            for tokens, tags in zip(sentences, gold, strict=True)
        )
    )
    wrong = tmp_path / "wrong.csv"
    result = evaluate("ner", "--data", tmp_path, "--errors", wrong)
    check_shape(result, "tagger/names@v1", 60, file)
    assert result["metrics"]["f1"]["value"] == pytest.approx(seqeval_f1(gold, said), abs=1e-6)
    assert result["unknown_labels"] == {"LAW": 20}
    assert "LAW (20)" in result["stderr"]
    assert {row["label"] for row in result["tags"]} >= {"O", "B-LAW"}
    rows = list(csv.DictReader(wrong.open(encoding="utf-8-sig")))
    assert json.loads(rows[0]["expected"])[0]["label"] == "LAW"

    mapped = evaluate("ner", "--data", file, "--map", "LAW=ORG")
    assert mapped["unknown_labels"] == {}
    assert mapped["metrics"]["recall"]["value"] >= result["metrics"]["recall"]["value"]


def test_a_text_beyond_the_limit_is_named(evaluate: Evaluate, tmp_path: Path) -> None:
    huge = "card " * 250_000
    rows = [{"text": "card", "entities": []}, {"text": huge, "entities": []}]
    found = evaluate("ner", "--data", write_lines(tmp_path / "a.jsonl", rows), code=2)
    message = "a.jsonl, line 2: a text of 1,250,000 characters; the limit is 1,000,000. Split it."
    assert message in found["stderr"]
    rows = [{"id": "q7", "question": "card?", "context": huge, "answers": []}]
    found = evaluate("qa", "--data", write_lines(tmp_path / "b.jsonl", rows), code=2)
    assert "b.jsonl, question q7: a text of 1,250,000 characters" in found["stderr"]


def test_five_million_characters_are_classified_by_their_beginning(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    rows = [{"text": "card " * 1_000_000, "label": "neutral"}]
    file = write_lines(tmp_path / "a.jsonl", rows)
    assert evaluate("classify", "--data", file, "--task", "sentiment")["rows"] == 1
