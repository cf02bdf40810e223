"""``assistant eval retrieval``: rank a corpus for its queries."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assistant.commands.common import (
    data_dir_option,
    json_option,
    load_settings,
    note,
    print_json,
    print_line,
)
from assistant.commands.evaluate.ranking import Ranking
from assistant.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from assistant.models.reranker import Reranker
    from assistant.settings import Settings

_WARNINGS_SHOWN = 5


@click.command()
@click.option(
    "--data",
    required=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv.",
)
@click.option(
    "--method",
    type=click.Choice(["hybrid", "dense", "lexical"]),
    default="hybrid",
    show_default=True,
    help="The search that answers use, or one half of it.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(8, 512),
    default=256,
    show_default=True,
    help="Longer texts are cut at this many encoder tokens.",
)
@click.option(
    "--rerank",
    "candidates",
    type=click.IntRange(0, 100),
    default=None,
    metavar="N",
    help="Texts that the reranker reads for a query, as for an answer; 0: none.  [default: as the "
    "settings say with hybrid, else 0]",
)
@json_option
@data_dir_option
def retrieval(
    data: Path, method: str, max_tokens: int, candidates: int | None, as_json: bool
) -> None:
    """Rank the corpus for each query: nDCG@10, recall@1/5/20 and MRR@10."""
    from assistant.models.loading import load_encoder
    from indexes.errors import LoadError
    from indexes.evaluate import evaluate_retrieval, read_retrieval_set

    settings = load_settings()
    try:
        test = read_retrieval_set(data)
    except LoadError as error:
        raise InvalidInputError(str(error)) from None
    for warning in test.warnings[:_WARNINGS_SHOWN]:
        note(f"Left out: {warning}")
    if len(test.warnings) > _WARNINGS_SHOWN:
        note(f"and {len(test.warnings) - _WARNINGS_SHOWN} more judgements left out.")
    encoder = load_encoder(settings)
    # This encoder is ours alone, so its limit can be lowered for the run.
    encoder.max_tokens = min(max_tokens, encoder.max_tokens)
    if candidates is None:
        candidates = settings.rerank if method == "hybrid" else 0
    if candidates and method == "lexical":
        raise click.UsageError(
            "--rerank reads the sentences nearest to the query, which takes vectors: take --method "
            "hybrid or dense."
        )
    reranker = _reranker(settings) if candidates else None
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="assistant-eval-") as folder:
            rank = Ranking(
                encoder, test, Path(folder), method, reranker=reranker, candidates=candidates
            )
            metrics = evaluate_retrieval(test.corpus, test.queries, test.qrels, rank).to_json()
    finally:
        encoder.close()
        if reranker is not None:
            reranker.close()
    result = {
        **metrics,
        "data": str(data),
        "method": method,
        "max_tokens": encoder.max_tokens,
        "model": f"{encoder.name}@{encoder.fingerprint[:12]}",
        "rerank": candidates if reranker else 0,
        "reranker": reranker.ref if reranker else None,
        "seconds": round(time.perf_counter() - started, 2),
    }
    if as_json:
        print_json(result)
        return
    for name, value in result.items():
        print_line(f"{name:<12}{value:.4f}" if isinstance(value, float) else f"{name:<12}{value}")


def _reranker(settings: Settings) -> Reranker | None:
    from assistant.models.choosing import answering_version
    from assistant.models.loading import open_reranker
    from assistant.models.shipped import ensure
    from assistant.models.store import ModelStore

    ensure(settings, "reranker")
    try:
        version = answering_version(ModelStore.of(settings), "reranker")
        return open_reranker(settings, f"{version.name}@v{version.number}", version.tenant)
    except NotFoundError:
        note("No reranker is in use: the order is that of the search.")
        return None
