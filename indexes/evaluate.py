"""Retrieval evaluation: folders in BEIR layout and the usual metrics.

BEIR: Thakur et al., "BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information
Retrieval Models" (2021). nDCG as trec_eval computes it: gain = grade, discount = log2(rank + 1).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.errors import LoadError

CUTOFF = 10
RECALL_CUTOFFS = (1, 5, 20)
DEPTH = max(CUTOFF, *RECALL_CUTOFFS)
"""How many ranked texts a query needs."""

_SHOWN_ERRORS = 10

Qrels = Mapping[str, Mapping[str, float]]
"""Query id to text id to grade; only grades above 0."""

Rank = Callable[[Sequence[str], int], Sequence[Sequence[str]]]
"""Query texts and a depth to ranked corpus ids, best first, for each query."""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A test collection. ``corpus`` and ``queries``: id to text, in file order.

    ``warnings`` name judgements left out since their query or text does not exist.
    """

    corpus: Mapping[str, str]
    queries: Mapping[str, str]
    qrels: Qrels
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """Means over the judged queries, each in [0, 1]."""

    queries: int
    corpus: int
    ndcg_at_10: float
    recall_at_1: float
    recall_at_5: float
    recall_at_20: float
    mrr_at_10: float

    def to_json(self) -> dict[str, float | int]:
        """Return the metrics under their usual names."""
        return {
            "queries": self.queries,
            "corpus": self.corpus,
            "ndcg@10": self.ndcg_at_10,
            "recall@1": self.recall_at_1,
            "recall@5": self.recall_at_5,
            "recall@20": self.recall_at_20,
            "mrr@10": self.mrr_at_10,
        }


def read_retrieval_set(folder: Path) -> RetrievalSet:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels.tsv`` (or ``qrels/test.tsv``).

    A text is its title, if any, and its body on the next line. Raises LoadError that names file
    and line of up to ten faults: no JSON, no id, an id twice, no text, a grade that is no number.
    """
    corpus = _read_texts(folder / "corpus.jsonl")
    queries = _read_texts(folder / "queries.jsonl")
    path = folder / "qrels.tsv"
    if not path.exists() and (folder / "qrels" / "test.tsv").exists():
        path = folder / "qrels" / "test.tsv"
    qrels: dict[str, dict[str, float]] = {}
    warnings: list[str] = []
    for number, query, text, grade in _read_judgements(path):
        if query not in queries:
            warnings.append(f"{path.name} line {number}: unknown query {query!r}")
        elif text not in corpus:
            warnings.append(f"{path.name} line {number}: unknown text {text!r}")
        elif grade > 0:
            qrels.setdefault(query, {})[text] = grade
    if not qrels:
        raise LoadError(f"{path}: judges no text of the corpus as relevant to any query")
    return RetrievalSet(corpus, queries, qrels, tuple(warnings))


def evaluate_retrieval(
    corpus: Mapping[str, str], queries: Mapping[str, str], qrels: Qrels, rank: Rank
) -> RetrievalMetrics:
    """Rank the corpus for every judged query and average the metrics.

    ``rank`` is called once, with all judged queries, and must return ids of ``corpus``. Raises
    ValueError when there is nothing judged, or when ``rank`` returns the wrong number of rankings
    or an id twice.
    """
    judged = [query for query in queries if qrels.get(query)]
    if not judged:
        raise ValueError("no query has a relevant text; check the ids in the judgements")
    rankings = rank([queries[query] for query in judged], DEPTH)
    if len(rankings) != len(judged):
        raise ValueError(f"{len(rankings)} rankings for {len(judged)} queries")
    rows = [
        _measure(list(ranking)[:DEPTH], qrels[query])
        for query, ranking in zip(judged, rankings, strict=True)
    ]
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    return RetrievalMetrics(len(judged), len(corpus), *means)


def _measure(ranking: list[str], grades: Mapping[str, float]) -> tuple[float, ...]:
    """Return nDCG@10, recall at each cutoff and the reciprocal rank of one query."""
    if len(set(ranking)) != len(ranking):
        raise ValueError("a ranking names the same text twice")
    gains = [grades.get(text, 0.0) for text in ranking]
    ideal = sorted(grades.values(), reverse=True)
    recalls = [sum(gain > 0 for gain in gains[:k]) / len(ideal) for k in RECALL_CUTOFFS]
    first = next((1 / place for place, gain in enumerate(gains[:CUTOFF], 1) if gain > 0), 0.0)
    return (_dcg(gains[:CUTOFF]) / _dcg(ideal[:CUTOFF]), *recalls, first)


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(place + 1) for place, gain in enumerate(gains, 1))


def _read_texts(path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    faults: list[str] = []
    for number, line in _lines(path):
        try:
            identifier, text = _parse_text(line)
            if identifier in texts:
                raise ValueError(f"id {identifier!r} came before")
            texts[identifier] = text
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    _raise_faults(path, faults)
    if not texts:
        raise LoadError(f"{path}: empty; one JSON object a line is needed")
    return texts


def _parse_text(line: str) -> tuple[str, str]:
    try:
        row: Any = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    identifier = row.get("_id", row.get("id"))
    if not isinstance(identifier, str | int) or isinstance(identifier, bool) or identifier == "":
        raise ValueError('no "_id"')
    text, title = row.get("text"), row.get("title") or ""
    if not isinstance(text, str) or not isinstance(title, str):
        raise ValueError('no "text"')
    return str(identifier), f"{title}\n{text}" if title else text


def _read_judgements(path: Path) -> Iterator[tuple[int, str, str, float]]:
    """Yield (line number, query id, text id, grade): three columns, or TREC's four."""
    faults: list[str] = []
    rows: list[tuple[int, str, str, float]] = []
    for number, line in _lines(path):
        columns = line.split("\t") if "\t" in line else line.split()
        try:
            if len(columns) not in (3, 4):
                raise ValueError(f"{len(columns)} columns, needed: query, text, grade")
            grade = float(columns[-1])
            if not math.isfinite(grade):
                raise ValueError(f"grade {columns[-1]!r}")
            rows.append((number, columns[0].strip(), columns[-2].strip(), grade))
        except ValueError as error:
            if number > 1 or len(columns) not in (3, 4):  # the first line may be a header
                faults.append(f"line {number}: {error}")
    _raise_faults(path, faults)
    yield from rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise LoadError(f"{path}: missing; a BEIR folder has it") from error
    except UnicodeDecodeError as error:
        raise LoadError(f"{path}: not UTF-8 ({error})") from error


def _raise_faults(path: Path, faults: Sequence[str]) -> None:
    if faults:
        more = f"; and {len(faults) - _SHOWN_ERRORS} more" if len(faults) > _SHOWN_ERRORS else ""
        raise LoadError(f"{path}: {'; '.join(faults[:_SHOWN_ERRORS])}{more}")
