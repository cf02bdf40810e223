"""Metrics against trec_eval and by hand; reading of good and bad folders."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from indexes.errors import LoadError
from indexes.evaluate import evaluate_retrieval, read_retrieval_set


def write_folder(
    folder: Path,
    corpus: str = '{"_id":"d1","title":"T","text":"one"}\n{"_id":2,"text":"two"}\n',
    queries: str = '{"_id":"q1","text":"first"}\n',
    qrels: str = "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
) -> Path:
    (folder / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    (folder / "qrels.tsv").write_text(qrels, encoding="utf-8")
    return folder


def test_metrics_by_hand() -> None:
    corpus = {f"d{i}": "" for i in range(30)}
    qrels = {"q1": {"d0": 1.0, "d1": 1.0}, "q2": {"d5": 2.0}}
    rankings = [[f"d{i}" for i in (9, 0, 8, 7, 6, 1)], [f"d{i}" for i in range(20, 30)]]
    metrics = evaluate_retrieval(
        corpus, {"q1": "a", "q2": "b", "q3": "not judged"}, qrels, lambda _texts, _k: rankings
    )
    ideal = 1 + 1 / math.log2(3)
    assert metrics.queries == 2
    assert metrics.ndcg_at_10 == pytest.approx((1 / math.log2(3) + 1 / math.log2(7)) / ideal / 2)
    assert metrics.recall_at_1 == 0
    assert metrics.recall_at_5 == pytest.approx(0.25)
    assert metrics.recall_at_20 == pytest.approx(0.5)
    assert metrics.mrr_at_10 == pytest.approx(0.25)


def test_metrics_equal_those_of_trec_eval() -> None:
    rng = np.random.default_rng(5)
    corpus = {f"d{i}": "" for i in range(60)}
    qrels: dict[str, dict[str, float]] = {}
    run: dict[str, dict[str, float]] = {}
    rankings = []
    for q in range(40):
        judged = rng.choice(60, rng.integers(1, 15), replace=False)
        qrels[f"q{q}"] = {f"d{d}": float(rng.integers(1, 4)) for d in judged}
        order = rng.permutation(60)[: rng.integers(1, 40)]
        rankings.append([f"d{d}" for d in order])
        run[f"q{q}"] = {f"d{d}": 100.0 - place for place, d in enumerate(order)}
    ours = evaluate_retrieval(corpus, {q: q for q in qrels}, qrels, lambda _texts, _k: rankings)
    judgements = {q: {d: int(g) for d, g in row.items()} for q, row in qrels.items()}
    trec = pytrec_eval.RelevanceEvaluator(judgements, {"ndcg_cut.10", "recall.1,5,20"})
    theirs = trec.evaluate(run)

    def mean(name: str) -> float:
        return float(np.mean([row[name] for row in theirs.values()]))

    assert ours.ndcg_at_10 == pytest.approx(mean("ndcg_cut_10"))
    assert ours.recall_at_1 == pytest.approx(mean("recall_1"))
    assert ours.recall_at_5 == pytest.approx(mean("recall_5"))
    assert ours.recall_at_20 == pytest.approx(mean("recall_20"))


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n"])
def test_a_folder_with_and_without_header(tmp_path: Path, header: str) -> None:
    found = read_retrieval_set(write_folder(tmp_path, qrels=f"{header}q1\td1\t1\r\nq1\t2\t0\n\n"))
    assert found.corpus == {"d1": "T\none", "2": "two"}
    assert found.qrels == {"q1": {"d1": 1.0}}
    assert found.warnings == ()


def test_trec_columns_and_the_official_beir_place(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels.tsv").unlink()
    (tmp_path / "qrels" / "test.tsv").write_text("q1 0 2 1\n", encoding="utf-8")
    assert read_retrieval_set(tmp_path).qrels == {"q1": {"2": 1.0}}


def test_judgements_of_unknown_ids_are_left_out_and_named(tmp_path: Path) -> None:
    found = read_retrieval_set(write_folder(tmp_path, qrels="q1\td1\t1\nq9\td1\t1\nq1\td9\t1\n"))
    assert found.qrels == {"q1": {"d1": 1.0}}
    assert found.warnings == (
        "qrels.tsv line 2: unknown query 'q9'",
        "qrels.tsv line 3: unknown text 'd9'",
    )


@pytest.mark.parametrize(
    ("part", "content", "expected"),
    [
        ("corpus", '{"_id":"a","text":"x"}\nnot json\n', "line 2: no JSON"),
        ("corpus", '{"_id":"a","text":"x"}\n\n{"_id":"a","text":"y"}\n', "line 3: id 'a' came"),
        ("corpus", '{"text":"x"}\n', 'line 1: no "_id"'),
        ("corpus", '{"_id":"a","text":7}\n', 'line 1: no "text"'),
        ("corpus", '["a"]\n', "line 1: not a JSON object"),
        ("corpus", "", "empty"),
        ("queries", '{"_id":true,"text":"x"}\n', 'line 1: no "_id"'),
        ("qrels", "q1\td1\t1\nq1\td1\n", "line 2: 2 columns"),
        ("qrels", "q1\td1\t1\nq1\td1\thigh\n", "line 2: could not convert"),
        ("qrels", "q1\td1\t1\nq1\td1\tnan\n", "line 2: grade 'nan'"),
        ("qrels", "q1\td1\t0\n", "judges no text"),
    ],
)
def test_faults_are_named_by_file_and_line(
    tmp_path: Path, part: str, content: str, expected: str
) -> None:
    folder = write_folder(tmp_path, **{part: content})
    with pytest.raises(LoadError) as raised:
        read_retrieval_set(folder)
    assert expected in str(raised.value)
    assert part in str(raised.value)


def test_many_faults_are_counted_not_listed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, corpus="bad\n" * 1000)
    with pytest.raises(LoadError, match="and 990 more"):
        read_retrieval_set(folder)


def test_missing_files_and_wrong_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"corpus\.jsonl: missing"):
        read_retrieval_set(tmp_path)
    write_folder(tmp_path)
    (tmp_path / "queries.jsonl").write_bytes('{"_id":"q","text":"费"}'.encode("gbk"))
    with pytest.raises(LoadError, match="not UTF-8"):
        read_retrieval_set(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    row = json.dumps({"_id": "d1", "text": "one"})
    assert "d1" in read_retrieval_set(write_folder(tmp_path, corpus=f"\ufeff{row}\n")).corpus


@pytest.mark.parametrize(
    ("rankings", "expected"), [([], "0 rankings"), ([["d1", "d1"]], "same text twice")]
)
def test_wrong_rankings_are_refused(rankings: list[list[str]], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        evaluate_retrieval({"d1": ""}, {"q": "x"}, {"q": {"d1": 1.0}}, lambda _texts, _k: rankings)
